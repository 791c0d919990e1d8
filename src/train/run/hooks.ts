/** What happens between two updates, in the serial lane, because it needs the weights at rest. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as A from 'fp-ts/lib/ReadonlyArray.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, isFatal, warning } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { Labelled, StepResult } from '../../records.js';
import { metricsOf } from '../evaluating/evalMetrics.js';
import { evaluateRows } from '../evaluating/evaluate.js';
import type { Evaluated, HardRow } from '../evaluating/evaluate.js';
import { answerRows } from '../generating/samples.js';
import type { Sample } from '../generating/samples.js';
import { addToInterval, emptyInterval, encodeLogRow, endsEpoch, isDue, isSound, rowOf } from '../logging/metrics.js';
import type { SftConfig } from '../options/config.js';
import { isParity } from '../options/parity.js';
import { saveCheckpoint } from '../saving/save.js';
import { epochAfter, everySteps } from '../step/plan.js';
import type { Plan } from '../step/plan.js';
import type { EvalRows, Evaluation, HardRowText, Run } from './run.js';

type Hook = (result: StepResult) => TaskEither<FatalError, void>;

const done: TaskEither<FatalError, void> = TE.right(undefined);

/** Whether the update that ended now was the last of an epoch. */
export const atEpochEnd = ({ plan, state }: Run): boolean => {
  if (state.step === plan.totalSteps) return true;
  return endsEpoch(plan, state.microBatches - state.lastUpdate, state.microBatches);
};

const logDue = (run: Run, step: number): boolean => {
  const { config, plan, controls } = run;
  const asked = controls.takeLog();
  if (asked !== undefined) return asked;
  if (config.loggingFirstStep && step === 1) return true;
  return config.loggingStrategy === 'steps' && isDue(step, everySteps(config.loggingSteps, plan.totalSteps));
};

/** Writes the row of the interval since the last one. */
const logNow = (run: Run, result: StepResult): TaskEither<FatalError, void> => {
  const { state, emit, logs } = run;
  const row = rowOf(state.interval, result, state.numTokens);
  state.interval = emptyInterval;
  const encoded = encodeLogRow(row);
  state.history.push(encoded);
  return pipe(
    logs.write('log', encoded),
    TE.tapIO(() => () => emit({ kind: 'log', log: row })),
  );
};

/** Tells the update, adds it to the interval since the last log row, and writes a row when one is due. */
export const logEvery =
  (run: Run): Hook =>
  (result) => {
    const { state, emit } = run;
    emit({ kind: 'step', step: result });
    state.interval = addToInterval(state.interval, result);
    if (isSound(result)) state.totalLoss += result.loss;
    return logDue(run, result.step) ? logNow(run, result) : done;
  };

/** At the end of an epoch: the row that is due then, where there is anything since the last. */
export const logEpoch =
  (run: Run): Hook =>
  (result) => {
    const due = run.controls.takeLog() ?? run.config.loggingStrategy === 'epoch';
    return due && run.state.interval.steps > 0 ? logNow(run, result) : done;
  };

/** The evaluation interval in updates, 0 for never. */
const evalInterval = (
  { evalStrategy, evalSteps, loggingSteps }: Pick<SftConfig, 'evalStrategy' | 'evalSteps' | 'loggingSteps'>,
  { totalSteps }: Pick<Plan, 'totalSteps'>,
): number => (evalStrategy === 'steps' ? everySteps(evalSteps ?? loggingSteps, totalSteps) : 0);

const evaluationDue = (run: Run, result: StepResult): boolean => {
  const { config, plan, controls } = run;
  const asked = controls.takeEvaluation();
  if (asked !== undefined) return asked;
  return result.step >= config.evalDelay && isDue(result.step, evalInterval(config, plan));
};

/** Tokens of a hard row that are shown. */
const shownTokens = 320;

const withText = (hard: HardRow, row: Labelled | undefined, tokenizer: Run['tokenizer']): HardRowText => ({
  ...hard,
  tokens:
    row === undefined || tokenizer === undefined
      ? []
      : Array.from(row.inputIds.subarray(0, shownTokens), (id, t) => {
          const loss = hard.tokenLosses[t] ?? NaN;
          return { text: tokenizer.decode([id]), ...(Number.isNaN(loss) ? {} : { loss }) };
        }),
});

/** Held-out prompts answered; logged and told. */
const sampleSet = (
  run: Run,
  name: string,
  { rows, names }: EvalRows,
): TaskEither<FatalError, ReadonlyArray<Sample>> => {
  const { state, config, plan, tokenizer, logs } = run;
  const { evalSamples, evalSampleTokens: maxNewTokens, evalSampleStop: stop } = config;
  if (evalSamples === 0) return TE.right([]);
  state.options.engage?.();
  const place = {
    ...(name === '' ? {} : { name }),
    step: state.step,
    epoch: epochAfter(plan, state.microBatches),
  };
  return pipe(
    answerRows(state.model, rows, { count: evalSamples, tokenizer, names, maxNewTokens, stop }),
    TE.tap((samples) =>
      pipe(
        samples,
        A.traverse(TE.ApplicativeSeq)(({ numTokens, ...sample }) =>
          logs.write('samples', { ...place, ...sample, num_tokens: numTokens }),
        ),
      ),
    ),
    TE.tapIO((samples) => () => run.emit({ kind: 'samples', samples: { ...place, samples } })),
  );
};

/** What `computeMetrics` makes of an evaluation. */
const ownMetrics =
  ({ setup, state }: Run, evaluated: Evaluated): TaskEither<FatalError, Readonly<Record<string, number>>> =>
  async () => {
    try {
      const made = setup.computeMetrics?.(evaluated, state.model) ?? {};
      return typeof made === 'function' ? await made() : E.right(await made);
    } catch (cause) {
      if (isFatal(cause)) return E.left(cause);
      const message = cause instanceof Error ? cause.message : String(cause);
      return E.left(fatal('E_CALLBACK', `computeMetrics failed: ${message}`, { cause }));
    }
  };

const evaluateSet = (run: Run, name: string, set: EvalRows): TaskEither<FatalError, Evaluation> => {
  const { state, config, setup, plan, tokenizer } = run;
  const { rows, names } = set;
  return pipe(
    evaluateRows(state.model, rows, {
      size: config.perDeviceEvalBatchSize,
      names,
      hardest: config.evalHardest,
      labelSmoothingFactor: isParity(config) ? config.labelSmoothingFactor : 0,
      preprocessLogitsForMetrics: setup.preprocessLogitsForMetrics,
      engage: state.options.engage,
    }),
    TE.bindTo('evaluated'),
    TE.bind('own', ({ evaluated }) => ownMetrics(run, evaluated)),
    TE.bind('samples', () => sampleSet(run, name, set)),
    TE.map(({ evaluated: { predictions: _, ...evaluated }, own, samples }) => ({
      ...evaluated,
      ...(name === '' ? {} : { name }),
      step: state.step,
      epoch: epochAfter(plan, state.microBatches),
      metrics: metricsOf(name, evaluated, samples, own),
      hardest: evaluated.hardest.map((hard) => withText(hard, rows[hard.index], tokenizer)),
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
    Object.entries(run.evalRows),
    A.traverse(TE.ApplicativeSeq)(([name, set]) => evaluateSet(run, name, set)),
    TE.tapIO((evaluations) => () => judge(run, evaluations)),
  );

/** The metric's name with its prefix: `loss` and `eval_loss` are one. */
const metricName = ({ metricForBestModel = 'loss' }: Pick<SftConfig, 'metricForBestModel'>): string =>
  metricForBestModel.startsWith('eval_') ? metricForBestModel : `eval_${metricForBestModel}`;

const greaterIsBetter = (config: SftConfig): boolean => config.greaterIsBetter ?? !metricName(config).endsWith('loss');

const judge = (run: Run, evaluations: ReadonlyArray<Evaluation>): void => {
  const { config, state, controls, emit } = run;
  const { loadBestModelAtEnd, earlyStoppingPatience, saveStrategy, metricForBestModel } = config;
  const judges = loadBestModelAtEnd || earlyStoppingPatience !== undefined || saveStrategy === 'best';
  if (!judges && metricForBestModel === undefined) return;
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
    if (loadBestModelAtEnd || saveStrategy === 'best') controls.inputs.checkpointNow();
  }
  if (earlyStoppingPatience !== undefined && state.patience >= earlyStoppingPatience) controls.endEarly();
};

/** Evaluates when it is due. */
export const evaluateEvery =
  (run: Run): Hook =>
  (result) =>
    evaluationDue(run, result) ? TE.map(() => undefined)(evaluateNow(run)) : done;

/** At the end of an epoch: the evaluation that is due then. */
export const evaluateEpoch =
  (run: Run): Hook =>
  (result) => {
    const { config, controls } = run;
    const due = controls.takeEvaluation() ?? (config.evalStrategy === 'epoch' && result.epoch >= config.evalDelay);
    return due ? TE.map(() => undefined)(evaluateNow(run)) : done;
  };

const saveDue = (run: Run, { step }: StepResult): boolean => {
  const { config, plan } = run;
  if (config.saveStrategy === 'epoch') return atEpochEnd(run);
  return config.saveStrategy === 'steps' && isDue(step, everySteps(config.saveSteps, plan.totalSteps));
};

/** What transformers calls the commit of a checkpoint. */
const pushTitle = ({ config, plan, state }: Run): string =>
  config.saveStrategy === 'epoch'
    ? `Training in progress, epoch ${Math.floor(epochAfter(plan, state.microBatches))}`
    : `Training in progress, step ${state.step}`;

/** Tells what has become of uploads since this was last done. */
export const tellPushes = ({ pusher, emit }: Run): void => pusher?.news().forEach(emit);

const saveNow = (run: Run): TaskEither<FatalError, void> =>
  pipe(
    saveCheckpoint(run),
    TE.tapIO((dir) => () => run.emit({ kind: 'checkpoint', checkpoint: { dir, step: run.state.step } })),
    TE.flatMap((dir) => run.pusher?.checkpoint({ dir, step: run.state.step, title: pushTitle(run) }) ?? done),
  );

/** Writes a checkpoint if one was asked for since the last. */
export const saveAsked = (run: Run): TaskEither<FatalError, void> =>
  run.controls.takeCheckpoint() === true && run.config.outputDir !== undefined ? saveNow(run) : done;

/** Writes a checkpoint when one is due or was asked for: after everything else of its update, so that a resumed run repeats nothing. */
export const saveEvery =
  (run: Run): Hook =>
  (result) => {
    const due = run.controls.takeCheckpoint() ?? saveDue(run, result);
    return run.config.outputDir !== undefined && due ? saveNow(run) : done;
  };

/** The checkpoint of an epoch that ends before its last update. */
export const saveEpoch = (run: Run): TaskEither<FatalError, void> => {
  const due = run.controls.takeCheckpoint() ?? run.config.saveStrategy === 'epoch';
  return run.config.outputDir !== undefined && due ? saveNow(run) : done;
};
