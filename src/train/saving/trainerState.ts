/** trainer_state.json: counters, seeds and the place in the data. transformers' names where it has one for the same thing. */
import { isAbsolute } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { checkpointName } from '../../formats/checkpoints/checkpoint.js';
import { decodeFrom } from '../../formats/json/json.js';
import type { LogInterval } from '../logging/metrics.js';
import type { Run } from '../run/run.js';
import { epochAfter } from '../step/plan.js';
import type { Best, TrainState } from '../step/state.js';

const orNull = <C extends t.Mixed>(codec: C) => t.union([codec, t.null], `${codec.name}, or null`);

const Counted = t.type(
  {
    format: t.literal(1),
    global_step: t.number,
    max_steps: t.number,
    epoch: orNull(t.number),
    // Micro-batches read: with the seeds, the place in the data.
    micro_batches: t.number,
    last_update: t.number,
    num_tokens: t.number,
    skipped_steps: t.number,
    empty_micro_batches: t.number,
    total_loss: t.number,
    interval: t.intersection([
      t.type({ steps: t.number, loss: t.number, items: t.number, correct: t.number, entropy: t.number }),
      t.partial({ aux_loss: t.number }),
    ]),
    best_metric: orNull(t.number),
    best_step: orNull(t.number),
    best_model_checkpoint: orNull(t.string),
    patience: t.number,
    learning_rate: orNull(t.number),
    fingerprint: t.string,
    seed: t.number,
    data_seed: t.number,
    log_history: t.readonlyArray(t.UnknownRecord),
  },
  'a trainer state',
);
/** What `micro_batches` counts; older states do not say it. */
const WithUnit = t.partial({
  unit: t.type({ train_batch_size: t.number, gradient_accumulation_steps: t.number, per_epoch: orNull(t.number) }),
});
const OnDisk = t.intersection([Counted, WithUnit], 'a trainer state');
type OnDisk = t.TypeOf<typeof OnDisk>;

const encodeInterval = ({ auxLoss, ...sums }: LogInterval): OnDisk['interval'] => ({
  ...sums,
  ...(auxLoss === undefined ? {} : { aux_loss: auxLoss }),
});

const intervalOf = ({ aux_loss: auxLoss, ...sums }: OnDisk['interval']): LogInterval => ({
  ...sums,
  ...(auxLoss === undefined ? {} : { auxLoss }),
});

/** What a run counts its place in the data in. */
export interface Unit {
  /** Rows of a micro-batch. */
  readonly size: number;
  /** Micro-batches of an update. */
  readonly accumulation: number;
  /** Micro-batches of an epoch; Infinity where rows are streamed. */
  readonly perEpoch: number;
}

export const unitOf = ({ plan, config }: Pick<Run, 'plan' | 'config'>): Unit => ({
  size: config.perDeviceTrainBatchSize,
  accumulation: plan.gradientAccumulationSteps,
  perEpoch: plan.microBatchesPerEpoch,
});

const encodeUnit = ({ size, accumulation, perEpoch }: Unit): NonNullable<OnDisk['unit']> => ({
  train_batch_size: size,
  gradient_accumulation_steps: accumulation,
  per_epoch: Number.isFinite(perEpoch) ? perEpoch : null,
});

const unitFrom = ({ unit }: OnDisk): Unit | undefined =>
  unit === undefined
    ? undefined
    : {
        size: unit.train_batch_size,
        accumulation: unit.gradient_accumulation_steps,
        perEpoch: unit.per_epoch ?? Infinity,
      };

export const encodeTrainerState = ({ state, rateByHand, config, plan, fingerprint }: Run): OnDisk => ({
  format: 1,
  global_step: state.step,
  max_steps: plan.totalSteps,
  epoch: epochAfter(plan, state.microBatches),
  micro_batches: state.microBatches,
  unit: encodeUnit(unitOf({ plan, config })),
  last_update: state.lastUpdate,
  num_tokens: state.numTokens,
  skipped_steps: state.skippedSteps,
  empty_micro_batches: state.emptyMicroBatches,
  total_loss: state.totalLoss,
  interval: encodeInterval(state.interval),
  best_metric: state.best?.metric ?? null,
  best_step: state.best?.step ?? null,
  best_model_checkpoint: state.best?.saved === true ? (state.best.dir ?? checkpointName(state.best.step)) : null,
  patience: state.patience,
  learning_rate: rateByHand.learningRate ?? null,
  fingerprint,
  seed: config.seed,
  data_seed: config.dataSeed ?? config.seed,
  log_history: state.history,
});

/** The best evaluation; its checkpoint is told where it lies elsewhere than beside the one it is read from. */
const bestOf = ({ best_metric: metric, best_step: step, best_model_checkpoint: dir }: OnDisk): Best | undefined => {
  if (metric === null || step === null) return undefined;
  if (dir === null) return { metric, step };
  return { metric, step, saved: true, ...(isAbsolute(dir) ? { dir } : {}) };
};

/** The counters of a state; tensors are in other files. */
export type Counters = Omit<TrainState, 'model' | 'optimizer' | 'options' | 'moments' | 'begun'>;

export interface SavedState {
  readonly counters: Counters;
  /** What `microBatches` among them counts, where the file says it. */
  readonly unit: Unit | undefined;
  /** The rate that was set by hand, if one was. */
  readonly learningRate: number | undefined;
  readonly fingerprint: string;
}

export const decodeTrainerState =
  (file: string) =>
  (value: unknown): Either<FatalError, SavedState> =>
    E.map((disk: OnDisk) => ({
      fingerprint: disk.fingerprint,
      unit: unitFrom(disk),
      learningRate: disk.learning_rate ?? undefined,
      counters: {
        step: disk.global_step,
        microBatches: disk.micro_batches,
        lastUpdate: disk.last_update,
        numTokens: disk.num_tokens,
        skippedSteps: disk.skipped_steps,
        emptyMicroBatches: disk.empty_micro_batches,
        totalLoss: disk.total_loss,
        interval: intervalOf(disk.interval),
        best: bestOf(disk),
        patience: disk.patience,
        history: [...disk.log_history],
      },
    }))(decodeFrom(OnDisk, file, 'E_TRAINER_STATE')(value));
