import { amongRun, known } from '../../checked.js';
import { add, mul, sign, sub } from '../../tfjs.js';
import { decays, eachParameter, ruleAt } from './optimizer.js';
import type { GradientTransform } from './optimizer.js';

/** Options of `lion`. */
export interface LionOptions {
  /** Multiplied with the schedules of the chain (`scaleBy`); may be left out where there is one. */
  readonly learningRate?: number | undefined;
  /** Share of the momentum in the direction. Default 0.9. */
  readonly beta1?: number | undefined;
  /** Decay of the momentum. Default 0.99. */
  readonly beta2?: number | undefined;
  /** Decoupled; not applied to biases and norm weights. Default 0. */
  readonly weightDecay?: number | undefined;
}

/**
 * Lion (Chen et al. 2023, algorithm 2): c = β1·m + (1 - β1)·g, p ← p·(1 - lr·wd) - lr·sign(c), m ← β2·m + (1 - β2)·g. Betas 0.9
 * and 0.99 by default; it wants a rate 3 to 10 times smaller than AdamW's.
 */
export const lion = (options: LionOptions = {}): GradientTransform => {
  const {
    learningRate,
    beta1 = 0.9,
    beta2 = 0.99,
    weightDecay = 0,
  } = known(
    'lion',
    amongRun({ learningRate: 'optional', beta1: 'optional', beta2: 'optional', weightDecay: 'optional' }),
    options,
  );
  return ruleAt(
    learningRate,
    eachParameter(
      (shape) => ({ m: shape }),
      ({ name, parameter, gradient, slots, update }) => {
        const rate = update.learningRate;
        const m = slots('m');
        const g = mul(gradient, update.scale);
        const direction = sign(add(mul(m, beta1), mul(g, 1 - beta1)));
        const shrunk = mul(parameter, 1 - rate * (decays(name) ? weightDecay : 0));
        return {
          parameter: sub(shrunk, mul(direction, rate)),
          slots: { m: add(mul(m, beta2), mul(g, 1 - beta2)) },
        };
      },
    ),
  );
};
