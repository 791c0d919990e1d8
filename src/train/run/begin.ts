/** Everything before the first update: options decoded, model and rows made ready, plan made, an earlier run taken up. */
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { attachLora } from '../../model/adapters/adapter.js';
import { LoraConfig } from '../../model/adapters/lora.js';
import { architectureOf } from '../../model/architectures.js';
import { balancing } from '../../model/causalLm.js';
import type { CausalLM } from '../../model/causalLm.js';
import type { Labelled } from '../../records.js';
import { currentEngine, usePrecision } from '../engine.js';
import { loadOptionsOf, loadParts } from '../loading/load.js';
import { setupChatFormat } from '../loading/setupChatFormat.js';
import { layOut } from '../loading/storage.js';
import { withChatTemplate } from '../loading/withChatTemplate.js';
import { allLogs, runLogs } from '../logging/log.js';
import type { RunLogs } from '../logging/log.js';
import { tensorBoardLog } from '../logging/tensorboard.js';
import { fitsLoaded, fitsUnloaded } from '../memory/fitMemory.js';
import { optimizerOf } from '../optimizers/optimizerOf.js';
import { scheduleOf } from '../optimizers/schedule.js';
import type { Schedule } from '../optimizers/schedule.js';
import { decodeSftConfig, isParity, loraOf } from '../options/config.js';
import type { SftConfig, SftOptions } from '../options/config.js';
import { strictly } from '../preflight/strictly.js';
import { divide } from '../preparing/divide.js';
import { fewOfEach, maxLengthOf } from '../preparing/prepare.js';
import { evalSets, fieldOfSet, preparedSets, trainRows } from '../preparing/prepareRows.js';
import { makeRefusals } from '../preparing/refusals.js';
import { orderRows } from '../step/microBatches.js';
import { epochAfter, planSteps } from '../step/plan.js';
import type { Plan } from '../step/plan.js';
import { initState } from '../step/state.js';
import type { TrainState } from '../step/state.js';
import { beforeLoading } from './beforeLoading.js';
import type { Controls } from './controls.js';
import { forgetFailure, leaveFailure } from './failure.js';
import { fingerprintOf } from './fingerprint.js';
import { markInUse } from './inUse.js';
import type { Mark } from './inUse.js';
import { resume, tidyOutput } from './resume.js';
import type { Run, RunEvent, SftSetup } from './run.js';
import { withoutWeights } from './withoutWeights.js';

const usage = (code: `E_${string}`, message: string, field: string, hint: string): FatalError =>
  fatal(code, message, { field, hint, kind: 'usage' });

interface Loaded {
  readonly model: CausalLM;
  readonly tokenizer: Tokenizer | undefined;
  /** Tokens that the chat format brought. */
  readonly newTokenIds?: ReadonlyArray<number>;
}

/** The model and tokenizer of the setup, loaded where it names a directory. */
const found = (
  { model, modelInit, tokenizer, peftConfig }: SftSetup,
  config: SftConfig,
): TaskEither<FatalError, Loaded> => {
  if (modelInit !== undefined) {
    return TE.tryCatch(
      async () => ({ model: await modelInit(config.seed), tokenizer }),
      (cause) =>
        fatal('E_MODEL_INIT', `modelInit failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause }),
    );
  }
  if (model === undefined) {
    return TE.left(usage('E_NO_MODEL', 'there is no model to train', 'model', 'give model, or modelInit'));
  }
  if (typeof model === 'string') {
    return pipe(
      loadParts(model, {
        ...loadOptionsOf(config),
        accept: (found) => fitsUnloaded(found, config, { adapted: peftConfig !== undefined }),
      }),
      TE.map((found) => ({ model: found.model, tokenizer: tokenizer ?? found.tokenizer })),
    );
  }
  if (config.modelInitKwargs !== undefined) {
    return TE.left(
      usage(
        'E_MODEL_KWARGS_WITH_INSTANCE',
        'modelInitKwargs are for a model that is yet to be loaded',
        'modelInitKwargs',
        'give the directory of the model, or load it with these options: load(dir, { … })',
      ),
    );
  }
  if (config.engine !== undefined && currentEngine() !== config.engine) {
    return TE.left(
      usage(
        'E_ENGINE_CHOSEN',
        `the model was made on the ${currentEngine() ?? 'unknown'} engine`,
        'engine',
        `choose ${config.engine} before loading: load(dir, { engine })`,
      ),
    );
  }
  if ((config.loadIn4bit || config.loadIn8bit) && model.quantized === undefined) {
    return TE.left(
      usage(
        'E_OPTIONS',
        'the model was loaded unquantised',
        config.loadIn4bit ? 'loadIn4bit' : 'loadIn8bit',
        'quantise where it is loaded: load(dir, { loadIn4bit: true }), or quantizeModel',
      ),
    );
  }
  return TE.right({
    model: config.attnImplementation === 'eager' ? { ...model, eagerAttention: true } : model,
    tokenizer,
  });
};

/** Model and tokenizer with the chat format or template that the options ask for. */
const conversing = (
  parts: Loaded,
  { chatFormat, resizeToMultipleOf, newTokenInit, seed, chatTemplate, ...config }: SftConfig,
): TaskEither<FatalError, Loaded> => {
  const { model, tokenizer } = parts;
  if (chatFormat !== undefined) {
    return tokenizer === undefined
      ? TE.left(usage('E_NO_TOKENIZER', 'a chat format is set up in a tokenizer', 'chatFormat', 'give a tokenizer'))
      : TE.fromEither(
          setupChatFormat(
            { model, tokenizer },
            { format: chatFormat, resizeToMultipleOf, newTokenInit, seed, parity: isParity(config) },
          ),
        );
  }
  return chatTemplate === undefined || tokenizer === undefined
    ? TE.right(parts)
    : pipe(
        withChatTemplate(tokenizer, chatTemplate),
        TE.map((templated) => ({ ...parts, tokenizer: templated })),
      );
};

const loaded = (setup: SftSetup, config: SftConfig): TaskEither<FatalError, Loaded> =>
  pipe(
    found(setup, config),
    TE.flatMap((parts) => conversing(parts, config)),
  );

/** Tokens whose rows nothing trains: an adapter leaves the embedding as it is. */
const frozenRows = (
  { newTokenIds = [] }: Loaded,
  { config, trainable, lora }: CausalLM,
  warn: (warning: Warning) => void,
): void => {
  if (lora === undefined || newTokenIds.length === 0) return;
  const { embedding } = architectureOf(config);
  if (trainable.some((name) => name.startsWith(`${embedding}.`))) return;
  const table = embedding.slice(embedding.lastIndexOf('.') + 1);
  const rows = config.tieWordEmbeddings ? newTokenIds : { [table]: newTokenIds, lm_head: newTokenIds };
  warn(
    warning('W_NEW_ROWS_FROZEN', `the rows of ${newTokenIds.length} new tokens stay as they were drawn`, {
      field: 'trainableTokenIndices',
      hint: `train them alone, with trainableTokenIndices ${JSON.stringify(rows)}, or their whole tables, with modulesToSave ${table},lm_head`,
    }),
  );
};

/** The model with the adapter that setup or options ask for; one that has an adapter keeps it. */
const adapted = (
  model: CausalLM,
  { peftConfig }: SftSetup,
  config: SftConfig,
  warn: (warning: Warning) => void,
): Either<FatalError, CausalLM> => {
  if (peftConfig === undefined && !config.usePeft) return E.right(model);
  if (model.lora !== undefined) {
    warn(
      warning(
        'W_PEFT_CONFIG_IGNORED',
        'the model has an adapter already, which is trained on; peftConfig is not used',
        {
          field: 'peftConfig',
          hint: 'load the model without its adapter to begin a new one',
        },
      ),
    );
    return E.right(model);
  }
  const lora = peftConfig === undefined ? E.right(loraOf(config)) : LoraConfig.decode(peftConfig);
  return pipe(
    lora,
    E.flatMap((found) => (found === undefined ? E.right(model) : attachLora(model, found, config.seed))),
  );
};

/** Quantised weights do not train: a model that has some needs an adapter. `E_QUANTIZED_TRAINING`. */
const trainableAsAsked = (model: CausalLM): Either<FatalError, CausalLM> => {
  const { quantized, lora, trainable } = model;
  if (quantized === undefined) return E.right(model);
  const frozen = trainable.find((name) => name in quantized.scales);
  if (lora !== undefined && frozen === undefined) return E.right(model);
  return E.left(
    fatal('E_QUANTIZED_TRAINING', 'the weights of a quantised model cannot train', {
      kind: 'usage',
      ...(frozen === undefined ? {} : { actual: frozen }),
      hint: 'train an adapter (usePeft), or load the model without loadIn4bit and loadIn8bit (of GPTQ: the one it was made from)',
    }),
  );
};

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
    return E.left(fatal('E_MAX_LENGTH', 'rows would be longer than the model can read', { ...details, kind: 'usage' }));
  }
  warn(warning('W_MAX_LENGTH', 'rows may be longer than what the model was made for', details));
  return E.right(maxLength);
};

/** The logs that the options ask for. */
const logsOf = ({ outputDir, reportTo, loggingDir }: SftConfig): RunLogs => {
  const dir = loggingDir ?? (outputDir === undefined ? undefined : join(outputDir, 'runs'));
  const wanted = dir !== undefined && reportTo.some((name) => name === 'tensorboard' || name === 'all');
  return allLogs([runLogs(outputDir), ...(wanted ? [tensorBoardLog({ dir })] : [])]);
};

const sizeOf = ({ shape }: { readonly shape: ReadonlyArray<number> }): number => shape.reduce((a, b) => a * b, 1);

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
 * `started` is given what is to be done when the run is over, however it ends.
 */
export const begin = (
  setup: SftSetup,
  options: SftOptions,
  controls: Controls,
  emit: (event: RunEvent) => void,
  started: (over: () => void) => void = () => undefined,
): TaskEither<FatalError, Run> =>
  pipe(
    TE.fromEither(decodeSftConfig(options)),
    TE.tap((config) => beforeLoading(setup, config)),
    TE.flatMap((config) =>
      pipe(
        tidied(config),
        TE.tapIO((mark) => () => {
          started(() => mark.remove());
          for (const warned of mark.warnings) emit({ kind: 'warning', warning: warned });
        }),
        TE.flatMap(() => ready(setup, config, controls, emit)),
        TE.tapError((error) => TE.fromTask(() => leaveFailure(config.outputDir, error))),
      ),
    ),
  );

const ready = (
  setup: SftSetup,
  decoded: SftConfig,
  controls: Controls,
  emit: (event: RunEvent) => void,
): TaskEither<FatalError, Run> => {
  const warnAll = (warned: Warning): void => emit({ kind: 'warning', warning: warned });
  const warn = fewOfEach(warnAll);
  if (setup.model !== undefined && setup.modelInit !== undefined) {
    warn(warning('W_MODEL_AND_INIT', 'modelInit makes the model; model is not used', { field: 'model' }));
  }
  return pipe(
    TE.right({ config: decoded }),
    TE.bind('found', ({ config }) => loaded(setup, config)),
    TE.bind('model', ({ config, found }) =>
      TE.fromEither(
        pipe(
          adapted(found.model, setup, config, warn),
          E.flatMap(trainableAsAsked),
          // TRL 0.7.10 has no option for it: config.json's counts.
          E.map((model) => (isParity(config) ? model : balancing(model, config.routerAuxLossCoef))),
        ),
      ),
    ),
    TE.bind('precision', ({ config }) =>
      TE.fromTask(async () => {
        const { precision, warnings } = await usePrecision(config.precision)();
        warnings.forEach(warn);
        return precision;
      }),
    ),
    TE.tapIO(
      ({ model, precision }) =>
        () =>
          layOut(model, precision),
    ),
    TE.tapIO(
      ({ found, model }) =>
        () =>
          frozenRows(found, model, warn),
    ),
    TE.tap(({ config, found }) =>
      config.evalSampleStop !== undefined && found.tokenizer === undefined
        ? TE.left(
            usage(
              'E_NO_TOKENIZER',
              'stop texts are looked for in text',
              'evalSampleStop',
              'give a tokenizer, or leave it out',
            ),
          )
        : TE.right(undefined),
    ),
    TE.bind('maxLength', ({ config, found }) => TE.fromEither(fittingLength(config, found, warn))),
    TE.bind('data', ({ config }) => divide(setup, config)),
    TE.bind('sets', ({ config, found, maxLength, data }) => {
      const preparing = { ...setup, tokenizer: found.tokenizer, warn };
      const fitted = { ...config, maxLength };
      return pipe(
        strictly(data.trainDataset, preparing, fitted, (dataset) => trainRows(dataset, preparing, fitted)),
        TE.bindTo('train'),
        TE.bind('evaluation', () =>
          preparedSets(evalSets(data), preparing, { ...fitted, packing: config.evalPacking ?? config.packing }),
        ),
      );
    }),
    TE.flatMap(({ config: given, found, model, precision, maxLength, data, sets }) => {
      const config = { ...given, maxLength, precision };
      const { rows } = sets.train;
      const possible = E.tryCatch(
        () => planSteps(rows?.length ?? Infinity, config),
        (cause) =>
          usage(
            'E_NO_BATCH',
            cause instanceof Error ? cause.message : String(cause),
            'perDeviceTrainBatchSize',
            'make batches smaller, or leave out dataloaderDropLast',
          ),
      );
      if (E.isLeft(possible)) return TE.left(possible.left);
      const plan = possible.right;
      const fits = fitsLoaded(model, rows, config);
      if (E.isLeft(fits)) return TE.left(fits.left);
      if (fits.right !== undefined) warn(fits.right);
      if (plan.leftOver > 0 && !isParity(config)) {
        warn(
          warning('W_ROWS_LEFT_OVER', `${plan.leftOver} micro-batches at the end fill no update and are not trained`, {
            field: 'epochRemainder',
            hint: "epochRemainder: 'update' makes a smaller update of them",
          }),
        );
      }
      const planned = scheduleOf(config, plan);
      // A rate set by hand goes before the schedule, whoever made the optimizer; before there is a state there is none.
      const made: { state?: TrainState } = {};
      const schedule: Schedule = (step) => made.state?.learningRate ?? planned(step);
      const state = initState({
        model,
        optimizer: setup.optimizer?.(plan, schedule) ?? optimizerOf(config, schedule),
        seed: config.seed,
        mean: config.lossMean ?? (isParity(config) ? 'microBatch' : 'token'),
        // An update of what is left of an epoch is the mean of the micro-batches it has (transformers 5); before, of as many as others have.
        gradientAccumulationSteps: config.epochRemainder === 'update' ? undefined : config.gradientAccumulationSteps,
        lossType: config.lossType,
        labelSmoothingFactor: config.labelSmoothingFactor,
        neftuneNoiseAlpha: config.neftuneNoiseAlpha,
        gradientCheckpointing: config.gradientCheckpointing,
        disableDropout: config.disableDropout,
        nonFinite: config.nonFinite,
        epochAfter: (microBatches) => epochAfter(plan, microBatches),
        nameRow: rowNames(rows, plan, config),
      });
      made.state = state;
      const refusals = makeRefusals();
      if (sets.train.refused !== undefined) {
        refusals.passed('trainDataset', { ...sets.train.refused, read: sets.train.summary.rowsRead });
      }
      for (const [name, { refused, summary }] of Object.entries(sets.evaluation)) {
        refusals.passed(fieldOfSet(name), { ...refused, read: summary.rowsRead });
      }
      const run: Run = {
        config,
        setup,
        refusals,
        trainDataset: data.trainDataset,
        plan,
        state,
        tokenizer: found.tokenizer,
        trainSummary: sets.train.summary,
        rows,
        evalRows: sets.evaluation,
        fingerprint: fingerprintOf(config, rows, model),
        controls,
        emit,
        logs: logsOf(config),
        startedAt: performance.now(),
        startStep: 0,
        startTokens: 0,
      };
      return pipe(
        resume(run),
        TE.tap(() => {
          // The evaluation before the first update is made again by a run that begins, or goes on, before it.
          if (state.step === 0) state.history = [];
          return run.logs.cut(state.step === 0 ? -1 : state.step);
        }),
        TE.map(() => {
          const weights = Object.entries(state.model.weights);
          const trainable = new Set(state.model.trainable);
          emit({
            kind: 'begun',
            begun: withoutWeights({
              config,
              plan,
              model: state.model,
              trainSummary: sets.train.summary,
              evalSummaries: Object.fromEntries(
                Object.entries(sets.evaluation).map(([name, { summary }]) => [name, summary]),
              ),
              fromCache: sets.train.fromCache,
              resumedAt: state.step,
              trainableParameters: weights.reduce((sum, [name, w]) => sum + (trainable.has(name) ? sizeOf(w) : 0), 0),
              totalParameters: weights.reduce((sum, [, w]) => sum + sizeOf(w), 0),
            }),
          });
          return { ...run, startedAt: performance.now(), startStep: state.step, startTokens: state.numTokens };
        }),
      );
    }),
  );
};
