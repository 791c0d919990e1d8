import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

export const layerNorm = kernel(
  'RxLayerNorm',
  (
    backend,
    { x, gain, bias }: { x: TensorInfo; gain: TensorInfo; bias?: TensorInfo | undefined },
    { eps, flows, keeps }: { eps: number; flows?: boolean; keeps?: boolean },
  ) => {
    const [n, columns] = rowsOf('x', x);
    expectVector('gain', gain, columns);
    expectVector('bias', bias, columns);
    const y = backend.outputAs(flows === true && backend.halves, [n, columns]);
    const mean = backend.output([n]);
    const rstd = backend.output([n]);
    const input = backend.normInput(x, keeps === true);
    backend.put(n).put(columns).put(eps).normed(input).tensor(gain).optional(bias).value(y).tensor(mean).tensor(rstd);
    backend.run(backend.op.layerNorm);
    backend.summed();
    return [y, mean, rstd, ...input.kept];
  },
  { takesSums: true },
);

interface GradInputs {
  readonly dy: TensorInfo;
  readonly x: TensorInfo;
  readonly gain: TensorInfo;
  readonly mean: TensorInfo;
  readonly rstd: TensorInfo;
  readonly dResidual?: TensorInfo | undefined;
}

export const layerNormGrad = kernel(
  'RxLayerNormGrad',
  (
    backend,
    { dy, x, gain, mean, rstd, dResidual }: GradInputs,
    { hasBias, needWeights }: { hasBias: boolean; needWeights: boolean },
  ) => {
    const [n, columns] = rowsOf('x', x);
    expectMatrix('dy', dy, n, columns);
    expectMatrix('dResidual', dResidual, n, columns);
    expectVector('gain', gain, columns);
    expectVector('mean', mean, n);
    expectVector('rstd', rstd, n);
    const dx = backend.output([n, columns]);
    const dGain = needWeights ? backend.output([columns]) : undefined;
    const dBias = needWeights && hasBias ? backend.output([columns]) : undefined;
    backend.put(n).put(columns).value(dy).value(x).tensor(gain).tensor(mean).tensor(rstd);
    backend.optional(dResidual).tensor(dx).optional(dGain).optional(dBias);
    backend.run(backend.op.layerNormGrad);
    if (dGain === undefined) return [dx];
    return dBias === undefined ? [dx, dGain] : [dx, dGain, dBias];
  },
);
