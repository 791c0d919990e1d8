/** Everything before the first update: options decoded, model and rows made ready, plan made, an earlier run taken up. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { usage, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { configWarnings } from '../../model/config.js';
import { usePrecision } from '../engine.js';
import { layOut } from '../loading/storage.js';
import { fitsLoaded } from '../memory/fitMemory.js';
import { decodeSftConfig } from '../options/decodeConfig.js';
import { isParity } from '../options/parity.js';
import type { SftConfig, SftOptions } from '../options/config.js';
import { strictly } from '../preflight/strictly.js';
import { divide } from '../preparing/divide.js';
import type { Divided } from '../preparing/divide.js';
import { fewOfEach, maxLengthOf } from '../preparing/prepare.js';
import { evalSets, preparedSets, trainRows } from '../preparing/prepareRows.js';
import type { Plan } from '../step/plan.js';
import { beforeLoading } from './beforeLoading.js';
import { forgetFailure, leaveFailure } from './failure.js';
import { markInUse } from './inUse.js';
import type { Mark } from './inUse.js';
import { begunOf, newRun, planned, release } from './newRun.js';
import type { Ready } from './newRun.js';
import { makePusher } from './pushing.js';
import { makeRemains, weightsBrought, withoutRemains } from './remains.js';
import type { Remains } from './remains.js';
import { resume, tidyOutput } from './resume.js';
import type { Run, SftSetup } from './run.js';
import { soundSetup } from './soundSetup.js';
import { frozenRows, loaded, trained } from './trainedModel.js';
import type { Loaded } from './trainedModel.js';

/** Positions beyond these have no embedding in models that learn one a position. */
const learnedPositions = new Set(['gpt2', 'opt', 'gpt_neo']);

const fittingLength = (
  config: SftConfig,
  { model, tokenizer }: Loaded,
  warn: (warning: Warning) => void,
): Either<FatalError, number> => {
  const { maxPositions, architecture } = model.config;
  const maxLength = maxLengthOf(config, tokenizer, maxPositions);
  if (config.maxLength === undefined) {
    warn(
      warning('W_MAX_SEQ_DEFAULTED', `maxLength was not given: rows keep ${maxLength} tokens`, { field: 'maxLength' }),
    );
  }
  if (maxLength <= maxPositions) return E.right(maxLength);
  const details = {
    field: 'maxLength',
    expected: `at most ${maxPositions}, the model's positions`,
    actual: String(maxLength),
  };
  if (learnedPositions.has(architecture)) {
    return E.left(usage('E_MAX_LENGTH', 'rows would be longer than the model can read', details));
  }
  warn(warning('W_MAX_LENGTH', 'rows may be longer than what the model was made for', details));
  return E.right(maxLength);
};

type Warn = (warning: Warning) => void;

/** Stop texts are looked for in text. */
const readable = ({ evalSampleStop }: SftConfig, { tokenizer }: Loaded): Either<FatalError, void> =>
  evalSampleStop !== undefined && tokenizer === undefined
    ? E.left(
        usage('E_NO_TOKENIZER', 'stop texts are looked for in text', {
          field: 'evalSampleStop',
          hint: 'give a tokenizer, or leave it out',
        }),
      )
    : E.right(undefined);

/** Rows to train and to evaluate on, none longer than `maxLength`. */
const rowsOf = (
  setup: SftSetup,
  config: SftConfig & { readonly maxLength: number },
  data: Divided,
  { tokenizer }: Loaded,
  warn: Warn,
): TaskEither<FatalError, Pick<Ready, 'train' | 'evaluation'>> => {
  const preparing = { ...setup, tokenizer, warn };
  return pipe(
    strictly(data.trainDataset, preparing, config, (dataset) => trainRows(dataset, preparing, config)),
    TE.bindTo('train'),
    TE.bind('evaluation', () =>
      preparedSets(evalSets(data), preparing, { ...config, packing: config.evalPacking ?? config.packing }),
    ),
  );
};

/** What a run is begun with. */
export interface Beginning extends Pick<Ready, 'setup' | 'controls' | 'emit' | 'now'> {
  readonly options: SftOptions;
  /** Is given what is to be done when the run is over, however it ends. */
  readonly started: (over: () => void) => void;
}

/** Everything that a run is made of, from the call. */
const ready = (
  { setup, controls, emit, now }: Beginning,
  decoded: SftConfig,
  warn: Warn,
  remains: Remains,
): TaskEither<FatalError, Ready> =>
  pipe(
    loaded(setup, decoded),
    TE.bindTo('found'),
    TE.tapIO(
      ({ found }) =>
        () =>
          remains.weights(found.model, weightsBrought(setup, found.model)),
    ),
    TE.bind('model', ({ found }) => TE.fromEither(trained(found.model, setup, decoded, warn))),
    TE.tapIO(
      ({ found, model }) =>
        () =>
          remains.weights(model, found.model.weights),
    ),
    TE.bind('used', () => TE.fromTask(usePrecision(decoded.precision))),
    TE.let('precision', ({ used }) => used.precision),
    TE.tapIO(({ found, model, precision, used }) => () => {
      used.warnings.forEach(warn);
      layOut(model, precision);
      frozenRows(found, model, warn);
      configWarnings(model.config, decoded).forEach(warn);
    }),
    TE.tap(({ found }) => TE.fromEither(readable(decoded, found))),
    TE.bind('maxLength', ({ found }) => TE.fromEither(fittingLength(decoded, found, warn))),
    TE.bind('data', () => divide(setup, decoded)),
    TE.let('config', ({ maxLength, precision }) => ({ ...decoded, maxLength, precision })),
    TE.bind('rows', ({ config, data, found }) =>
      rowsOf(setup, { ...decoded, maxLength: config.maxLength }, data, found, warn),
    ),
    TE.map(({ found, model, used, data, config, rows }) => ({
      setup,
      config,
      model,
      tokenizer: found.tokenizer,
      trainDataset: data.trainDataset,
      engage: used.engage,
      ...rows,
      controls,
      emit,
      now,
    })),
  );

const leftOver = ({ leftOver: rest }: Plan): Warning =>
  warning('W_ROWS_LEFT_OVER', `${rest} micro-batches at the end fill no update and are not trained`, {
    field: 'epochRemainder',
    hint: "epochRemainder: 'update' makes a smaller update of them",
  });

const eagerAttention: Warning = warning('W_EAGER_ATTENTION', 'attention step by step is many times slower', {
  field: 'attnImplementation',
  hint: "leave it out, or say 'fused': the same numbers to rounding, softcapping and sinks too",
});

/** The run of what is ready: planned, found to fit into memory. */
const made = (parts: Ready, warn: Warn): Either<FatalError, Run> =>
  pipe(
    planned(parts),
    E.tap((plan) =>
      E.Functor.map(fitsLoaded(parts.model, parts.train.rows, parts.config), (tight) => {
        if (tight !== undefined) warn(tight);
        if (parts.config.attnImplementation === 'eager') warn(eagerAttention);
        if (plan.leftOver > 0 && !isParity(parts.config)) warn(leftOver(plan));
      }),
    ),
    E.map((plan) => newRun(parts, plan)),
  );

/** The run where an earlier one left it, and its logs cut there. */
const takenUp = (run: Run): TaskEither<FatalError, void> =>
  pipe(
    resume(run),
    TE.flatMap(() => {
      const { state, logs } = run;
      // The evaluation before the first update is made again by a run that begins, or goes on, before it.
      if (state.step === 0) state.history = [];
      return logs.cut(state.step === 0 ? -1 : state.step);
    }),
  );

const begun = (beginning: Beginning, config: SftConfig): TaskEither<FatalError, Run> => {
  const { setup, emit, now } = beginning;
  const warn = fewOfEach((warned: Warning): void => emit({ kind: 'warning', warning: warned }));
  const remains = makeRemains();
  return pipe(
    TE.fromIO(() => {
      if (setup.model !== undefined && setup.modelInit !== undefined)
        warn(warning('W_MODEL_AND_INIT', 'modelInit makes the model; model is not used', { field: 'model' }));
    }),
    TE.flatMap(() => ready(beginning, config, warn, remains)),
    TE.bindTo('parts'),
    TE.bind('run', ({ parts }) => TE.fromEither(made(parts, warn))),
    TE.tapIO(
      ({ run }) =>
        () =>
          remains.add(() => release(run)),
    ),
    TE.tap(({ run }) => takenUp(run)),
    TE.bind('pusher', ({ run }) => makePusher(setup, run.config)),
    TE.tapIO(
      ({ parts, run }) =>
        () =>
          emit({ kind: 'begun', begun: begunOf(run, parts) }),
    ),
    TE.map(({ run, pusher }) => ({
      ...run,
      pusher,
      startedAt: now(),
      startStep: run.state.step,
      startTokens: run.state.numTokens,
    })),
    withoutRemains(remains),
  );
};

/** The output directory without what earlier runs left there unfinished (files half written, the error of one that failed), and marked. */
const tidied = ({ outputDir }: SftConfig): TaskEither<FatalError, Mark> =>
  outputDir === undefined
    ? TE.right({ warnings: [], remove: () => undefined })
    : pipe(
        tidyOutput(outputDir),
        TE.tapTask(() => () => forgetFailure(outputDir)),
        TE.flatMapTask(() => () => markInUse(outputDir)),
      );

/**
 * Options and setup → a run about to make its next update. What fails once the call was found right is left in the output directory.
 */
export const begin = (beginning: Beginning): TaskEither<FatalError, Run> => {
  const { setup, options, emit, started } = beginning;
  return pipe(
    TE.fromEither(soundSetup(setup, options)),
    TE.flatMapEither(() => decodeSftConfig(options)),
    TE.tap((config) => beforeLoading(setup, config)),
    TE.flatMap((config) =>
      pipe(
        tidied(config),
        TE.tapIO((mark) => () => {
          started(() => mark.remove());
          for (const warned of mark.warnings) emit({ kind: 'warning', warning: warned });
        }),
        TE.flatMap(() => begun(beginning, config)),
        TE.tapError((error) => TE.fromTask(() => leaveFailure(config.outputDir, error))),
      ),
    ),
  );
};
