/** `sftTrainer`: a run as a composition, told as a stream. */
import * as E from 'fp-ts/lib/Either.js';
import { flow, pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import {
  catchError,
  concat,
  concatMap,
  defer,
  filter,
  finalize,
  from,
  ignoreElements,
  map,
  Observable,
  share,
  Subject,
  take,
  takeWhile,
  throwError,
} from 'rxjs';
import { fatal, isFatal, onlyFatal, usage } from '../errors.js';
import type { FatalError, Warning } from '../errors.js';
import type { Batch, Labelled, StepResult } from '../records.js';
import { drain } from '../streams/drain.js';
import type { Work } from '../streams/drain.js';
import { fromEither } from '../streams/fromEither.js';
import { makeGate } from '../streams/gate.js';
import type { Gate } from '../streams/gate.js';
import { makeRejects } from '../streams/rejects.js';
import type { LogRow } from './logging/metrics.js';
import type { SftOptions } from './options/config.js';
import { prepareDataset } from './preparing/prepareDataset.js';
import { countRefused } from './preparing/refusals.js';
import { begin } from './run/begin.js';
import { release } from './run/newRun.js';
import { makeControls } from './run/controls.js';
import type { RunInputs, TrainerControl } from './run/controls.js';
import { epochsOf } from './run/epochs.js';
import type { Epochs } from './run/epochs.js';
import { leaveFailure } from './run/failure.js';
import { finish } from './run/finish.js';
import type { HubPush } from './run/pusher.js';
import { evaluateEvery, evaluateNow, logEvery, saveAsked, saveEvery, tellPushes } from './run/hooks.js';
import type { Begun, CheckpointWritten, Evaluation, Run, RunCallback, RunEvent, RunSummary } from './run/run.js';
import type { Samples, SftSetup } from './run/run.js';
import { groupUpdates, microBatches, streamedMicroBatches } from './step/microBatches.js';
import { trainStep } from './step/step.js';

/** The steps of a run as a stream, with its other streams and its inputs beside. */
export interface SftRun extends Observable<StepResult>, RunInputs {
  /** Everything in order; the streams below are parts of it. None of them starts the run: subscribing to the run does. */
  readonly events: Observable<RunEvent>;
  /** Once, when everything is ready: options, plan, model, what became of the rows. */
  readonly begun: Observable<Begun>;
  /** A row every `loggingSteps` updates: means over those updates. */
  readonly logs: Observable<LogRow>;
  /** Each evaluation of each set, when `evalStrategy` or `evaluateNow` asks for one. */
  readonly evaluations: Observable<Evaluation>;
  /** What the model says to held-out prompts, with every evaluation when `evalSamples` asks for some. */
  readonly samples: Observable<Samples>;
  /** Each when it is whole on disk. */
  readonly checkpoints: Observable<CheckpointWritten>;
  /** Each commit that `pushToHub` made, told between two updates. */
  readonly pushes: Observable<HubPush>;
  /** What the run goes on after and somebody should know; `render` tells it in words. */
  readonly warnings: Observable<Warning>;
  /** Once, at the end of a run that did not fail. */
  readonly finished: Observable<RunSummary>;
}

/** Rows prepared anew for every pass, for datasets that are not held in memory. */
const passOver = ({ setup, trainDataset, tokenizer, config, refusals }: Run, gate: Gate): Observable<Labelled> =>
  defer(() => {
    const rejects = setup.rejects ?? makeRejects({ maxRate: config.maxRejectRate });
    const counting = countRefused(rejects);
    return prepareDataset(
      trainDataset,
      { tokenizer, formattingFunc: setup.formattingFunc, rejects },
      { ...config, maxLength: config.maxLength ?? 1024 },
      { gate },
    ).pipe(
      finalize(() => {
        counting.stop();
        refusals.passed('trainDataset', counting.refused());
      }),
    );
  });

/** The micro-batches from where the state stands. */
const data = (run: Run, gate: Gate): Observable<Batch> => {
  const { rows, plan, config, state } = run;
  return rows === undefined
    ? streamedMicroBatches(() => passOver(run, gate), config, { from: state.microBatches })
    : microBatches(rows, plan, config, { from: state.microBatches, gate });
};

/**
 * Before an update: waits while the run is held, and does what was asked for since the last one. False when the run is to end
 * here.
 */
const goesOn = (run: Run): TaskEither<FatalError, boolean> => {
  const { controls, rateByHand } = run;
  return pipe(
    TE.fromTask(controls.ready),
    TE.tapIO(() => () => tellPushes(run)),
    TE.tapIO(() => () => {
      const rate = controls.takeLearningRate();
      if (rate !== undefined) rateByHand.learningRate = rate.learningRate;
    }),
    TE.flatMap(() => saveAsked(run)),
    TE.map(() => !controls.isStopping()),
  );
};

/** The serial lane: one update, then what wants the weights at rest. Undefined when the run ends instead. */
const lane = (run: Run, epochs: Epochs): Work<ReadonlyArray<Batch>, StepResult | 'passed over' | undefined> => {
  const { state, plan } = run;
  const update = flow(
    trainStep(state),
    TE.tap(logEvery(run)),
    TE.tap(evaluateEvery(run)),
    TE.tap(epochs.after),
    TE.tap(saveEvery(run)),
  );
  // The micro-batch that the next group begins with. It lies behind the state's where an epoch was ended before its last update.
  let at = state.microBatches;
  const ended = TE.right(undefined);
  return (batches, _index, following) => {
    const left = batches.slice(Math.max(0, state.microBatches - at));
    at += batches.length;
    if (left.length === 0) return TE.right('passed over');
    return pipe(
      goesOn(run),
      TE.tapIO((on) => () => {
        if (on) epochs.enter();
      }),
      TE.flatMap((on) =>
        on ? update(left, () => (state.step + 1 < plan.totalSteps ? following() : undefined)) : ended,
      ),
    );
  };
};

const train = (run: Run, epochs: Epochs): Observable<StepResult> => {
  const { config, plan, state } = run;
  const gate = makeGate({ prefetch: config.prefetch });
  return data(run, gate).pipe(
    groupUpdates(plan, state.microBatches),
    drain(lane(run, epochs), gate),
    takeWhile((result) => result !== undefined),
    filter((result) => result !== 'passed over'),
    take(plan.totalSteps - state.step),
  );
};

/** What a callback gives back. Throws `E_CALLBACK` where it throws. */
const called = (callback: RunCallback, event: RunEvent, inputs: RunInputs): Partial<TrainerControl> => {
  try {
    return callback(event, inputs) ?? {};
  } catch (cause) {
    if (isFatal(cause)) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw fatal('E_CALLBACK', `a callback failed at the event "${event.kind}": ${message}`, { cause });
  }
};

/** A task as a stream of nothing, done in its turn. */
const then = (task: () => TaskEither<FatalError, unknown>): Observable<never> =>
  defer(() => task()()).pipe(concatMap(fromEither), ignoreElements());

const evaluateFirst = (run: Run): TaskEither<FatalError, unknown> =>
  run.config.evalOnStart && run.state.step === 0 ? evaluateNow(run) : TE.right(undefined);

/**
 * Fine-tunes a model as the options say. The run is a stream of steps; subscribing starts it, once: later subscribers join it.
 *
 *     sftTrainer({ model, tokenizer, trainDataset: jsonl('chats.jsonl') }, { maxLength: 1024, outputDir: './out' })
 *       .subscribe({ next: ({ step, loss }) => console.log(step, loss), error: (fatal) => console.error(render(fatal)) });
 *
 * Unsubscribing ends it where it is and writes nothing, and so do `take` and `takeWhile`; `stop` ends it in order and writes the model.
 */
export const sftTrainer = (setup: SftSetup, options: SftOptions = {}): SftRun => {
  const controls = makeControls();
  const events = new Subject<RunEvent>();
  // Who hears of it may leave the run, and is told nothing then.
  const emit = (event: RunEvent): void => {
    controls.stay();
    for (const callback of setup.callbacks ?? []) {
      controls.follow(called(callback, event, controls.inputs));
      controls.stay();
    }
    events.next(event);
    controls.stay();
  };
  let begunOnce = false;
  const steps = defer((): Observable<StepResult> => {
    if (begunOnce) throw usage('E_RUN_TWICE', 'a run is made once; call sftTrainer again for another');
    begunOnce = true;
    let over = (): void => undefined;
    // A run may be left while it begins, which goes on to where it next has something to tell.
    let left = false;
    const started = (end: () => void): void => {
      over = end;
      if (left) end();
    };
    const beginning = begin({ setup, options, controls, emit, started, now: () => performance.now() })();
    let isTaken = false;
    return from(beginning).pipe(
      concatMap(fromEither),
      concatMap((run) => {
        isTaken = true;
        const epochs = epochsOf(run);
        return concat(
          then(() => evaluateFirst(run)),
          train(run, epochs),
          then(epochs.close),
          then(() => finish(run)),
          defer(run.logs.close).pipe(ignoreElements()),
        ).pipe(
          catchError((error: unknown) =>
            defer(() => leaveFailure(run.config.outputDir, error, run.state.step)).pipe(
              // Who hears of the error finds every file closed.
              concatMap(() => run.logs.close()),
              concatMap(() => throwError(() => error)),
            ),
          ),
          finalize(() => release(run)),
        );
      }),
      finalize(() => {
        left = true;
        controls.leave();
        over();
        events.complete();
        // Left at the very moment in which it had begun.
        if (!isTaken) void beginning.then(E.map(release), () => undefined);
      }),
    );
  }).pipe(share());
  const only = <K extends RunEvent['kind'], A>(
    kind: K,
    value: (event: Extract<RunEvent, { kind: K }>) => A,
  ): Observable<A> =>
    events.pipe(
      filter((event): event is Extract<RunEvent, { kind: K }> => event.kind === kind),
      map(value),
    );
  return Object.assign(new Observable<StepResult>((out) => steps.subscribe(out)), controls.inputs, {
    events: events.asObservable(),
    begun: only('begun', ({ begun }) => begun),
    logs: only('log', ({ log }) => log),
    evaluations: only('evaluation', ({ evaluation }) => evaluation),
    samples: only('samples', ({ samples }) => samples),
    checkpoints: only('checkpoint', ({ checkpoint }) => checkpoint),
    pushes: only('pushed', ({ pushed }) => pushed),
    warnings: only('warning', ({ warning }) => warning),
    finished: only('finished', ({ summary }) => summary),
  });
};

/** Starts a run and waits for its end: the summary, or what it failed with. For scripts that want no stream. */
export const completed = (run: SftRun): TaskEither<FatalError, RunSummary> =>
  TE.tryCatch(
    () =>
      new Promise<RunSummary>((resolve, reject) => {
        run.finished.subscribe(resolve);
        run.subscribe({ error: reject });
      }),
    onlyFatal,
  );
