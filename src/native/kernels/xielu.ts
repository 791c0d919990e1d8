import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectSame, expectVector, kernel, sizeOf } from '../kernel.js';

interface Inputs {
  readonly x: TensorInfo;
  readonly alphaP: TensorInfo;
  readonly alphaN: TensorInfo;
}

export const xielu = kernel('RxXielu', (backend, { x, alphaP, alphaN }: Inputs) => {
  expectVector('alphaP', alphaP, 1);
  expectVector('alphaN', alphaN, 1);
  const y = backend.outputAs(backend.liesHalved(x), x.shape);
  backend.put(sizeOf(x)).value(x).tensor(alphaP).tensor(alphaN).value(y).run(backend.op.xielu);
  return [y];
});

export const xieluGrad = kernel(
  'RxXieluGrad',
  (
    backend,
    { x, dy, alphaP, alphaN }: Inputs & { readonly dy: TensorInfo },
    { needWeights }: { readonly needWeights: boolean },
  ) => {
    expectSame('dy', x, dy);
    expectVector('alphaP', alphaP, 1);
    expectVector('alphaN', alphaN, 1);
    const dx = backend.outputAs(backend.liesHalved(dy), x.shape);
    const dAlphas = needWeights ? [backend.output([1]), backend.output([1])] : [];
    const [dAlphaP, dAlphaN] = dAlphas;
    backend.put(sizeOf(x)).value(x).tensor(alphaP).tensor(alphaN).value(dy).value(dx);
    backend.optional(dAlphaP).optional(dAlphaN).run(backend.op.xieluGrad);
    return [dx, ...dAlphas];
  },
);
