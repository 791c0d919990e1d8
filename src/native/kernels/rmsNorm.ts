import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Attrs {
  readonly eps: number;
  readonly offset: number;
  readonly flows?: boolean;
  readonly keeps?: boolean;
  readonly mayKeepValue?: boolean;
}

export const rmsNorm = kernel(
  'RxRmsNorm',
  (backend, { x, gain }: { x: TensorInfo; gain: TensorInfo }, { eps, offset, flows, keeps, mayKeepValue }: Attrs) => {
    const [n, columns] = rowsOf('x', x);
    expectVector('gain', gain, columns);
    const half = flows === true && backend.halves;
    // The processor's kernels know the way back of x alone.
    const byValue = keeps === true && mayKeepValue === true && half && backend.onCard && backend.divides(gain, offset);
    const y = backend.outputAs(half, [n, columns]);
    const rstd = backend.output([n]);
    const input = backend.normInput(x, keeps === true && !byValue);
    backend.put(n).put(columns).put(eps).put(offset).normed(input).tensor(gain).value(y).tensor(rstd);
    backend.run(backend.op.rmsNorm);
    backend.summed();
    return [y, rstd, ...(byValue ? [backend.alias(y, y.shape)] : input.kept)];
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
    { offset, needWeights, byValue }: { offset: number; needWeights: boolean; byValue?: boolean },
  ) => {
    const [n, columns] = rowsOf('x', x);
    expectMatrix('dy', dy, n, columns);
    expectMatrix('dResidual', dResidual, n, columns);
    expectVector('gain', gain, columns);
    expectVector('rstd', rstd, n);
    const dx = backend.output([n, columns]);
    const dGain = needWeights ? backend.output([columns]) : undefined;
    backend
      .put(n)
      .put(columns)
      .put(offset)
      .put(Number(byValue === true));
    backend.value(dy).value(x).tensor(gain).tensor(rstd);
    backend.optional(dResidual).tensor(dx).optional(dGain);
    backend.run(backend.op.rmsNormGrad);
    return dGain === undefined ? [dx] : [dx, dGain];
  },
);
