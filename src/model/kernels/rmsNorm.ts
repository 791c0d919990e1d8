import type { Tensor } from '@tensorflow/tfjs-core';
import { add, clone, div, expandDims, mean, mul, rsqrt, square, squeeze, sub, sum } from '../../tfjs.js';
import type { Keeping, NormGrads } from './layerNorm.js';
import { namedOp } from './namedOp.js';

/** How an RMS norm divides, and how its gain is stored. */
export interface RmsNormAttrs {
  /** Added to the mean of squares. */
  readonly eps: number;
  /** What is added to the gain: 0, or 1 for Gemma, which stores gain - 1. */
  readonly offset: number;
  /** False: the value is the stream that branches are added to, which stays float32 on every engine. Default: true. */
  readonly flows?: boolean;
}

/** What is asked beside. */
export interface KeepingValue extends Keeping {
  /** What is kept may be the norm's value in place of x: gains get no gradient. Engines do so where no gain is 0. Default: false. */
  readonly mayKeepValue?: boolean;
}

const shifted = (gain: Tensor, offset: number): Tensor => (offset === 0 ? gain : add(gain, offset));

export const RxRmsNorm = namedOp(
  'RxRmsNorm',
  (
    { x, gain }: { x: Tensor; gain: Tensor },
    { eps, offset, keeps = false }: RmsNormAttrs & KeepingValue,
  ): ReadonlyArray<Tensor> => {
    const rstd = rsqrt(add(mean(square(x), 1, true), eps));
    const normed = [mul(mul(x, rstd), shifted(gain, offset)), squeeze(rstd, [1])];
    return keeps ? [...normed, clone(x)] : normed;
  },
);

export interface RmsNormed {
  /** [N, C] */
  readonly y: Tensor;
  /** [N] 1 / √(mean square + eps) */
  readonly rstd: Tensor;
  /** [N, C] x for the way back, where it `keeps`, or y. */
  readonly kept?: Tensor | undefined;
  /** `kept` is y. */
  readonly byValue: boolean;
}

/** x / √(mean(x²) + eps) · (gain + offset) over the last axis of x [N, C] (Zhang & Sennrich 2019). */
export const rmsNorm = (x: Tensor, gain: Tensor, attrs: RmsNormAttrs & KeepingValue): RmsNormed => {
  const [y, rstd, kept] = RxRmsNorm.run({ x, gain }, attrs) as readonly [Tensor, Tensor, Tensor?];
  return { y, rstd, kept, byValue: kept?.dataId === y.dataId };
};

interface RmsNormGradInputs {
  readonly dy: Tensor;
  readonly x: Tensor;
  readonly gain: Tensor;
  readonly rstd: Tensor;
  readonly dResidual?: Tensor | undefined;
}

interface RmsNormGradAttrs {
  readonly offset: number;
  readonly needWeights: boolean;
  /** x is what the norm gave. Default: false, what it was given. */
  readonly byValue?: boolean;
}

export const RxRmsNormGrad = namedOp(
  'RxRmsNormGrad',
  (
    { dy, x, gain, rstd, dResidual }: RmsNormGradInputs,
    { offset, needWeights, byValue = false }: RmsNormGradAttrs,
  ): ReadonlyArray<Tensor> => {
    const r = expandDims(rstd, 1);
    const normed = byValue ? div(x, shifted(gain, offset)) : mul(x, r);
    const scaled = mul(dy, shifted(gain, offset));
    const dx = mul(sub(scaled, mul(normed, mean(mul(scaled, normed), 1, true))), r);
    const total = dResidual === undefined ? dx : add(dx, dResidual);
    return needWeights ? [total, sum(mul(dy, normed), 0)] : [total];
  },
);

/** Gradients of x (with `dResidual` added) and, where asked for, of gain [C]. */
export const rmsNormGrad = (inputs: RmsNormGradInputs, attrs: RmsNormGradAttrs): NormGrads => {
  const [dx, dGain] = RxRmsNormGrad.run(inputs, attrs) as readonly [Tensor, Tensor?];
  return { dx, dGain };
};
