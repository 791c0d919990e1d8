/** What happens between two updates, in the serial lane, because it needs the weights at rest. */
import * as A from 'fp-ts/lib/ReadonlyArray.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { warning } from '../errors.js';
import type { FatalError } from '../errors.js';
import type { StepResult } from '../records.js';
import type { SftConfig } from './config.js';
import { evaluateRows } from './evaluate.js';
import type { Evaluated } from './evaluate.js';
import { addToInterval, emptyInterval, encodeLogRow, endsEpoch, isDue, rowOf } from './metrics.js';
import { epochAfter, everySteps } from './plan.js';
import type { Plan } from './plan.js';
import type { Evaluation, Run } from './run.js';
import { saveCheckpoint } from './save.js';

type Hook = (result: StepResult) => TaskEither<FatalError, void>;

const done: TaskEither<FatalError, void> = TE.right(undefined);

/** Whether the update that ended now was the last of an epoch. */
const atEpochEnd = ({ plan, state }: Run): boolean => {
  if (state.step === plan.totalSteps) return true;
  return endsEpoch(plan, state.microBatches - state.lastUpdate, state.microBatches);
};

const logDue = (run: Run, step: number): boolean => {
  const { config, plan } = run;
  if (config.loggingStrategy === 'no') return false;
  if (config.loggingFirstStep && step === 1) return true;
  if (config.loggingStrategy === 'epoch') return atEpochEnd(run);
  return isDue(step, everySteps(config.loggingSteps, plan.totalSteps));
};

/** Adds the update to the interval since the last log row, and writes a row when one is due. */
export const logEvery =
  (run: Run): Hook =>
  (result) => {
    const { state, emit, logs } = run;
    emit({ kind: 'step', step: result });
    state.interval = addToInterval(state.interval, result);
    if (Number.isFinite(result.loss)) state.totalLoss += result.loss;
    if (!logDue(run, result.step)) return done;
    const row = rowOf(state.interval, result, state.numTokens);
    state.interval = emptyInterval;
    const encoded = encodeLogRow(row);
    state.history.push(encoded);
    return pipe(
      logs.write('log', encoded),
      TE.tapIO(() => () => emit({ kind: 'log', log: row })),
    );
  };

/** The evaluation interval in updates, 0 for never. */
export const evalInterval = (
  { evalStrategy, evalSteps, loggingSteps }: Pick<SftConfig, 'evalStrategy' | 'evalSteps' | 'loggingSteps'>,
  { totalSteps }: Pick<Plan, 'totalSteps'>,
): number => (evalStrategy === 'steps' ? everySteps(evalSteps ?? loggingSteps, totalSteps) : 0);

const evaluationDue = (run: Run, result: StepResult): boolean => {
  const { config, plan } = run;
  if (config.evalStrategy === 'no') return false;
  if (config.evalStrategy === 'epoch') return atEpochEnd(run) && result.epoch >= config.evalDelay;
  return result.step >= config.evalDelay && isDue(result.step, evalInterval(config, plan));
};

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The numbers of an evaluation under the names that transformers gives them. */
const metricsOf = (
  name: string,
  { loss, tokenLoss, perplexity, meanTokenAccuracy, entropy }: Evaluated,
  own: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> => {
  const prefix = name === '' ? 'eval_' : `eval_${name}_`;
  const numbers = { loss, tokenLoss, perplexity, meanTokenAccuracy, entropy };
  return Object.fromEntries([
    ...Object.entries(numbers).map(([key, value]): [string, number] => [`${prefix}${snake(key)}`, value]),
    ...Object.entries(own).map(([key, value]): [string, number] => [
      key.startsWith('eval_') ? key : `${prefix}${key}`,
      value,
    ]),
  ]);
};

const evaluateSet = (run: Run, name: string): TaskEither<FatalError, Evaluation> => {
  const { state, config, setup, plan } = run;
  return pipe(
    evaluateRows(state.model, run.evalRows[name] ?? [], { size: config.perDeviceEvalBatchSize }),
    TE.bindTo('evaluated'),
    TE.bind('own', ({ evaluated }) => setup.computeMetrics?.(evaluated, state.model) ?? TE.right({})),
    TE.map(({ evaluated, own }) => ({
      ...evaluated,
      ...(name === '' ? {} : { name }),
      step: state.step,
      epoch: epochAfter(plan, state.microBatches),
      metrics: metricsOf(name, evaluated, own),
    })),
    TE.tap(({ step, epoch, metrics }) => {
      const row = { step, epoch, ...metrics };
      state.history.push(row);
      return run.logs.write('evaluations', row);
    }),
    TE.tapIO((evaluation) => () => run.emit({ kind: 'evaluation', evaluation })),
  );
};

/** Every evaluation set, one after another; then whether this was the best yet, and whether patience is at its end. */
export const evaluateNow = (run: Run): TaskEither<FatalError, ReadonlyArray<Evaluation>> =>
  pipe(
    Object.keys(run.evalRows),
    A.traverse(TE.ApplicativeSeq)((name) => evaluateSet(run, name)),
    TE.tapIO((evaluations) => () => judge(run, evaluations)),
  );

/** The metric's name with its prefix: `loss` and `eval_loss` are one. */
const metricName = ({ metricForBestModel = 'loss' }: Pick<SftConfig, 'metricForBestModel'>): string =>
  metricForBestModel.startsWith('eval_') ? metricForBestModel : `eval_${metricForBestModel}`;

const greaterIsBetter = (config: SftConfig): boolean => config.greaterIsBetter ?? !metricName(config).endsWith('loss');

const judge = (run: Run, evaluations: ReadonlyArray<Evaluation>): void => {
  const { config, state, controls, emit } = run;
  if (!config.loadBestModelAtEnd && config.earlyStoppingPatience === undefined) return;
  const name = metricName(config);
  const metric = evaluations.map(({ metrics }) => metrics[name]).find((value) => value !== undefined);
  if (metric === undefined) {
    const known = evaluations.flatMap(({ metrics }) => Object.keys(metrics));
    emit({
      kind: 'warning',
      warning: warning('W_METRIC_MISSING', `no evaluation has the metric ${name}, so none is the best`, {
        field: 'metricForBestModel',
        expected: `one of ${known.join(', ')}`,
        actual: name,
      }),
    });
    return;
  }
  // What is not a finite number is never the best, and nothing could be held against it later.
  const gain = !Number.isFinite(metric)
    ? -Infinity
    : state.best === undefined
      ? Infinity
      : greaterIsBetter(config)
        ? metric - state.best.metric
        : state.best.metric - metric;
  if (gain > config.earlyStoppingThreshold) state.patience = 0;
  else state.patience += 1;
  if (gain > 0) {
    state.best = { metric, step: state.step };
    // What cannot be loaded at the end is no best model.
    if (config.loadBestModelAtEnd) controls.inputs.checkpointNow();
  }
  if (config.earlyStoppingPatience !== undefined && state.patience >= config.earlyStoppingPatience) controls.endEarly();
};

/** Evaluates when it is due. */
export const evaluateEvery =
  (run: Run): Hook =>
  (result) =>
    evaluationDue(run, result) ? TE.map(() => undefined)(evaluateNow(run)) : done;

const saveDue = (run: Run, { step }: StepResult): boolean => {
  const { config, plan } = run;
  if (config.saveStrategy === 'no') return false;
  if (config.saveStrategy === 'epoch') return atEpochEnd(run);
  return isDue(step, everySteps(config.saveSteps, plan.totalSteps));
};

const saveNow = (run: Run): TaskEither<FatalError, void> =>
  pipe(
    saveCheckpoint(run),
    TE.tapIO((dir) => () => run.emit({ kind: 'checkpoint', checkpoint: { dir, step: run.state.step } })),
    TE.map(() => undefined),
  );

/** Writes a checkpoint if one was asked for since the last. */
export const saveAsked = (run: Run): TaskEither<FatalError, void> =>
  run.controls.takeCheckpoint() && run.config.outputDir !== undefined ? saveNow(run) : done;

/** Writes a checkpoint when one is due or was asked for. */
export const saveEvery =
  (run: Run): Hook =>
  (result) => {
    const asked = run.controls.takeCheckpoint();
    return run.config.outputDir !== undefined && (asked || saveDue(run, result)) ? saveNow(run) : done;
  };
