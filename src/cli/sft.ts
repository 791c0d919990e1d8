/** `rxtune sft`: fine-tunes a model on a dataset. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as T from 'fp-ts/lib/Task.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { pipe } from 'fp-ts/lib/function.js';
import { fatal, onlyFatal, render, warning } from '../errors.js';
import type { FatalError } from '../errors.js';
import { boolean, list, nonEmptyString, numberThat } from '../formats/optionCodecs.js';
import { closed, option, optional, required } from '../formats/closed.js';
import type { ClosedValue, Field } from '../formats/closed.js';
import { makeRejects } from '../streams/rejects.js';
import { loadOptionsOf, loadParts } from '../train/loading/load.js';
import type { LoadedParts } from '../train/loading/load.js';
import { fitsUnloaded } from '../train/memory/fitMemory.js';
import type { SftConfig } from '../train/options/config.js';
import { serveDashboard } from '../train/report/dashboard.js';
import type { Dashboard } from '../train/report/dashboard.js';
import { makeRecorder } from '../train/report/recorder.js';
import type { Recorder } from '../train/report/recorder.js';
import { beforeLoading } from '../train/run/beforeLoading.js';
import { leaveFailure } from '../train/run/failure.js';
import type { RunSummary, SftSetup } from '../train/run/run.js';
import { sftTrainer } from '../train/trainer.js';
import type { SftRun } from '../train/trainer.js';
import type { CommandLine, Terminal } from './command.js';
import { evalDatasetDoc, mixedRows, setsOf, trainDatasetDoc, weighted } from './datasets.js';
import { reportable, writeReport } from './runReport.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';
import type { sftOwnNames } from './sftFlags.js';
import { toldAtEnd, watch } from './showRun.js';
import { onSignals } from './signals.js';
import { tellingHub, tellLocated, tellRejects, tellWarning } from './tell.js';

const Own = closed('sft', {
  model: required(
    nonEmptyString,
    'Directory of the model (config.json, model.safetensors, tokenizer.json), or its name on the Hub: owner/name[@revision].',
  ),
  adapter: optional(nonEmptyString, 'Directory (or Hub name) of a PEFT adapter to train on.'),
  trainDataset: required(list(nonEmptyString), trainDatasetDoc),
  evalDataset: optional(list(nonEmptyString), `${evalDatasetDoc} NAME=PATH for several sets, told apart.`),
  report: optional(
    nonEmptyString,
    'HTML file to write: curves, answers and hardest rows, and rows as the loss sees them.',
  ),
  dashboard: option(boolean, false, 'Serve the same page while training, on 127.0.0.1; the address is printed.'),
  dashboardPort: option(
    numberThat('a port: 0 to 65535', (x) => Number.isSafeInteger(x) && x >= 0 && x <= 65_535, 'integer'),
    0,
    'Port of that page. 0: any that is free.',
  ),
} satisfies Readonly<Record<(typeof sftOwnNames)[number], Field>>);

const interrupted = ({ steps }: RunSummary, outputDir: string | undefined): FatalError =>
  fatal('E_INTERRUPTED', `stopped after step ${steps}${outputDir === undefined ? '' : '; a checkpoint was written'}`, {
    ...(outputDir === undefined
      ? { hint: 'without --output-dir nothing is kept' }
      : { file: outputDir, hint: 'the same command with --resume-from-checkpoint true goes on from here' }),
  });

const neverEvaluated = (
  { evalDataset }: Pick<ClosedValue<typeof Own>, 'evalDataset'>,
  { evalSplit, evalStrategy, evalOnStart }: SftConfig,
): boolean => (evalDataset !== undefined || evalSplit !== undefined) && evalStrategy === 'no' && !evalOnStart;

type Files = ClosedValue<typeof Own>;

const titleOf = ({ model, trainDataset }: Files, { runName }: SftConfig): string =>
  runName ?? `${basename(model)} on ${trainDataset.map((file) => basename(file)).join(', ')}`;

/** Of a run that failed: what keeps its report from being written, in a line, since the error that counts comes behind it. */
const untoldReport = (fault: FatalError, { err }: Terminal): void =>
  void err.write(`no report: ${render(fault).replace(/\n[^]*/, '')}\n`);

/** The report of a run whose model could not be loaded. */
const unloaded = (
  error: FatalError,
  own: Files,
  config: SftConfig,
  terminal: Terminal,
): TaskEither<FatalError, unknown> => {
  if (own.report === undefined) return TE.right(undefined);
  const recorder = makeRecorder({ title: titleOf(own, config), facts: [['model', own.model]] });
  recorder.failed(error);
  return pipe(
    writeReport(recorder.record(), {
      path: own.report,
      rows: E.left(error),
      tokenizer: undefined,
      maxPositions: 1,
      config,
    }),
    TE.orElseW((fault) => TE.fromIO(() => untoldReport(fault, terminal))),
  );
};

const evaluationUnasked = warning('W_EVAL_NEVER', 'there are rows to evaluate on, and nothing says when', {
  field: '--eval-strategy',
  hint: '--eval-strategy epoch, or --eval-steps N',
});

type Sets = Pick<SftSetup, 'trainDataset' | 'evalDataset'>;

/** What the command line asks for. */
interface Asked {
  readonly own: Files;
  readonly config: SftConfig;
  readonly sets: Sets;
}

/** The call with all that can be found wrong with it before gigabytes are loaded. */
const asked = (command: Command, { err }: Terminal): TaskEither<FatalError, Asked> =>
  pipe(
    decodeSftFlags(command, Own),
    TE.bind('sets', ({ own }) => TE.fromEither(setsOf(own, err))),
    TE.tap(({ sets, config }) => beforeLoading(sets, config)),
    TE.tap(({ own }) => (own.report === undefined ? TE.right(undefined) : reportable(own.report))),
  );

/** The model and its tokenizer; what keeps them from being loaded is left in the output directory and in the report. */
const loadedFor = ({ own, config }: Asked, terminal: Terminal): TaskEither<FatalError, LoadedParts> =>
  pipe(
    loadParts(own.model, {
      ...loadOptionsOf(config),
      accept: (model) => fitsUnloaded(model, config, { adapted: own.adapter !== undefined }),
      adapterDir: own.adapter,
      hub: tellingHub(terminal.err),
    }),
    TE.tapError((error) => TE.fromTask(() => leaveFailure(config.outputDir, error))),
    TE.tapError((error) => unloaded(error, own, config, terminal)),
  );

/** Says what was loaded, and what is odd about that or the call. */
const tellLoaded = ({ own, config }: Asked, { engine, warnings, located }: LoadedParts, { err }: Terminal): void => {
  tellLocated(err, located);
  if (engine !== undefined) err.write(`engine: ${engine.reason}\n`);
  warnings.forEach(tellWarning(err));
  if (neverEvaluated(own, config)) tellWarning(err)(evaluationUnasked);
};

/** The run, whose refused rows are told. */
const runOf = ({ own, config, sets }: Asked, { model, tokenizer }: LoadedParts, { err }: Terminal): SftRun => {
  const rejects = makeRejects({ maxRate: config.maxRejectRate });
  tellRejects(rejects, err);
  return sftTrainer(
    {
      model,
      modelName: own.model,
      datasetNames: own.trainDataset.map((text) => weighted(text).path),
      tokenizer,
      rejects,
      ...sets,
    },
    // They have done their work: the model is loaded.
    { ...config, modelInitKwargs: undefined },
  );
};

/** Writes the report of what was recorded, where one is asked for. */
const reported = (
  { own, config }: Asked,
  { model, tokenizer }: LoadedParts,
  recorder: Recorder,
): TaskEither<FatalError, void> =>
  own.report === undefined
    ? TE.right(undefined)
    : writeReport(recorder.record(), {
        path: own.report,
        rows: mixedRows(own.trainDataset, config, { write: () => undefined }),
        tokenizer,
        maxPositions: model.config.maxPositions,
        config,
      });

/** The page that shows the run while it goes on, where one is asked for. */
const dashboardOf = (
  { own }: Asked,
  recorder: Recorder,
  { err }: Terminal,
): TaskEither<FatalError, Dashboard | undefined> =>
  own.dashboard
    ? pipe(
        serveDashboard(recorder, { port: own.dashboardPort }),
        TE.tapIO((dashboard) => () => err.write(`dashboard: ${dashboard.url}\n`)),
      )
    : TE.right(undefined);

/** The run to its end: shown, recorded, and stopped by signals. */
const watched = (run: SftRun, recorder: Recorder, terminal: Terminal): TaskEither<FatalError, RunSummary> =>
  TE.tryCatch(() => {
    const quiet = onSignals(terminal.err, () => run.stop({ checkpoint: true }));
    return watch(run, terminal)
      .catch((error: unknown) => {
        recorder.failed(error);
        throw error;
      })
      .finally(quiet);
  }, onlyFatal);

/** The same with its page, which is closed when it is over, however it ends. */
const shown = (
  run: SftRun,
  recorder: Recorder,
  dashboard: Dashboard | undefined,
  terminal: Terminal,
): TaskEither<FatalError, RunSummary> =>
  pipe(
    watched(run, recorder, terminal),
    T.tap(() => async () => dashboard?.close()),
  );

/** Trains, and writes the report. A run that failed leaves its report too; what it failed of goes before a fault of the report's. */
const trained = (call: Asked, loaded: LoadedParts, terminal: Terminal): TaskEither<FatalError, RunSummary> => {
  const run = runOf(call, loaded, terminal);
  const recorder = makeRecorder({
    title: titleOf(call.own, call.config),
    facts: [
      ['model', call.own.model],
      ...(loaded.engine === undefined ? [] : ([['engine', loaded.engine.engine]] as const)),
    ],
  });
  run.events.subscribe(recorder.add);
  const report = (): TaskEither<FatalError, void> => reported(call, loaded, recorder);
  const reportOfFailure = (): TaskEither<FatalError, unknown> =>
    pipe(
      report(),
      TE.orElseW((fault) => TE.fromIO(() => untoldReport(fault, terminal))),
    );
  return pipe(
    dashboardOf(call, recorder, terminal),
    TE.flatMap((dashboard) =>
      pipe(shown(run, recorder, dashboard, terminal), TE.tapError(reportOfFailure), TE.tap(report)),
    ),
  );
};

/** Says how the run ended. Left: it was stopped before that. */
const toldOutcome = (summary: RunSummary, { config }: Asked, { err }: Terminal): Either<FatalError, void> => {
  if (summary.ended === 'left' || summary.ended === 'stopped') {
    return E.left(interrupted(summary, config.outputDir));
  }
  err.write(toldAtEnd(summary));
  return E.right(undefined);
};

export const sftCommand: CommandLine = {
  flags: (command) => addSftFlags(command, Own.fields),
  run: (command, terminal): TaskEither<FatalError, void> =>
    pipe(
      asked(command, terminal),
      TE.bindTo('call'),
      TE.bind('loaded', ({ call }) => loadedFor(call, terminal)),
      TE.tapIO(
        ({ call, loaded }) =>
          () =>
            tellLoaded(call, loaded, terminal),
      ),
      TE.bind('summary', ({ call, loaded }) => trained(call, loaded, terminal)),
      TE.flatMapEither(({ call, summary }) => toldOutcome(summary, call, terminal)),
    ),
};
