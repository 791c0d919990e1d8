import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectSame, kernel, sizeOf } from '../kernel.js';

/** In the order of the engine's numbers. */
const kinds = ['gelu', 'gelu_new', 'relu', 'silu', 'quick_gelu', 'relu2', 'sigmoid'];

export const activationNumber = (kind: string): number => {
  const number = kinds.indexOf(kind);
  if (number < 0) throw new Error(`no activation "${kind}"`);
  return number;
};

interface Attrs {
  readonly kind: string;
}

export const activation = kernel('RxActivation', (backend, { x }: { x: TensorInfo }, { kind }: Attrs) => {
  const y = backend.outputAs(backend.liesHalved(x), x.shape);
  backend.put(sizeOf(x)).put(activationNumber(kind)).value(x).value(y).run(backend.op.activation);
  return [y];
});

export const activationGrad = kernel(
  'RxActivationGrad',
  (backend, { x, dy }: { x: TensorInfo; dy: TensorInfo }, { kind }: Attrs) => {
    expectSame('dy', x, dy);
    const dx = backend.outputAs(backend.liesHalved(dy), x.shape);
    backend.put(sizeOf(x)).put(activationNumber(kind)).value(x).value(dy).value(dx);
    backend.run(backend.op.activationGrad);
    return [dx];
  },
);
