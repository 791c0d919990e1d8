import type { Tensor } from '@tensorflow/tfjs-core';
import { amongRun, known } from '../../checked.js';
import { add, div, expandDims, matMul, maximum, mean, mul, rsqrt, sqrt, square, sub } from '../../tfjs.js';
import { decays, eachParameter, ruleAt } from './optimizer.js';
import type { GradientTransform } from './optimizer.js';

/** Options of `adafactor`. */
export interface AdafactorOptions {
  /** Multiplied with the schedules of the chain (`scaleBy`); may be left out where there is one. */
  readonly learningRate?: number | undefined;
  /** Added to squared gradients. Default 1e-30. */
  readonly epsilon?: number | undefined;
  /** Root mean square to which an update is cut. Default 1. */
  readonly clipThreshold?: number | undefined;
  /** The second moment's decay at step t is 1 - t^decayRate. Default -0.8. */
  readonly decayRate?: number | undefined;
  /** Decoupled; not applied to biases and norm weights. Default 0. */
  readonly weightDecay?: number | undefined;
}

/**
 * Adafactor (Shazeer & Stern 2018) with a given rate (no relative step, no parameter scale), as transformers' Trainer sets it:
 * a matrix keeps row and column means of its squared gradients only, [O] + [I] numbers instead of [O, I].
 */
export const adafactor = (options: AdafactorOptions = {}): GradientTransform => {
  const {
    learningRate,
    epsilon = 1e-30,
    clipThreshold = 1,
    decayRate = -0.8,
    weightDecay = 0,
  } = known(
    'adafactor',
    amongRun({
      learningRate: 'optional',
      epsilon: 'optional',
      clipThreshold: 'optional',
      decayRate: 'optional',
      weightDecay: 'optional',
    }),
    options,
  );
  return ruleAt(
    learningRate,
    eachParameter(
      (shape): Readonly<Record<string, ReadonlyArray<number>>> =>
        shape.length === 2 ? { row: shape.slice(0, 1), column: shape.slice(1) } : { v: shape },
      ({ name, parameter, gradient, slots, update }) => {
        const rate = update.learningRate;
        const keep = 1 - update.step ** decayRate;
        const mixed = (slot: string, fresh: Tensor): Tensor => add(mul(slots(slot), keep), mul(fresh, 1 - keep));
        const g = mul(gradient, update.scale);
        const squared = add(square(g), epsilon);
        /** The gradient over the root of its second moment, and that moment's new slots. */
        const scaled = (): readonly [Tensor, Readonly<Record<string, Tensor>>] => {
          if (parameter.shape.length !== 2) {
            const v = mixed('v', squared);
            return [mul(rsqrt(v), g), { v }];
          }
          const row = mixed('row', mean(squared, 1));
          const column = mixed('column', mean(squared, 0));
          const ofRow = expandDims(rsqrt(div(row, mean(row))), 1);
          // A product of one column and one row: engines have a kernel for it, and for few other ways to repeat.
          return [mul(matMul(ofRow, expandDims(rsqrt(column), 0)), g), { row, column }];
        };
        const [direction, moments] = scaled();
        const size = sqrt(mean(square(direction)));
        const cut = div(direction, maximum(div(size, clipThreshold), 1));
        const shrunk = mul(parameter, 1 - rate * (decays(name) ? weightDecay : 0));
        return { parameter: sub(shrunk, mul(cut, rate)), slots: moments };
      },
    ),
  );
};
