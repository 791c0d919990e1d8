/** A model directory → a model on an engine, and its tokenizer. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { checked } from '../../checked.js';
import type { OptionNames } from '../../checked.js';
import { fatal, usage, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { adapterConfigFile } from '../../formats/checkpoints/adapterConfig.js';
import { readAdapter } from '../../formats/checkpoints/adapterFiles.js';
import { readGenerationConfig } from '../../formats/checkpoints/generationConfig.js';
import { locateModel } from '../../formats/hub/locate.js';
import type { Located } from '../../formats/hub/locate.js';
import type { HubSettings } from '../../formats/hub/settings.js';
import { configJson } from '../../formats/json/configJson.js';
import { readJson } from '../../formats/json/json.js';
import type { JsonReader } from '../../formats/json/json.js';
import { readCheckpointTensors } from '../../formats/tensors/shards.js';
import { loadTokenizer } from '../../formats/tokenizing/loadTokenizer.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { attachSavedLora } from '../../model/adapters/savedAdapter.js';
import { addSavedAdapter } from '../../model/adapters/adapters.js';
import { LoraConfig } from '../../model/adapters/lora.js';
import { withRopeScaling } from '../../model/attention/ropeConfig.js';
import { makeCausalLm, quantizedLm } from '../../model/model.js';
import { modelConfig } from '../../model/architectures.js';
import type { CausalLM, ModelWithWarnings } from '../../model/model.js';
import type { ModelConfig, RawConfig } from '../../model/config.js';
import { inText } from '../../model/imageText.js';
import { decodeQuantization, QuantizationConfig, quantizationOf } from '../../model/quantize/config.js';
import type { QuantizationOptions } from '../../model/quantize/config.js';
import { float8Block, withoutFloat8 } from '../../model/stored/float8.js';
import { chooseEngine, currentEngine } from '../engine.js';
import type { EngineOptions, EngineReport } from '../engine.js';
import { textPartOf } from '../saving/wholeCheckpoint.js';
import { withOwnHead } from './headNames.js';
import { planWeights, uploaded } from './loadWeights.js';
import { spreadOverExperts } from './parameterAdapter.js';
import { counted } from '../../formats/counted.js';
import { hubSettingNames } from '../../formats/hub/settings.js';

/**
 * How a model is loaded: with which adapter, on which engine, in how many bits (the options of BitsAndBytesConfig, camelCased:
 * `loadIn4bit`, `bnb4bitQuantType`, …).
 */
export interface LoadOptions extends EngineOptions, QuantizationOptions {
  /** A PEFT adapter to put on the model; it is what trains then. */
  readonly adapterDir?: string | undefined;
  /** Whether that adapter trains. Default true. */
  readonly isTrainable?: boolean | undefined;
  /** In place of what the environment says about the Hub. */
  readonly hub?: Partial<HubSettings> | undefined;
  /** Attention as one kernel (default), or step by step. */
  readonly attnImplementation?: 'fused' | 'eager' | undefined;
  /** In place of config.json's `rope_scaling`. */
  readonly ropeScaling?: Readonly<Record<string, unknown>> | undefined;
  /** Asked before the weights are loaded; a Left ends it there. */
  readonly accept?: ((config: ModelConfig) => E.Either<FatalError, unknown>) | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const loadOptionNames: OptionNames<LoadOptions> = {
  adapterDir: 'optional',
  isTrainable: 'optional',
  hub: hubSettingNames,
  attnImplementation: 'optional',
  ropeScaling: 'optional',
  accept: 'optional',
  engine: 'optional',
  threads: 'optional',
  device: 'optional',
  precision: 'optional',
  loadIn8bit: 'optional',
  loadIn4bit: 'optional',
  llmInt8Threshold: 'optional',
  llmInt8SkipModules: 'optional',
  bnb4bitQuantType: 'optional',
  bnb4bitUseDoubleQuant: 'optional',
  bnb4bitComputeDtype: 'optional',
};

/** A model and the tokenizer that belongs to it, as `load` gives them. */
export interface ModelWithTokenizer {
  readonly model: CausalLM;
  readonly tokenizer: Tokenizer;
}

/** A model, where it was found, and what was to be told of it. */
export interface LoadedModel {
  readonly model: CausalLM;
  readonly warnings: ReadonlyArray<Warning>;
  /** Absent when an engine was running already and none was asked for. */
  readonly engine?: EngineReport;
  /** Where the model was found: a directory here, or a commit on the Hub. */
  readonly located: Located;
}

/** A model and its tokenizer. */
export interface Loaded extends LoadedModel {
  readonly tokenizer: Tokenizer;
}

/** A model, and its tokenizer where there is one beside it. */
export type LoadedParts = LoadedModel & Partial<Pick<Loaded, 'tokenizer'>>;

/** What of the options is of quantisation. */
const quantizationGiven = (options: QuantizationOptions): QuantizationOptions => {
  const given: Readonly<Record<string, unknown>> = { ...options };
  return Object.fromEntries(
    Object.keys(QuantizationConfig.fields).flatMap((name) =>
      given[name] === undefined ? [] : [[name, given[name]] as const],
    ),
  );
};

/** What of a run's options loading needs. */
export const loadOptionsOf = (options: LoadOptions): LoadOptions => ({
  engine: options.engine,
  threads: options.threads,
  device: options.device,
  precision: options.precision,
  attnImplementation: options.attnImplementation,
  ropeScaling: options.ropeScaling,
  ...quantizationGiven(options),
});

/** Starts an engine unless one runs and nothing else is asked for. */
const onEngine = ({
  engine,
  threads,
  precision,
  device,
}: EngineOptions): TaskEither<FatalError, EngineReport | undefined> => {
  const asked = engine ?? threads ?? precision ?? device;
  return asked === undefined && currentEngine() !== undefined
    ? TE.right(undefined)
    : chooseEngine({ engine, threads, precision, device });
};

const unexpectedTensors = (dir: string, names: ReadonlyArray<string>): ReadonlyArray<Warning> =>
  names.length === 0
    ? []
    : [
        warning(
          'W_UNEXPECTED_TENSORS',
          `${counted(names.length, 'tensor')} of the checkpoint ${names.length === 1 ? 'belongs' : 'belong'} to no part of the model`,
          {
            file: dir,
            actual: names.slice(0, 8).join(', '),
          },
        ),
      ];

const quantizedAlready = (dir: string): Warning =>
  warning('W_QUANTIZED_ALREADY', 'the checkpoint is quantised already; quantisation options are not used', {
    file: dir,
  });

const quantizationWanted = (options: LoadOptions): E.Either<FatalError, QuantizationConfig | undefined> =>
  E.chain(quantizationOf)(QuantizationConfig.decode(quantizationGiven(options)));

/** How an adapter is put on. */
export interface LoadAdapterOptions {
  /** Default true. Not for an adapter with a name, which trains when `setActiveAdapters` says so. */
  readonly isTrainable?: boolean | undefined;
  /** In place of what the environment says about the Hub. */
  readonly hub?: LoadOptions['hub'] | undefined;
  /** Put it on beside others, under this name: see `addAdapter`. */
  readonly name?: string | undefined;
}

const isMisfit = ({ code }: FatalError): boolean => code === 'E_LORA_TARGET' || code === 'E_LORA_WEIGHTS';

/**
 * What does not fit of an adapter that was saved, with the directory it is in. Its modules are named by its adapter_config.json, not by
 * the call, so that what is wrong is no option.
 */
const misfitIn =
  (dir: string) =>
  ({ code, message, cause, details }: FatalError): FatalError => {
    const { field: _, hint, ...told } = details;
    const why = code === 'E_LORA_TARGET' ? message.replace('targetModules', 'target_modules') : message;
    return fatal(code, why, {
      ...told,
      file: dir,
      ...(cause === undefined ? {} : { cause }),
      hint: `${hint === undefined ? '' : `${hint}; `}was it trained on this model? adapter_config.json names its base model`,
    });
  };

/** The model with the PEFT adapter of a directory (or a repository on the Hub), which alone trains (or nothing does, unless `isTrainable`). */
export const loadAdapter = checked(
  'loadAdapter',
  TE.left,
  { 2: { isTrainable: 'optional', hub: hubSettingNames, name: 'optional' } },
  (
    model: CausalLM,
    dir: string,
    { isTrainable = true, hub, name }: LoadAdapterOptions = {},
  ): TaskEither<FatalError, ModelWithWarnings> =>
    pipe(
      locateModel(dir, { part: 'adapter', hub }),
      TE.bindTo('located'),
      TE.bind('files', ({ located }) => readAdapter(located.dir)),
      TE.let('named', ({ files: { config, tensors } }) => withOwnHead(model.config, config.lora, tensors)),
      TE.bind('spread', ({ named }) => TE.fromEither(spreadOverExperts(model.config, named.lora, named.tensors))),
      TE.bind('lora', ({ spread }) => TE.fromEither(LoraConfig.decode(spread.lora))),
      TE.bind('saved', ({ spread }) => uploaded(Array.from(spread.tensors, ([name, from]) => ({ name, from })))),
      TE.bind('adapted', ({ lora, saved, located }) =>
        pipe(
          name === undefined
            ? attachSavedLora(model, lora, saved, { isTrainable })
            : addSavedAdapter(model, name, lora, saved),
          E.mapLeft((error) => (isMisfit(error) ? misfitIn(located.dir)(error) : error)),
          TE.fromEither,
        ),
      ),
      TE.map(({ adapted, files }) => ({ model: adapted, warnings: files.warnings })),
    ),
);

/** A config.json with another rotary scaling than its own. `E_OPTIONS` for a model whose positions do not turn. */
const stretched = (raw: unknown, scaling: LoadOptions['ropeScaling']): E.Either<FatalError, ModelConfig> => {
  if (scaling === undefined || typeof raw !== 'object' || raw === null) return modelConfig(raw);
  return pipe(
    modelConfig(inText(raw as RawConfig, (text) => withRopeScaling(text, scaling))),
    E.filterOrElse(
      (config) => 'rope' in config,
      ({ modelType }) =>
        usage('E_OPTIONS', `models of type "${modelType}" have no rotary positions`, {
          field: 'ropeScaling',
          hint: 'leave it out',
        }),
    ),
  );
};

/** What a directory that holds no model is instead. */
const noModel = async (dir: string, error: FatalError): Promise<FatalError> => {
  const { details, kind } = error;
  const told = (message: string, hint: string): FatalError =>
    fatal(error.code, message, { ...details, file: dir, hint, kind, cause: error.cause });
  if (!existsSync(dir))
    return told(`${dir} does not exist`, 'a model is a directory, or a name on the Hub: owner/name');
  const adapter = await readJson(join(dir, adapterConfigFile))();
  if (E.isLeft(adapter)) return error;
  const config = adapter.right as { readonly base_model_name_or_path?: unknown } | null;
  const base = config?.base_model_name_or_path;
  return told(
    `${dir} holds an adapter, and no model`,
    `give it as the adapter, and as the model ${typeof base === 'string' ? `its base, ${base}` : 'the one that it was trained on'}`,
  );
};

const readConfig = (dir: string, reader?: JsonReader): TaskEither<FatalError, unknown> =>
  pipe(
    readJson(join(dir, 'config.json'), reader),
    TE.orElse((error) => (error.code === 'E_NO_FILE' ? TE.leftTask(() => noModel(dir, error)) : TE.left(error))),
  );

/** A fault of what was read, with where it was read; one of the call, or with a place of its own, as it is. */
const readIn =
  (file: string) =>
  (error: FatalError): FatalError => {
    const { code, message, details, kind, cause } = error;
    return kind === 'usage' || details.file !== undefined
      ? error
      : fatal(code, message, { ...details, file, kind, cause });
  };

/** The shape of the model in a directory; undefined where it has no config.json. */
export const modelConfigIn = (
  dir: string,
  { ropeScaling }: Pick<LoadOptions, 'ropeScaling'> = {},
): TaskEither<FatalError, ModelConfig | undefined> => {
  const file = join(dir, 'config.json');
  if (!existsSync(file)) return TE.right(undefined);
  return pipe(
    readJson(file, configJson),
    TE.flatMapEither((raw) => stretched(raw, ropeScaling)),
    TE.mapLeft(readIn(file)),
  );
};

const loadFrom = (located: Located, options: LoadOptions): TaskEither<FatalError, LoadedModel> => {
  const { dir } = located;
  return pipe(
    // Strict readers of what is saved tell 0 from 0.0.
    readConfig(dir, configJson),
    TE.flatMapEither((raw) => stretched(raw, options.ropeScaling)),
    TE.mapLeft(readIn(join(dir, 'config.json'))),
    TE.bindTo('declared'),
    TE.bind('generation', () => readGenerationConfig(dir)),
    TE.bind('wanted', () => TE.fromEither(quantizationWanted(options))),
    TE.bind('quantization', ({ declared }) => TE.fromEither(decodeQuantization(declared.raw))),
    TE.bind('block', ({ declared }) => TE.fromEither(float8Block(declared.raw))),
    TE.bind('stored', () => readCheckpointTensors(dir)),
    TE.bind('numbers', ({ stored: { tensors }, block }) =>
      TE.fromEither(block === undefined ? E.right(tensors) : withoutFloat8(tensors, block)),
    ),
    TE.bind('part', ({ declared, numbers }) => textPartOf(declared, dir, numbers)),
    TE.let('config', ({ part }) => part.config),
    TE.bind('planned', ({ part: { config, tensors }, quantization, wanted }) =>
      TE.mapLeft(readIn(dir))(planWeights(config, tensors, { stored: quantization, wanted })),
    ),
    TE.bind('engine', () => onEngine(options)),
    // Once the engine runs: whether the model fits may be a question to a card.
    TE.tap(({ config }) => TE.fromEither(options.accept?.(config) ?? E.right(undefined))),
    TE.bind('loaded', ({ planned }) => planned.load),
    TE.bind('base', ({ part: { config, whole }, loaded: { weights, quantized }, generation }) =>
      TE.fromEither(
        E.map((model: CausalLM) => ({
          ...model,
          ...(generation === undefined ? {} : { generationConfig: generation }),
          ...(whole === undefined ? {} : { whole }),
          ...(options.attnImplementation === 'eager' ? { eagerAttention: true } : {}),
        }))(quantized === undefined ? makeCausalLm(config, weights) : E.right(quantizedLm(config, weights, quantized))),
      ),
    ),
    TE.bind('adapted', ({ base }) =>
      options.adapterDir === undefined
        ? TE.right({ model: base, warnings: [] })
        : loadAdapter(base, options.adapterDir, { isTrainable: options.isTrainable ?? true, hub: options.hub }),
    ),
    TE.map(({ adapted, planned: { unexpected }, engine, quantization, wanted }) => ({
      located,
      model: adapted.model,
      warnings: [
        ...unexpectedTensors(dir, unexpected),
        ...(quantization === undefined || wanted === undefined ? [] : [quantizedAlready(dir)]),
        ...(engine?.warnings ?? []),
        ...adapted.warnings,
      ],
      ...(engine === undefined ? {} : { engine }),
    })),
  );
};

/**
 * The model of a directory with config.json and model.safetensors (or shards), on the engine that runs or is chosen now. Values
 * are float32, but for matrices of a bfloat16 checkpoint, which lie as they are where the engine can, at half of the memory, and
 * for those that are quantised, by the options or in the checkpoint. All others train. A name of the Hub (`owner/name`, `owner/name@revision`) is downloaded first, see `locateModel`.
 * Left: what of the directory is missing or wrong, or the engine asked for does not start.
 */
export const loadModel = checked(
  'loadModel',
  TE.left,
  { 1: loadOptionNames },
  (name: string, options: LoadOptions = {}): TaskEither<FatalError, LoadedModel> =>
    pipe(
      locateModel(name, { hub: options.hub }),
      TE.flatMap((located) => loadFrom(located, options)),
    ),
);

/** The vocabularies fit: every id the tokenizer makes has a row in the embedding. `E_VOCAB_MISMATCH`. */
export const checkVocabulary = (
  { config }: Pick<CausalLM, 'config'>,
  { vocabSize }: Pick<Tokenizer, 'vocabSize'>,
): E.Either<FatalError, void> =>
  vocabSize <= config.vocabSize
    ? E.right(undefined)
    : E.left(
        fatal('E_VOCAB_MISMATCH', "the tokenizer makes ids that the model's embedding has no row for", {
          expected: `at most ${config.vocabSize} tokens, as config.json has it`,
          actual: `${vocabSize} tokens in the tokenizer`,
          hint: 'use the tokenizer the model was trained with, or resize the embedding',
        }),
      );

/** The tokenizer of a directory, absent where it has none. */
const tokenizerIn = (dir: string): TaskEither<FatalError, Tokenizer | undefined> =>
  pipe(
    loadTokenizer(dir),
    TE.orElse((error) =>
      error.code === 'E_TOKENIZER_MISSING' ? TE.right<FatalError, Tokenizer | undefined>(undefined) : TE.left(error),
    ),
  );

/** An adapter that was saved with a tokenizer was trained with that one. */
const tokenizerOfAdapter = ({ adapterDir, hub }: LoadOptions): TaskEither<FatalError, Tokenizer | undefined> =>
  adapterDir === undefined
    ? TE.right(undefined)
    : pipe(
        locateModel(adapterDir, { part: 'adapter', hub }),
        TE.flatMap(({ dir }) => tokenizerIn(dir)),
      );

const configIn = (dir: string): TaskEither<FatalError, Pick<CausalLM, 'config'>> =>
  pipe(
    readConfig(dir),
    TE.flatMapEither(modelConfig),
    TE.mapLeft(readIn(join(dir, 'config.json'))),
    TE.map((config) => ({ config })),
  );

const fits =
  (tokenizer: Tokenizer | undefined) =>
  (model: Pick<CausalLM, 'config'>): E.Either<FatalError, void> =>
    tokenizer === undefined ? E.right(undefined) : checkVocabulary(model, tokenizer);

const partsFrom = <T extends Tokenizer | undefined>(
  located: Located,
  options: LoadOptions,
  ownTokenizer: (dir: string) => TaskEither<FatalError, T>,
): TaskEither<FatalError, LoadedModel & { readonly tokenizer: Tokenizer | T }> =>
  pipe(
    // The small files are read first: a wrong directory is told before gigabytes are loaded.
    configIn(located.dir),
    TE.bindTo('model'),
    TE.bind('trainedWith', () => tokenizerOfAdapter(options)),
    TE.bind(
      'tokenizer',
      ({ trainedWith }): TaskEither<FatalError, Tokenizer | T> =>
        trainedWith === undefined ? ownTokenizer(located.dir) : TE.right(trainedWith),
    ),
    TE.tap(({ model, trainedWith, tokenizer }) =>
      TE.fromEither(fits(trainedWith === undefined ? tokenizer : undefined)(model)),
    ),
    TE.bind('loaded', () => loadFrom(located, options)),
    TE.tap(({ tokenizer, loaded }) => TE.fromEither(fits(tokenizer)(loaded.model))),
    TE.map(({ tokenizer, loaded }) => ({ ...loaded, tokenizer })),
  );

/**
 * Model and tokenizer, the tokenizer absent where the directory has none: rows that bring token ids need none. An adapter's own
 * tokenizer goes before the model's.
 */
export const loadParts = checked(
  'loadParts',
  TE.left,
  { 1: loadOptionNames },
  (name: string, options: LoadOptions = {}): TaskEither<FatalError, LoadedParts> =>
    pipe(
      locateModel(name, { hub: options.hub }),
      TE.flatMap((located) => partsFrom(located, options, tokenizerIn)),
      TE.map(({ tokenizer, ...loaded }) => (tokenizer === undefined ? loaded : { ...loaded, tokenizer })),
    ),
);

/**
 * Model and tokenizer of a directory as transformers writes them, or of a name on the Hub.
 *
 *     const { model, tokenizer } = await orThrow(load('./models/Qwen2.5-0.5B'));
 */
export const load = checked(
  'load',
  TE.left,
  { 1: loadOptionNames },
  (name: string, options: LoadOptions = {}): TaskEither<FatalError, Loaded> =>
    pipe(
      locateModel(name, { hub: options.hub }),
      // One that is missing is told at once, before the model is loaded for nothing.
      TE.flatMap((located) => partsFrom(located, options, loadTokenizer)),
    ),
);
