import { amongRun, known } from '../../checked.js';
import { adamW } from '../../model/kernels/adamW.js';
import { decays, pick, replaced, ruleAt, slotOf } from './optimizer.js';
import type { GradientTransform } from './optimizer.js';

/** Options of `adamw`. */
export interface AdamWOptions {
  /** Multiplied with the schedules of the chain (`scaleBy`); may be left out where there is one. */
  readonly learningRate?: number | undefined;
  /** Decay of the first moment. Default 0.9. */
  readonly beta1?: number | undefined;
  /** Decay of the second moment. Default 0.999. */
  readonly beta2?: number | undefined;
  /** Added to the root of the second moment. Default 1e-8. */
  readonly epsilon?: number | undefined;
  /** Decoupled; not applied to biases and norm weights. Default 0. */
  readonly weightDecay?: number | undefined;
}

/**
 * AdamW (Loshchilov & Hutter 2019): p ← p·(1 - lr·wd) - lr·m̂ / (√v̂ + ε), moments corrected for their beginning at 0. Defaults are
 * torch's: betas 0.9 and 0.999, ε 1e-8.
 */
export const adamw = (options: AdamWOptions = {}): GradientTransform => {
  const {
    learningRate,
    beta1 = 0.9,
    beta2 = 0.999,
    epsilon = 1e-8,
    weightDecay = 0,
  } = known(
    'adamw',
    amongRun({
      learningRate: 'optional',
      beta1: 'optional',
      beta2: 'optional',
      epsilon: 'optional',
      weightDecay: 'optional',
    }),
    options,
  );
  return ruleAt(learningRate, {
    slots: (shape) => ({ m: shape, v: shape }),
    clips: true,
    apply: (update, moments) => {
      const names = Object.keys(update.gradients);
      const moved = adamW(
        {
          parameters: pick(update.parameters, names),
          m: slotOf(moments, 'm', names),
          v: slotOf(moments, 'v', names),
        },
        pick(update.gradients, names),
        {
          learningRate: update.learningRate,
          beta1,
          beta2,
          epsilon,
          weightDecay: Float32Array.from(names, (name) => (decays(name) ? weightDecay : 0)),
          step: update.step,
          gradScale: update.scale,
        },
        update.clip,
      );
      return {
        parameters: replaced(update.parameters, names, moved.parameters),
        moments: {
          m: replaced(moments['m'] ?? {}, names, moved.m),
          v: replaced(moments['v'] ?? {}, names, moved.v),
        },
      };
    },
  });
};
