import { amongRun, known } from '../../checked.js';
import { axpy } from '../../model/kernels/axpy.js';
import { decays, pick, ruleAt, slotOf, zip } from './optimizer.js';
import type { GradientTransform } from './optimizer.js';

/** Options of `sgd`. */
export interface SgdOptions {
  /** Multiplied with the schedules of the chain (`scaleBy`); may be left out where there is one. */
  readonly learningRate?: number | undefined;
  /** Default 0: no slot is kept. */
  readonly momentum?: number | undefined;
  /** Added to the gradient as wd·p (torch's coupled form); not for biases and norm weights. Default 0. */
  readonly weightDecay?: number | undefined;
}

/** Gradient descent as torch writes it: b ← μ·b + g + wd·p, then p ← p - lr·b. */
export const sgd = (options: SgdOptions = {}): GradientTransform => {
  const {
    learningRate,
    momentum = 0,
    weightDecay = 0,
  } = known('sgd', amongRun({ learningRate: 'optional', momentum: 'optional', weightDecay: 'optional' }), options);
  return ruleAt(learningRate, {
    slots: (shape): Readonly<Record<string, ReadonlyArray<number>>> => (momentum === 0 ? {} : { momentum: shape }),
    apply: (update, moments) => {
      const names = Object.keys(update.gradients);
      const gradients = pick(update.gradients, names);
      const parameters = pick(update.parameters, names);
      const rate = update.learningRate;
      const decayOf = (i: number): number => (decays(names[i] ?? '') ? weightDecay : 0);
      if (momentum === 0) {
        const moved = parameters.map((parameter, i) => {
          const gradient = gradients[i];
          if (gradient === undefined) return parameter;
          const shrunk = decayOf(i) === 0 ? parameter : axpy(parameter, parameter, -rate * decayOf(i));
          return axpy(shrunk, gradient, -rate * update.scale);
        });
        return { parameters: { ...update.parameters, ...zip(names, moved) }, moments };
      }
      const buffers = slotOf(moments, 'momentum', names).map((buffer, i) => {
        const [gradient, parameter] = [gradients[i], parameters[i]];
        if (gradient === undefined || parameter === undefined) return buffer;
        const added = axpy(axpy(buffer, buffer, momentum - 1), gradient, update.scale);
        return decayOf(i) === 0 ? added : axpy(added, parameter, decayOf(i));
      });
      const moved = parameters.map((parameter, i) => {
        const buffer = buffers[i];
        return buffer === undefined ? parameter : axpy(parameter, buffer, -rate);
      });
      return {
        parameters: { ...update.parameters, ...zip(names, moved) },
        moments: { momentum: { ...moments['momentum'], ...zip(names, buffers) } },
      };
    },
  });
};
