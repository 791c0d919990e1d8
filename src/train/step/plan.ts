/**
 * How many updates a run makes, and which micro-batches each of them reads: arithmetic only.
 *
 * Micro-batches are counted from 0 over the whole run; epoch `e` holds those from `e·M` to `(e + 1)·M - 1`. The position of a
 * run in its data is this one number, which is what makes resuming a subtraction.
 */
import { known } from '../../checked.js';
import type { OptionNames } from '../../checked.js';
import type { SftConfig } from '../options/config.js';
import { ofRun } from '../options/runNames.js';
import { counted } from '../../formats/counted.js';

/** How many updates and micro-batches a run has. */
export interface Plan {
  /** Prepared rows of one epoch. */
  readonly rows: number;
  /** M: micro-batches of one epoch. */
  readonly microBatchesPerEpoch: number;
  /** U: updates that one epoch counts for in the total. */
  readonly updatesPerEpoch: number;
  /** Passes over the data that the run begins; the last may be left unfinished. */
  readonly epochs: number;
  /** T: updates of the whole run. */
  readonly totalSteps: number;
  /** Updates over which the rate rises. */
  readonly warmupSteps: number;
  readonly gradientAccumulationSteps: number;
  readonly epochRemainder: SftConfig['epochRemainder'];
  /** Whether the micro-batch counter runs on even where an epoch is shorter than an update (the 0.7.10 loop). */
  readonly runningCounter: boolean;
  /** Micro-batches of the planned epochs that no update reads. */
  readonly leftOver: number;
}

/** The options that a plan is made from. */
export type PlanFields = Pick<
  SftConfig,
  | 'perDeviceTrainBatchSize'
  | 'gradientAccumulationSteps'
  | 'dataloaderDropLast'
  | 'epochRemainder'
  | 'numTrainEpochs'
  | 'maxSteps'
  | 'warmupSteps'
  | 'warmupRatio'
> & { readonly parity?: SftConfig['parity'] };

/** Its names, for calls that no compiler has looked at. */
export const planFieldNames: OptionNames<PlanFields> = {
  perDeviceTrainBatchSize: 'required',
  gradientAccumulationSteps: 'required',
  dataloaderDropLast: 'required',
  epochRemainder: 'required',
  numTrainEpochs: 'required',
  maxSteps: 'required',
  warmupSteps: 'required',
  warmupRatio: 'required',
  parity: 'optional',
};

/** Warm-up updates: the number when one is given, else the share of the run, rounded up. `warmupSteps` below 1 is a share, too. */
export const warmupStepsOf = (
  { warmupSteps, warmupRatio }: Pick<SftConfig, 'warmupSteps' | 'warmupRatio'>,
  totalSteps: number,
): number => (warmupSteps >= 1 ? warmupSteps : Math.ceil(totalSteps * (warmupSteps > 0 ? warmupSteps : warmupRatio)));

/** `every` updates, or the share of the run when it lies between 0 and 1. */
export const everySteps = (every: number, totalSteps: number): number =>
  every > 0 && every < 1 ? Math.max(1, Math.ceil(totalSteps * every)) : every;

const epochShape = (rows: number, config: PlanFields): { readonly microBatches: number; readonly updates: number } => {
  const size = config.perDeviceTrainBatchSize;
  const every = config.gradientAccumulationSteps;
  const microBatches = config.dataloaderDropLast ? Math.floor(rows / size) : Math.ceil(rows / size);
  const updates =
    config.epochRemainder === 'carry' ? Math.floor(microBatches / every) : Math.ceil(microBatches / every);
  return { microBatches, updates: Math.max(1, updates) };
};

/**
 * The plan of a run over `rows` prepared rows; Infinity for a dataset of unknown length, which needs `maxSteps`. Throws when the
 * rows do not make a single micro-batch.
 */
export const planSteps = (rows: number, config: PlanFields): Plan => {
  known('planSteps', ofRun(planFieldNames), config);
  const { microBatches, updates } = epochShape(rows, config);
  if (microBatches === 0)
    throw new RangeError(`${counted(rows, 'row makes', 'rows make')} no batch of ${config.perDeviceTrainBatchSize}`);
  const totalSteps = config.maxSteps > 0 ? config.maxSteps : Math.ceil(config.numTrainEpochs * updates);
  const plan = {
    rows,
    microBatchesPerEpoch: microBatches,
    updatesPerEpoch: updates,
    epochs: 0,
    totalSteps,
    warmupSteps: warmupStepsOf(config, totalSteps),
    gradientAccumulationSteps: config.gradientAccumulationSteps,
    epochRemainder: config.epochRemainder,
    runningCounter: config.parity === 'trl-0.7.10',
    leftOver: 0,
  };
  const end = microBatchesAfter(plan, totalSteps);
  const epochs = Math.ceil(end / microBatches);
  const planned = config.maxSteps > 0 ? end : Math.ceil(config.numTrainEpochs * microBatches);
  return { ...plan, epochs, leftOver: Math.max(0, planned - end) };
};

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** The `n`-th (from 1) whole number above 0 that `a` or `b` divides; 0 for n = 0. */
const nthMultiple = (n: number, a: number, b: number): number => {
  const period = (a / gcd(a, b)) * b;
  const inPeriod = period / a + period / b - 1;
  const whole = Math.floor(n / inPeriod);
  const rest = n - whole * inPeriod;
  let [low, high] = [0, period];
  // The least number that has `rest` of them at or below it.
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (Math.floor(middle / a) + Math.floor(middle / b) - Math.floor(middle / period) >= rest) high = middle;
    else low = middle + 1;
  }
  return whole * period + low;
};

/** Micro-batches that the first `steps` updates read: what walking them with `updateSize` comes to, without the walk. */
export const microBatchesAfter = (plan: Parameters<typeof endsUpdate>[0], steps: number): number => {
  const { microBatchesPerEpoch: perEpoch, gradientAccumulationSteps: every } = plan;
  if (!Number.isFinite(perEpoch)) return steps * every;
  if (plan.epochRemainder === 'update') {
    const updates = Math.ceil(perEpoch / every);
    return Math.floor(steps / updates) * perEpoch + (steps % updates) * every;
  }
  if (perEpoch > every) return steps * every;
  return plan.runningCounter ? nthMultiple(steps, perEpoch, every) : steps * perEpoch;
};

/** Whether the update in the making ends with micro-batch `index` (counted over the whole run). */
export const endsUpdate = (
  plan: Pick<Plan, 'microBatchesPerEpoch' | 'gradientAccumulationSteps' | 'epochRemainder' | 'runningCounter'>,
  index: number,
): boolean => {
  const { microBatchesPerEpoch: perEpoch, gradientAccumulationSteps: every } = plan;
  const lastOfEpoch = (index + 1) % perEpoch === 0;
  if (plan.epochRemainder === 'update') return lastOfEpoch || ((index % perEpoch) + 1) % every === 0;
  if (perEpoch > every) return (index + 1) % every === 0;
  return lastOfEpoch || (plan.runningCounter && (index + 1) % every === 0);
};

/** Micro-batches of the update that begins at micro-batch `start`. */
export const updateSize = (plan: Parameters<typeof endsUpdate>[0], start: number): number => {
  let size = 1;
  while (!endsUpdate(plan, start + size - 1)) size++;
  return size;
};

/** Passes over the data after `microBatches` micro-batches, fractions included: what logs call the epoch. */
export const epochAfter = (
  { microBatchesPerEpoch }: Pick<Plan, 'microBatchesPerEpoch'>,
  microBatches: number,
): number => microBatches / microBatchesPerEpoch;
