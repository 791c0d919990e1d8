/** The gate of gpt-oss's experts: a SwiGLU of clamped inputs whose other side is 1 higher. */

import type { Tensor } from '@tensorflow/tfjs-core';
import { add, maximum, minimum, mul, relu, sign, sub } from '../../tfjs.js';
import { activated, slopeOf } from './activation.js';
import { namedOp } from './namedOp.js';

interface ClampedGateInputs {
  /** [N, F] */
  readonly gate: Tensor;
  /** [N, F] */
  readonly up: Tensor;
}

interface ClampedGateAttrs {
  /** gate is held below it, up within ±limit. */
  readonly limit: number;
}

const below = (x: Tensor, limit: number): Tensor => minimum(x, limit);
const within = (x: Tensor, limit: number): Tensor => maximum(minimum(x, limit), -limit);

/** 1 where x ≤ limit, else 0: what is clamped does not rise. */
const rises = (x: Tensor, limit: number): Tensor => sub(1, relu(sign(sub(x, limit))));

export const RxClampedGate = namedOp(
  'RxClampedGate',
  ({ gate, up }: ClampedGateInputs, { limit }: ClampedGateAttrs): readonly [Tensor] => [
    mul(activated(below(gate, limit), 'quick_gelu'), add(within(up, limit), 1)),
  ],
);

/** g·σ(1.702g)·(u + 1), [N, F], of g = min(gate, limit) and u = up held within ±limit. */
export const clampedGate = (gate: Tensor, up: Tensor, limit: number): Tensor =>
  RxClampedGate.run({ gate, up }, { limit })[0];

export const RxClampedGateGrad = namedOp(
  'RxClampedGateGrad',
  (
    { gate, up, dy }: ClampedGateInputs & { readonly dy: Tensor },
    { limit }: ClampedGateAttrs,
  ): readonly [Tensor, Tensor] => {
    const g = below(gate, limit);
    const inside = mul(rises(up, limit), rises(mul(up, -1), limit));
    return [
      mul(mul(dy, add(within(up, limit), 1)), mul(slopeOf(g, 'quick_gelu'), rises(gate, limit))),
      mul(mul(dy, activated(g, 'quick_gelu')), inside),
    ];
  },
);

/** Gradients of gate and up. */
export const clampedGateGrad = (
  gate: Tensor,
  up: Tensor,
  dy: Tensor,
  limit: number,
): { readonly dGate: Tensor; readonly dUp: Tensor } => {
  const [dGate, dUp] = RxClampedGateGrad.run({ gate, up, dy }, { limit });
  return { dGate, dUp };
};
