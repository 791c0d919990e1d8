/**
 * Learning rates as functions of the number of updates already done: arithmetic only. The shapes and their numbers are those of
 * transformers' `get_scheduler`; with any warm-up the first update therefore uses rate 0.
 */
import { amongRun, known } from '../../checked.js';
import type { SftConfig } from '../options/config.js';

/** `step` (updates already done, from 0) → the learning rate of the next update. */
export type Schedule = (step: number) => number;

/** The rate of a schedule. */
export interface RateOptions {
  /** The peak: what the shape's factor is multiplied with. */
  readonly learningRate: number;
}

/** A schedule that may begin with a warm-up. */
export interface WarmupOptions extends RateOptions {
  /** Updates over which the rate rises linearly from 0. Default 0. */
  readonly warmupSteps?: number | undefined;
}

/** A schedule that knows the end of the run. */
export interface DecayOptions extends WarmupOptions {
  /** Updates of the whole run; the shape has come to its end there. */
  readonly totalSteps: number;
}

/** Cosine waves on the way from the warm-up to the end. */
export interface CosineOptions extends DecayOptions {
  /** How many; the schedule tells the default. */
  readonly cycles?: number | undefined;
}

/** Cosine waves that do not end at 0. */
export interface CosineWithMinimumOptions extends CosineOptions {
  /** The lowest rate. Default 0. */
  readonly minimum?: number | undefined;
}

/** A power of what is left of the way. */
export interface PolynomialOptions extends DecayOptions {
  /** Default 1: a straight line. */
  readonly power?: number | undefined;
  /** The rate at the end. Default 1e-7. */
  readonly end?: number | undefined;
}

/** A schedule that falls for ever. */
export interface InverseSqrtOptions extends WarmupOptions {
  /** Updates after the warm-up at which the rate has fallen to 1 / √2 of its peak. Default: `warmupSteps`, or 10,000 without a warm-up. */
  readonly timescale?: number | undefined;
}

const straight = (along: number): number => along;

const warmed =
  (
    { learningRate, warmupSteps = 0 }: WarmupOptions,
    after: (step: number) => number,
    { from = 0, rise = straight }: { readonly from?: number; readonly rise?: (along: number) => number } = {},
  ): Schedule =>
  (step) =>
    learningRate * (step < warmupSteps ? above(from, rise(step / Math.max(1, warmupSteps))) : after(step));

/** A factor of [0, 1] moved to [floor, 1]. */
const above = (floor: number, factor: number): number => factor * (1 - floor) + floor;

/** A rate as a share of the peak; of a peak of 0 there is none. */
const shareOf = (rate: number, { learningRate }: RateOptions): number => (learningRate === 0 ? 0 : rate / learningRate);

/** Share of the way from the end of the warm-up to the end of the run. */
const progress = ({ warmupSteps = 0, totalSteps }: DecayOptions, step: number): number =>
  (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);

/** Names that these records share: one record serves several schedules. */
const rateNames = { learningRate: 'required', warmupSteps: 'beside', totalSteps: 'beside' } as const;
const warmingNames = { ...rateNames, warmupSteps: 'optional' } as const;
const endingNames = { ...warmingNames, totalSteps: 'required' } as const;

/** The same rate at every update, without a warm-up (transformers' `constant`). */
export const constant = (options: RateOptions): Schedule => {
  const { learningRate } = known('constant', amongRun(rateNames), options);
  return () => learningRate;
};

/** Rises from 0 over `warmupSteps`, then stays at the peak (transformers' `constant_with_warmup`). */
export const constantWithWarmup = (options: WarmupOptions): Schedule => {
  known('constantWithWarmup', amongRun(warmingNames), options);
  return warmed(options, () => 1);
};

/**
 * Falls on a straight line from the peak to 0 at `totalSteps`, after the warm-up: the peak times (totalSteps - step) / (totalSteps -
 * warmupSteps) (transformers' `linear`).
 */
export const linearDecay = (options: DecayOptions): Schedule => {
  known('linearDecay', amongRun(endingNames), options);
  return warmed(options, (step) => {
    const { totalSteps, warmupSteps = 0 } = options;
    return Math.max(0, (totalSteps - step) / Math.max(1, totalSteps - warmupSteps));
  });
};

/** A cosine wave from 1, `cycles` of them on the way from 0 to 1. */
const wave = (cycles: number, along: number): number => 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * along));

/**
 * Falls on `cycles` cosine waves; 0.5 (the default) is half a wave, from the peak to 0: the peak times (1 + cos(2π · cycles · p)) / 2 with
 * p the share of the way from the warm-up to `totalSteps` (Loshchilov & Hutter 2017; transformers' `cosine`).
 */
export const cosineDecay = (options: CosineOptions): Schedule => {
  known('cosineDecay', amongRun({ ...endingNames, cycles: 'optional' }), options);
  return warmed(options, (step) => Math.max(0, wave(options.cycles ?? 0.5, progress(options, step))));
};

/**
 * Half a cosine wave from the peak to 0, begun anew so that there are `cycles` of them (default 1) (Loshchilov & Hutter 2017;
 * transformers' `cosine_with_restarts`).
 */
export const cosineWithRestarts = (options: CosineOptions): Schedule => {
  known('cosineWithRestarts', amongRun({ ...endingNames, cycles: 'optional' }), options);
  return warmed(options, (step) => {
    const along = progress(options, step);
    return along >= 1 ? 0 : Math.max(0, wave(0.5, ((options.cycles ?? 1) * along) % 1));
  });
};

/** `cycles` cosine waves (default 0.5) from the peak down to the rate `minimum` (default 0) (transformers' `cosine_with_min_lr`). */
export const cosineWithMinimum = (options: CosineWithMinimumOptions): Schedule => {
  known('cosineWithMinimum', amongRun({ ...endingNames, minimum: 'optional', cycles: 'optional' }), options);
  const { minimum = 0, cycles = 0.5 } = options;
  const floor = shareOf(minimum, options);
  return warmed(options, (step) => Math.max(0, above(floor, wave(cycles, progress(options, step)))));
};

/**
 * Falls from the peak to the rate `end` as (peak - end) · (1 - p)^power + end, with p the share of the way from the warm-up to
 * `totalSteps`, and stays at `end`. Defaults: power 1, end 1e-7 (transformers' `polynomial`).
 */
export const polynomialDecay = (options: PolynomialOptions): Schedule => {
  known('polynomialDecay', amongRun({ ...endingNames, power: 'optional', end: 'optional' }), options);
  return warmed(options, (step) => {
    const { learningRate, totalSteps, power = 1, end = 1e-7 } = options;
    if (step > totalSteps) return shareOf(end, options);
    return shareOf((learningRate - end) * (1 - progress(options, step)) ** power + end, options);
  });
};

/**
 * The peak times 1 / √((step + timescale - warmupSteps) / timescale). Default timescale: the warm-up's length, else 10,000 (transformers'
 * `inverse_sqrt`).
 */
export const inverseSqrt = (options: InverseSqrtOptions): Schedule => {
  known('inverseSqrt', amongRun({ ...warmingNames, timescale: 'optional' }), options);
  const { warmupSteps = 0 } = options;
  const timescale = options.timescale ?? (warmupSteps > 0 ? warmupSteps : 10_000);
  return warmed(options, (step) => 1 / Math.sqrt((step + timescale - warmupSteps) / timescale));
};

type DecayType = NonNullable<SftConfig['lrDecayType']>;
type WarmupType = NonNullable<SftConfig['lrWarmupType']>;

/** A rise, a peak that is held, and a fall. */
export interface WarmupStableDecayOptions extends CosineWithMinimumOptions {
  /** Updates of the fall. */
  readonly decaySteps: number;
  /** Updates at the peak. Default: until `decaySteps` are left of the run. */
  readonly stableSteps?: number | undefined;
  /** How it rises. Default `linear`. */
  readonly warmupType?: WarmupType | undefined;
  /** How it falls. Default `cosine`. */
  readonly decayType?: DecayType | undefined;
}

/** How `warmupStableDecay` rises: the share of the rise that is done → a factor from 0 to 1. */
const rises: Readonly<Record<WarmupType, (along: number) => number>> = {
  cosine: (along) => 1 - wave(0.5, along),
  linear: straight,
  '1-sqrt': (along) => 1 - Math.sqrt(1 - along),
};

/** How `warmupStableDecay` falls: the share of the fall that is done → a factor from 1 to 0. */
const falls: Readonly<Record<DecayType, (along: number, cycles: number) => number>> = {
  cosine: (along, cycles) => wave(cycles, along),
  linear: (along) => 1 - along,
  '1-sqrt': (along) => 1 - Math.sqrt(along),
};

/**
 * Rises from `minimum` (default 0), holds the peak for `stableSteps` updates, then falls to `minimum` over `decaySteps` ("warm up,
 * stable, decay") and stays there: on `cycles` cosine waves (default half a one), on a straight line, or as 1 less the square root. By
 * default the rise is straight, the fall half a cosine wave, and the peak held until `decaySteps` are left of the run (Hu et al. 2024;
 * transformers' `warmup_stable_decay`).
 */
export const warmupStableDecay = (options: WarmupStableDecayOptions): Schedule => {
  known(
    'warmupStableDecay',
    amongRun({
      ...endingNames,
      decaySteps: 'required',
      stableSteps: 'optional',
      minimum: 'optional',
      warmupType: 'optional',
      decayType: 'optional',
      cycles: 'optional',
    }),
    options,
  );
  const { totalSteps, warmupSteps = 0, decaySteps, stableSteps, minimum = 0 } = options;
  const { warmupType = 'linear', decayType = 'cosine', cycles = 0.5 } = options;
  const held = stableSteps === undefined ? totalSteps - decaySteps : warmupSteps + stableSteps;
  const floor = shareOf(minimum, options);
  const after = (step: number): number => {
    const along = (step - held) / Math.max(1, decaySteps);
    if (along < 0) return 1;
    return along >= 1 ? floor : Math.max(0, above(floor, falls[decayType](along, cycles)));
  };
  return warmed(options, after, { from: floor, rise: rises[warmupType] });
};

type ScheduleFields = Pick<
  SftConfig,
  | 'learningRate'
  | 'lrSchedulerType'
  | 'lrCycles'
  | 'lrPower'
  | 'lrEnd'
  | 'lrTimescale'
  | 'lrDecaySteps'
  | 'lrDecayType'
  | 'lrStableSteps'
  | 'lrWarmupType'
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
      return cosineWithMinimum({ ...options, ...cycles, minimum: lrEnd ?? 0 });
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
        ...cycles,
        ...(config.lrWarmupType === undefined ? {} : { warmupType: config.lrWarmupType }),
        ...(config.lrStableSteps === undefined ? {} : { stableSteps: config.lrStableSteps }),
        ...(config.lrDecayType === undefined ? {} : { decayType: config.lrDecayType }),
        decaySteps: config.lrDecaySteps ?? Math.ceil(0.1 * totalSteps),
        minimum: lrEnd ?? 0,
      });
  }
};
