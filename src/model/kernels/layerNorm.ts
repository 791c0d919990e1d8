import type { Tensor } from '@tensorflow/tfjs-core';
import { add, clone, expandDims, mean, mul, rsqrt, square, squeeze, sub, sum } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

interface LayerNormInputs {
  readonly x: Tensor;
  readonly gain: Tensor;
  readonly bias?: Tensor | undefined;
}

export interface LayerNormAttrs {
  readonly eps: number;
  /** As in `linear`. */
  readonly flows?: boolean;
}

/** What both norms are asked beside. */
export interface Keeping {
  /** x is given back too, for the way back, as `keep` gives it. Default: false. */
  readonly keeps?: boolean;
}

export const RxLayerNorm = namedOp(
  'RxLayerNorm',
  ({ x, gain, bias }: LayerNormInputs, { eps, keeps = false }: LayerNormAttrs & Keeping): ReadonlyArray<Tensor> => {
    const m = mean(x, 1, true);
    const centred = sub(x, m);
    const rstd = rsqrt(add(mean(square(centred), 1, true), eps));
    const y = mul(mul(centred, rstd), gain);
    const normed = [bias === undefined ? y : add(y, bias), squeeze(m, [1]), squeeze(rstd, [1])];
    return keeps ? [...normed, clone(x)] : normed;
  },
);

export interface LayerNormed {
  /** [N, C] */
  readonly y: Tensor;
  /** [N] */
  readonly mean: Tensor;
  /** [N] 1 / √(variance + eps) */
  readonly rstd: Tensor;
  /** [N, C] x for the way back, where it `keeps`. */
  readonly kept?: Tensor | undefined;
}

/** (x - mean) / √(variance + eps) · gain + bias over the last axis of x [N, C] (Ba et al. 2016). */
export const layerNorm = (
  x: Tensor,
  gain: Tensor,
  bias: Tensor | undefined,
  attrs: LayerNormAttrs & Keeping,
): LayerNormed => {
  const [y, m, rstd, kept] = RxLayerNorm.run({ x, gain, bias }, attrs) as readonly [Tensor, Tensor, Tensor, Tensor?];
  return { y, mean: m, rstd, kept };
};

interface LayerNormGradInputs {
  readonly dy: Tensor;
  readonly x: Tensor;
  readonly gain: Tensor;
  readonly mean: Tensor;
  readonly rstd: Tensor;
  readonly dResidual?: Tensor | undefined;
}

interface LayerNormGradAttrs {
  readonly hasBias: boolean;
  readonly needWeights: boolean;
}

export const RxLayerNormGrad = namedOp(
  'RxLayerNormGrad',
  (
    { dy, x, gain, mean: m, rstd, dResidual }: LayerNormGradInputs,
    { hasBias, needWeights }: LayerNormGradAttrs,
  ): ReadonlyArray<Tensor> => {
    const r = expandDims(rstd, 1);
    const normed = mul(sub(x, expandDims(m, 1)), r);
    const scaled = mul(dy, gain);
    const inner = sub(sub(scaled, mean(scaled, 1, true)), mul(normed, mean(mul(scaled, normed), 1, true)));
    const dx = mul(inner, r);
    const total = dResidual === undefined ? dx : add(dx, dResidual);
    if (!needWeights) return [total];
    const dGain = sum(mul(dy, normed), 0);
    return hasBias ? [total, dGain, sum(dy, 0)] : [total, dGain];
  },
);

export interface NormGrads {
  readonly dx: Tensor;
  readonly dGain?: Tensor | undefined;
  readonly dBias?: Tensor | undefined;
}

/** Gradients of x (with `dResidual` added), and of gain and bias [C] where asked for. */
export const layerNormGrad = (inputs: LayerNormGradInputs, attrs: LayerNormGradAttrs): NormGrads => {
  const [dx, dGain, dBias] = RxLayerNormGrad.run(inputs, attrs) as readonly [Tensor, Tensor?, Tensor?];
  return { dx, dGain, dBias };
};
