/** How much the states of the gated delta rule decay, and what part of a correction they take, of what two maps of a token say. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, exp, mul, sigmoid, sub, sum } from '../../tfjs.js';
import { namedOp } from './namedOp.js';
import { softplus } from './softplus.js';

export interface DeltaGatesInputs {
  /** [N, H] */
  readonly a: Tensor;
  /** [N, H] */
  readonly b: Tensor;
  /** [H] Logarithm of how fast the head forgets. */
  readonly aLog: Tensor;
  /** [H] */
  readonly dtBias: Tensor;
}

export interface DeltaGatesAttrs {
  /** What rates lie below: 1, or 2 where states may have negative eigenvalues. */
  readonly mostRate: number;
}

export const RxDeltaGates = namedOp(
  'RxDeltaGates',
  ({ a, b, aLog, dtBias }: DeltaGatesInputs, { mostRate }: DeltaGatesAttrs): readonly [Tensor, Tensor] => [
    mul(softplus(add(a, dtBias)), mul(exp(aLog), -1)),
    mul(sigmoid(b), mostRate),
  ],
);

/** [N, H] each: decay = -e^aLog·log(1 + e^(a + dtBias)), ≤ 0, and rate = mostRate·σ(b) (Yang, Kautz & Hatamizadeh 2024). */
export const deltaGates = (
  inputs: DeltaGatesInputs,
  attrs: DeltaGatesAttrs,
): { readonly decay: Tensor; readonly rate: Tensor } => {
  const [decay, rate] = RxDeltaGates.run(inputs, attrs);
  return { decay, rate };
};

interface DeltaGatesGradInputs extends DeltaGatesInputs {
  readonly dDecay: Tensor;
  readonly dRate: Tensor;
}

export const RxDeltaGatesGrad = namedOp(
  'RxDeltaGatesGrad',
  (
    { a, b, aLog, dtBias, dDecay, dRate }: DeltaGatesGradInputs,
    { mostRate }: DeltaGatesAttrs,
  ): readonly [Tensor, Tensor, Tensor, Tensor] => {
    const shifted = add(a, dtBias);
    const along = mul(dDecay, mul(exp(aLog), -1));
    const dA = mul(along, sigmoid(shifted));
    const share = sigmoid(b);
    return [
      dA,
      mul(dRate, mul(mul(share, sub(1, share)), mostRate)),
      sum(mul(along, softplus(shifted)), 0),
      sum(dA, 0),
    ];
  },
);

/** Gradients of all four. */
export const deltaGatesGrad = (
  inputs: DeltaGatesGradInputs,
  attrs: DeltaGatesAttrs,
): { readonly dA: Tensor; readonly dB: Tensor; readonly dALog: Tensor; readonly dDtBias: Tensor } => {
  const [dA, dB, dALog, dDtBias] = RxDeltaGatesGrad.run(inputs, attrs);
  return { dA, dB, dALog, dDtBias };
};
