import type { Tensor } from '@tensorflow/tfjs-core';
import { activation as activate, activationGrad } from './kernels/activation.js';
import type { ActivationKind } from './kernels/activation.js';
import { gatedActivation, gatedActivationGrad } from './kernels/gatedActivation.js';
import type { Layer } from './layer.js';
import { keep } from './kernels/hold.js';
import { inactive, landedOn, passed } from './layer.js';

/** Elementwise activation. */
export const activation =
  (kind: ActivationKind): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const y = activate(x, kind);
    if (!wanted.input) return inactive(y);
    const kept = keep(x);
    return passed(y, [kept], (dy, onto) => {
      const dx = activationGrad(kept, dy, kind);
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };

/** [gate, up] ↦ act(gate)·up. */
export const gated =
  (kind: ActivationKind): Layer<ReadonlyArray<Tensor>, Tensor> =>
  (_weights, input, wanted) => {
    const [gate, up] = input as readonly [Tensor, Tensor];
    const y = gatedActivation(gate, up, kind);
    if (!wanted.input) return inactive(y);
    const kept = [keep(gate), keep(up)] as const;
    return passed(y, kept, (dy, onto) => {
      const { dGate, dUp } = gatedActivationGrad(...kept, dy, kind);
      dy.dispose();
      return [{}, landedOn<ReadonlyArray<Tensor>>([dGate, dUp], onto)];
    });
  };
