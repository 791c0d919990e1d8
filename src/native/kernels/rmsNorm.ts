import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

export const rmsNorm = kernel(
  'RxRmsNorm',
  (
    backend,
    { x, gain }: { x: TensorInfo; gain: TensorInfo },
    { eps, offset, flows, keeps }: { eps: number; offset: number; flows?: boolean; keeps?: boolean },
  ) => {
    const [n, columns] = rowsOf('x', x);
    expectVector('gain', gain, columns);
    const y = backend.outputAs(flows === true && backend.halves, [n, columns]);
    const rstd = backend.output([n]);
    const input = backend.normInput(x, keeps === true);
    backend.put(n).put(columns).put(eps).put(offset).normed(input).tensor(gain).value(y).tensor(rstd);
    backend.run(backend.op.rmsNorm);
    backend.summed();
    return [y, rstd, ...input.kept];
  },
  { takesSums: true },
);

interface GradInputs {
  readonly dy: TensorInfo;
  readonly x: TensorInfo;
  readonly gain: TensorInfo;
  readonly rstd: TensorInfo;
  readonly dResidual?: TensorInfo | undefined;
}

export const rmsNormGrad = kernel(
  'RxRmsNormGrad',
  (
    backend,
    { dy, x, gain, rstd, dResidual }: GradInputs,
    { offset, needWeights }: { offset: number; needWeights: boolean },
  ) => {
    const [n, columns] = rowsOf('x', x);
    expectMatrix('dy', dy, n, columns);
    expectMatrix('dResidual', dResidual, n, columns);
    expectVector('gain', gain, columns);
    expectVector('rstd', rstd, n);
    const dx = backend.output([n, columns]);
    const dGain = needWeights ? backend.output([columns]) : undefined;
    backend.put(n).put(columns).put(offset).value(dy).value(x).tensor(gain).tensor(rstd);
    backend.optional(dResidual).tensor(dx).optional(dGain);
    backend.run(backend.op.rmsNormGrad);
    return dGain === undefined ? [dx] : [dx, dGain];
  },
);
