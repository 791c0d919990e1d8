import type { Tensor } from '@tensorflow/tfjs-core';
import { mul } from '../../tfjs.js';
import { activated, slopeOf } from './activation.js';
import type { ActivationKind } from './activation.js';
import { namedOp } from './namedOp.js';

interface GatedInputs {
  /** [N, F] */
  readonly gate: Tensor;
  /** [N, F] */
  readonly up: Tensor;
}

interface GatedAttrs {
  readonly kind: ActivationKind;
}

export const RxGatedActivation = namedOp(
  'RxGatedActivation',
  ({ gate, up }: GatedInputs, { kind }: GatedAttrs): readonly [Tensor] => [mul(activated(gate, kind), up)],
);

/** act(gate)·up, [N, F] (SwiGLU and its kin, Shazeer 2020). */
export const gatedActivation = (gate: Tensor, up: Tensor, kind: ActivationKind): Tensor =>
  RxGatedActivation.run({ gate, up }, { kind })[0];

export const RxGatedActivationGrad = namedOp(
  'RxGatedActivationGrad',
  ({ gate, up, dy }: GatedInputs & { readonly dy: Tensor }, { kind }: GatedAttrs): readonly [Tensor, Tensor] => [
    mul(mul(dy, up), slopeOf(gate, kind)),
    mul(dy, activated(gate, kind)),
  ],
);

/** Gradients of gate and up. */
export const gatedActivationGrad = (
  gate: Tensor,
  up: Tensor,
  dy: Tensor,
  kind: ActivationKind,
): { readonly dGate: Tensor; readonly dUp: Tensor } => {
  const [dGate, dUp] = RxGatedActivationGrad.run({ gate, up, dy }, { kind });
  return { dGate, dUp };
};
