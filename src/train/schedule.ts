/**
 * Learning rates as functions of the number of updates already done: arithmetic only. The shapes and their numbers are those of
 * transformers' `get_scheduler`; with any warm-up the first update therefore uses rate 0.
 */
import type { SftConfig } from './config.js';

/** `step` (updates already done, from 0) → the learning rate of the next update. */
export type Schedule = (step: number) => number;

/** The rate of a schedule. */
export interface Rate {
  /** The peak: what the shape's factor is multiplied with. */
  readonly learningRate: number;
}

/** A schedule that may begin with a warm-up. */
export interface Warming extends Rate {
  /** Updates over which the rate rises linearly from 0. Default 0. */
  readonly warmupSteps?: number;
}

/** A schedule that knows the end of the run. */
export interface Ending extends Warming {
  /** Updates of the whole run; the shape has come to its end there. */
  readonly totalSteps: number;
}

const warmed =
  ({ learningRate, warmupSteps = 0 }: Warming, after: (step: number) => number): Schedule =>
  (step) =>
    learningRate * (step < warmupSteps ? step / Math.max(1, warmupSteps) : after(step));

/** Share of the way from the end of the warm-up to the end of the run. */
const progress = ({ warmupSteps = 0, totalSteps }: Ending, step: number): number =>
  (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);

/** The same rate at every update. Takes no warm-up. */
export const constant =
  ({ learningRate }: Rate): Schedule =>
  () =>
    learningRate;

/** Rises from 0 over `warmupSteps`, then stays. */
export const constantWithWarmup = (options: Warming): Schedule => warmed(options, () => 1);

/** Falls on a straight line to 0 at `totalSteps`. */
export const linearDecay = (options: Ending): Schedule =>
  warmed(options, (step) => Math.max(0, 1 - progress(options, step)));

/** Falls on `cycles` half waves to 0; 0.5 (the default) is one half wave. */
export const cosineDecay = (options: Ending & { readonly cycles?: number }): Schedule =>
  warmed(options, (step) =>
    Math.max(0, 0.5 * (1 + Math.cos(Math.PI * (options.cycles ?? 0.5) * 2 * progress(options, step)))),
  );

/** Half a cosine wave, begun again `cycles` times (default 1). */
export const cosineWithRestarts = (options: Ending & { readonly cycles?: number }): Schedule =>
  warmed(options, (step) => {
    const along = progress(options, step);
    return along >= 1 ? 0 : Math.max(0, 0.5 * (1 + Math.cos(Math.PI * (((options.cycles ?? 1) * along) % 1))));
  });

/** Half a cosine wave from the peak down to `minimum` (default 0). */
export const cosineWithMinimum = (options: Ending & { readonly minimum?: number }): Schedule =>
  warmed(options, (step) => {
    const floor = (options.minimum ?? 0) / options.learningRate;
    const wave = 0.5 * (1 + Math.cos(Math.PI * progress(options, step)));
    return Math.max(0, wave * (1 - floor) + floor);
  });

/** `(1 - progress)^power` from the peak to `end`, and `end` from there on. Defaults: power 1, end 1e-7. */
export const polynomialDecay = (options: Ending & { readonly power?: number; readonly end?: number }): Schedule =>
  warmed(options, (step) => {
    const { learningRate, totalSteps, power = 1, end = 1e-7 } = options;
    if (step > totalSteps) return end / learningRate;
    return ((learningRate - end) * (1 - progress(options, step)) ** power + end) / learningRate;
  });

/** `1 / √((step + shift) / timescale)` with `shift = timescale - warmupSteps`; the timescale is the warm-up's length, else 10,000. */
export const inverseSqrt = (options: Warming & { readonly timescale?: number }): Schedule => {
  const { warmupSteps = 0 } = options;
  const timescale = options.timescale ?? (warmupSteps > 0 ? warmupSteps : 10_000);
  return warmed(options, (step) => 1 / Math.sqrt((step + timescale - warmupSteps) / timescale));
};

/** Holds the peak, then falls on half a cosine wave to `minimum` over the last `decaySteps` updates ("warm up, stable, decay"). */
export const warmupStableDecay = (
  options: Ending & { readonly decaySteps: number; readonly minimum?: number },
): Schedule =>
  warmed(options, (step) => {
    const { totalSteps, decaySteps, learningRate, minimum = 0 } = options;
    const floor = minimum / learningRate;
    const along = Math.min(1, Math.max(0, (step - (totalSteps - decaySteps)) / Math.max(1, decaySteps)));
    return floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * along));
  });

type ScheduleFields = Pick<
  SftConfig,
  'learningRate' | 'lrSchedulerType' | 'lrCycles' | 'lrPower' | 'lrEnd' | 'lrTimescale' | 'lrDecaySteps'
>;

/** The schedule that the options name. */
export const scheduleOf = (
  config: ScheduleFields,
  { totalSteps, warmupSteps }: { readonly totalSteps: number; readonly warmupSteps: number },
): Schedule => {
  const { learningRate, lrCycles, lrPower, lrEnd, lrTimescale } = config;
  const options = { learningRate, totalSteps, warmupSteps };
  const cycles = lrCycles === undefined ? {} : { cycles: lrCycles };
  switch (config.lrSchedulerType) {
    case 'linear':
      return linearDecay(options);
    case 'cosine':
      return cosineDecay({ ...options, ...cycles });
    case 'cosine_with_restarts':
      return cosineWithRestarts({ ...options, ...cycles });
    case 'cosine_with_min_lr':
      return cosineWithMinimum({ ...options, minimum: lrEnd ?? 0 });
    case 'polynomial':
      return polynomialDecay({ ...options, power: lrPower ?? 1, end: lrEnd ?? 1e-7 });
    case 'constant':
      return constant(options);
    case 'constant_with_warmup':
      return constantWithWarmup(options);
    case 'inverse_sqrt':
      return inverseSqrt({ ...options, ...(lrTimescale === undefined ? {} : { timescale: lrTimescale }) });
    case 'warmup_stable_decay':
      return warmupStableDecay({
        ...options,
        decaySteps: config.lrDecaySteps ?? Math.ceil(0.1 * totalSteps),
        minimum: lrEnd ?? 0,
      });
  }
};
