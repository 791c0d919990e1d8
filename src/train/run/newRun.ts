/** A run about to make its first update, of what was made ready for it: plan, state, logs, counts of what was refused. */
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { IO } from 'fp-ts/lib/IO.js';
import { fatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { onCard } from '../../model/kernels/onCard.js';
import type { CausalLM } from '../../model/model.js';
import type { Labelled } from '../../records.js';
import { allLogs, runLogs } from '../logging/log.js';
import type { RunLogs } from '../logging/log.js';
import { tensorBoardLog } from '../logging/tensorboard.js';
import type { Optimizer } from '../optimizers/optimizer.js';
import { optimizerOf } from '../optimizers/optimizerOf.js';
import { scheduleOf } from '../optimizers/schedule.js';
import type { Schedule } from '../optimizers/schedule.js';
import { isParity } from '../options/parity.js';
import type { SftConfig } from '../options/config.js';
import { fieldOfSet } from '../preparing/prepareRows.js';
import type { PreparedSet, TrainRows } from '../preparing/prepareRows.js';
import { makeRefusals } from '../preparing/refusals.js';
import type { Refusals } from '../preparing/refusals.js';
import { orderRows } from '../step/microBatches.js';
import { epochAfter, planSteps } from '../step/plan.js';
import type { Plan } from '../step/plan.js';
import { disposeState, initState } from '../step/state.js';
import type { TrainState } from '../step/state.js';
import type { Controls } from './controls.js';
import { fingerprintOf } from './fingerprint.js';
import type { Begun, Dataset, RateByHand, Run, RunEvent, SftSetup } from './run.js';
import { withoutWeights } from './withoutWeights.js';

/** How messages call a row of a micro-batch: by its number among the prepared rows. */
const rowNames =
  (rows: ReadonlyArray<Labelled> | undefined, { microBatchesPerEpoch }: Plan, config: SftConfig) =>
  (micro: number, row: number): string => {
    if (rows === undefined) return `row ${row} of micro-batch ${micro}`;
    const order = orderRows(config, Math.floor(micro / microBatchesPerEpoch))(rows);
    const place = (micro % microBatchesPerEpoch) * config.perDeviceTrainBatchSize + row;
    const found = order[place];
    return `row ${found === undefined ? place : rows.indexOf(found)}`;
  };

/** The logs that the options ask for. */
const logsOf = ({ outputDir, reportTo, loggingDir }: SftConfig): RunLogs => {
  const dir = loggingDir ?? (outputDir === undefined ? undefined : join(outputDir, 'runs'));
  const wanted = dir !== undefined && reportTo.some((name) => name === 'tensorboard' || name === 'all');
  return allLogs([runLogs(outputDir), ...(wanted ? [tensorBoardLog({ dir })] : [])]);
};

const sizeOf = ({ shape }: { readonly shape: ReadonlyArray<number> }): number => shape.reduce((a, b) => a * b, 1);

/** What a run is made of. */
export interface Ready {
  readonly setup: SftSetup;
  /** With the `maxLength` and `precision` that hold. */
  readonly config: SftConfig;
  readonly model: CausalLM;
  readonly tokenizer: Tokenizer | undefined;
  readonly trainDataset: Dataset;
  readonly train: TrainRows;
  readonly evaluation: Readonly<Record<string, PreparedSet>>;
  /** Called before each pass: see `StepOptions`. */
  readonly engage: IO<void>;
  readonly controls: Controls;
  readonly emit: (event: RunEvent) => void;
  /** Milliseconds on a clock that only goes forward. */
  readonly now: () => number;
}

/** Steps of a run over these rows, without end where they are streamed. `E_NO_BATCH` where they fill no update. */
export const planned = ({ train: { rows }, config }: Pick<Ready, 'train' | 'config'>): Either<FatalError, Plan> =>
  E.tryCatch(
    () => planSteps(rows?.length ?? Infinity, config),
    (cause) =>
      usage('E_NO_BATCH', cause instanceof Error ? cause.message : String(cause), {
        field: 'perDeviceTrainBatchSize',
        hint: 'make batches smaller, or leave out dataloaderDropLast',
      }),
  );

/** The schedule, but for a rate set by hand. */
const steered =
  (schedule: Schedule, byHand: Readonly<RateByHand>): Schedule =>
  (step) =>
    byHand.learningRate ?? schedule(step);

/** What `optimizer` of the setup makes. Throws `E_CALLBACK` where it throws. */
const ownOptimizer = ({ optimizer }: Ready['setup'], plan: Plan, rate: Schedule): Optimizer | undefined => {
  try {
    return optimizer?.(plan, rate);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw fatal('E_CALLBACK', `optimizer failed: ${message}`, { cause, field: 'optimizer' });
  }
};

const stateOf = ({ setup, config, model, engage, train: { rows } }: Ready, plan: Plan, rate: Schedule): TrainState =>
  initState({
    model,
    optimizer: ownOptimizer(setup, plan, rate) ?? optimizerOf(config, rate),
    seed: config.seed,
    lossMean: config.lossMean ?? (isParity(config) ? 'microBatch' : 'token'),
    // An update of what is left of an epoch is the mean of the micro-batches it has (transformers 5); before, of as many as others have.
    gradientAccumulationSteps: config.epochRemainder === 'update' ? undefined : config.gradientAccumulationSteps,
    lossType: config.lossType,
    computeLoss: setup.computeLoss,
    labelSmoothingFactor: config.labelSmoothingFactor,
    neftuneNoiseAlpha: config.neftuneNoiseAlpha,
    gradientCheckpointing: config.gradientCheckpointing,
    disableDropout: config.disableDropout,
    nonFinite: config.nonFinite,
    ahead: onCard(),
    engage,
    epochAfter: (microBatches) => epochAfter(plan, microBatches),
    nameRow: rowNames(rows, plan, config),
  });

/** Counts that begin with what was refused while rows were made ready. */
const refusalsOf = ({ train: { refused, summary }, evaluation }: Ready): Refusals => {
  const refusals = makeRefusals();
  if (refused !== undefined) refusals.passed('trainDataset', { ...refused, read: summary.rowsRead });
  for (const [name, set] of Object.entries(evaluation))
    refusals.passed(fieldOfSet(name), { ...set.refused, read: set.summary.rowsRead });
  return refusals;
};

/** The run before its first update. */
export const newRun = (ready: Ready, plan: Plan): Run => {
  const { setup, config, model, tokenizer, trainDataset, train, evaluation, controls, emit, now } = ready;
  const rateByHand: RateByHand = { learningRate: undefined };
  return {
    config,
    setup,
    refusals: refusalsOf(ready),
    trainDataset,
    plan,
    state: stateOf(ready, plan, steered(scheduleOf(config, plan), rateByHand)),
    rateByHand,
    tokenizer,
    trainSummary: train.summary,
    rows: train.rows,
    evalRows: evaluation,
    fingerprint: fingerprintOf(config, train.rows, model),
    controls,
    emit,
    logs: logsOf(config),
    now,
    startedAt: now(),
    startStep: 0,
    startTokens: 0,
  };
};

/** Frees what a run holds besides its model. */
export const release = ({ state, logs, pusher }: Run): void => {
  pusher?.abort();
  disposeState(state);
  void logs.close();
};

/** What is told of a run as it begins, or goes on. */
export const begunOf = (
  { config, plan, state: { model, step } }: Run,
  { train, evaluation }: Pick<Ready, 'train' | 'evaluation'>,
): Begun => {
  const trainable = new Set(model.trainable);
  const sizes = Object.entries(model.weights).map(([name, weight]) => ({ name, size: sizeOf(weight) }));
  const total = (all: typeof sizes): number => all.reduce((sum, { size }) => sum + size, 0);
  return withoutWeights({
    config,
    plan,
    model,
    trainSummary: train.summary,
    evalSummaries: Object.fromEntries(Object.entries(evaluation).map(([name, { summary }]) => [name, summary])),
    fromCache: train.fromCache,
    resumedAt: step,
    trainableParameters: total(sizes.filter(({ name }) => trainable.has(name))),
    totalParameters: total(sizes),
  });
};
