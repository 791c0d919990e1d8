/** A model directory → a model on an engine, and its tokenizer. */
import { join } from 'node:path';
import { tensor } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, warning } from '../errors.js';
import type { FatalError, Warning } from '../errors.js';
import { readAdapter } from '../formats/adapterFiles.js';
import { readGenerationConfig } from '../formats/generationConfig.js';
import { locateModel } from '../formats/hub/locate.js';
import type { Located } from '../formats/hub/locate.js';
import type { HubSettings } from '../formats/hub/settings.js';
import { readJson } from '../formats/json.js';
import type { StoredTensor } from '../formats/safetensors.js';
import { readCheckpointTensors } from '../formats/shards.js';
import { discard } from '../formats/transient.js';
import { loadTokenizer } from '../formats/tokenizer.js';
import type { Tokenizer } from '../formats/tokenizer.js';
import { attachSavedLora } from '../model/adapter.js';
import { makeCausalLm, matchTensors, modelConfig } from '../model/causalLm.js';
import type { CausalLM } from '../model/causalLm.js';
import type { ModelConfig } from '../model/config.js';
import { hold } from '../model/kernels/hold.js';
import { LoraConfig } from '../model/lora.js';
import { chooseEngine, currentEngine } from './engine.js';
import type { EngineOptions, EngineReport } from './engine.js';

export interface LoadOptions extends EngineOptions {
  /** A PEFT adapter to put on the model; it is what trains then. */
  readonly adapterDir?: string | undefined;
  /** Whether that adapter trains. Default true. */
  readonly isTrainable?: boolean | undefined;
  /** In place of what the environment says about the Hub. */
  readonly hub?: Partial<HubSettings> | undefined;
  /** Asked before the weights are loaded; a Left ends it there. */
  readonly accept?: ((config: ModelConfig) => E.Either<FatalError, unknown>) | undefined;
}

export interface LoadedModel {
  readonly model: CausalLM;
  readonly warnings: ReadonlyArray<Warning>;
  /** Absent when an engine was running already and none was asked for. */
  readonly engine?: EngineReport;
  /** Where the model was found: a directory here, or a commit on the Hub. */
  readonly located: Located;
}

export interface Loaded extends LoadedModel {
  readonly tokenizer: Tokenizer;
}

/** Starts an engine unless one runs and nothing else is asked for. */
const onEngine = (options: EngineOptions): TaskEither<FatalError, EngineReport | undefined> => {
  const asked = options.engine ?? options.threads ?? options.precision;
  return asked === undefined && currentEngine() !== undefined ? TE.right(undefined) : chooseEngine(options);
};

/**
 * Tensors one after another, so that only one is in memory twice; matrices that the file has as bfloat16 lie so in memory too,
 * where the engine can. Made ones are freed when a later one fails.
 */
export const uploaded =
  (
    stored: ReadonlyArray<{ readonly name: string; readonly from: StoredTensor }>,
  ): TaskEither<FatalError, Readonly<Record<string, Tensor>>> =>
  async () => {
    const tensors: Record<string, Tensor> = {};
    for (const { name, from } of stored) {
      const values = await from.read()();
      if (E.isLeft(values)) {
        for (const made of Object.values(tensors)) made.dispose();
        return values;
      }
      const made = tensor(values.right, [...from.shape], 'float32');
      // The engine has a copy; plain JavaScript would go on with these very values.
      if (currentEngine() === 'native') discard(values.right);
      // Nothing is lost by it: the file holds no more. Weights that train are released when training begins.
      if (from.dtype === 'BF16' && made.rank >= 2) hold(made, 'bfloat16');
      tensors[name] = made;
    }
    return E.right(tensors);
  };

const unexpectedTensors = (dir: string, names: ReadonlyArray<string>): ReadonlyArray<Warning> =>
  names.length === 0
    ? []
    : [
        warning('W_UNEXPECTED_TENSORS', `${names.length} tensors of the checkpoint belong to no part of the model`, {
          file: dir,
          actual: names.slice(0, 8).join(', '),
        }),
      ];

/** The model with the PEFT adapter of a directory (or a repository on the Hub), which alone trains (or nothing does, unless `isTrainable`). */
export const loadAdapter = (
  model: CausalLM,
  dir: string,
  { isTrainable = true, hub }: { readonly isTrainable?: boolean; readonly hub?: LoadOptions['hub'] } = {},
): TaskEither<FatalError, { readonly model: CausalLM; readonly warnings: ReadonlyArray<Warning> }> =>
  pipe(
    locateModel(dir, 'adapter', hub),
    TE.flatMap((located) => readAdapter(located.dir)),
    TE.bindTo('files'),
    TE.bind('lora', ({ files }) => TE.fromEither(LoraConfig.decode(files.config.lora))),
    TE.bind('saved', ({ files }) => uploaded(Array.from(files.tensors, ([name, from]) => ({ name, from })))),
    TE.bind('adapted', ({ lora, saved }) => TE.fromEither(attachSavedLora(model, lora, saved, { isTrainable }))),
    TE.map(({ adapted, files }) => ({ model: adapted, warnings: files.warnings })),
  );

const loadFrom = (located: Located, options: LoadOptions): TaskEither<FatalError, LoadedModel> => {
  const { dir } = located;
  return pipe(
    readJson(join(dir, 'config.json')),
    TE.flatMapEither(modelConfig),
    TE.bindTo('config'),
    TE.bind('generation', () => readGenerationConfig(dir)),
    TE.bind('stored', () => readCheckpointTensors(dir)),
    TE.tap(({ config }) => TE.fromEither(options.accept?.(config) ?? E.right(undefined))),
    TE.bind('match', ({ config, stored }) => TE.fromEither(matchTensors(config, [...stored.tensors.values()]))),
    TE.bind('engine', () => onEngine(options)),
    TE.bind('weights', ({ stored, match }) =>
      uploaded(
        match.tensors.flatMap(({ stored: key, name }) => {
          const from = stored.tensors.get(key);
          return from === undefined ? [] : [{ name, from }];
        }),
      ),
    ),
    TE.bind('base', ({ config, weights, generation }) =>
      TE.fromEither(
        E.map((model: CausalLM) => (generation === undefined ? model : { ...model, generationConfig: generation }))(
          makeCausalLm(config, weights),
        ),
      ),
    ),
    TE.bind('adapted', ({ base }) =>
      options.adapterDir === undefined
        ? TE.right({ model: base, warnings: [] })
        : loadAdapter(base, options.adapterDir, { isTrainable: options.isTrainable ?? true, hub: options.hub }),
    ),
    TE.map(({ adapted, match, engine }) => ({
      located,
      model: adapted.model,
      warnings: [...unexpectedTensors(dir, match.unexpected), ...(engine?.warnings ?? []), ...adapted.warnings],
      ...(engine === undefined ? {} : { engine }),
    })),
  );
};

/**
 * The model of a directory with config.json and model.safetensors (or shards), on the engine that runs or is chosen now. Values
 * are float32, but for matrices of a bfloat16 checkpoint, which lie as they are where the engine can, at half of the memory. All
 * of its weights train. A name of the Hub (`owner/name`, `owner/name@revision`) is downloaded first, see `locateModel`.
 * Left: what of the directory is missing or wrong, or the engine asked for does not start.
 */
export const loadModel = (name: string, options: LoadOptions = {}): TaskEither<FatalError, LoadedModel> =>
  pipe(
    locateModel(name, 'model', options.hub),
    TE.flatMap((located) => loadFrom(located, options)),
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
        locateModel(adapterDir, 'adapter', hub),
        TE.flatMap(({ dir }) => tokenizerIn(dir)),
      );

const configIn = (dir: string): TaskEither<FatalError, Pick<CausalLM, 'config'>> =>
  pipe(
    readJson(join(dir, 'config.json')),
    TE.flatMapEither(modelConfig),
    TE.map((config) => ({ config })),
  );

const fits =
  (tokenizer: Tokenizer | undefined) =>
  (model: Pick<CausalLM, 'config'>): E.Either<FatalError, void> =>
    tokenizer === undefined ? E.right(undefined) : checkVocabulary(model, tokenizer);

const partsFrom = (
  located: Located,
  options: LoadOptions,
): TaskEither<FatalError, LoadedModel & Partial<Pick<Loaded, 'tokenizer'>>> =>
  pipe(
    tokenizerOfAdapter(options),
    TE.bindTo('trainedWith'),
    TE.bind('tokenizer', ({ trainedWith }) =>
      trainedWith === undefined ? tokenizerIn(located.dir) : TE.right(trainedWith),
    ),
    // The small files are read first: a wrong directory is told before gigabytes are loaded.
    TE.tap(({ trainedWith, tokenizer }) =>
      pipe(configIn(located.dir), TE.flatMapEither(fits(trainedWith === undefined ? tokenizer : undefined))),
    ),
    TE.bind('loaded', () => loadFrom(located, options)),
    TE.tap(({ tokenizer, loaded }) => TE.fromEither(fits(tokenizer)(loaded.model))),
    TE.map(({ tokenizer, loaded }) => ({ ...loaded, ...(tokenizer === undefined ? {} : { tokenizer }) })),
  );

/**
 * Model and tokenizer, the tokenizer absent where the directory has none: rows that bring token ids need none. An adapter's own
 * tokenizer goes before the model's.
 */
export const loadParts = (
  name: string,
  options: LoadOptions = {},
): TaskEither<FatalError, LoadedModel & Partial<Pick<Loaded, 'tokenizer'>>> =>
  pipe(
    locateModel(name, 'model', options.hub),
    TE.flatMap((located) => partsFrom(located, options)),
  );

/**
 * Model and tokenizer of a directory as transformers writes them, or of a name on the Hub.
 *
 *     const { model, tokenizer } = await orThrow(load('./models/Qwen2.5-0.5B'));
 */
export const load = (name: string, options: LoadOptions = {}): TaskEither<FatalError, Loaded> =>
  pipe(
    locateModel(name, 'model', options.hub),
    TE.bindTo('located'),
    // Told at once, before the model is loaded for nothing.
    TE.bind('tokenizer', ({ located }) =>
      pipe(
        tokenizerOfAdapter(options),
        TE.flatMap((trainedWith) => (trainedWith === undefined ? loadTokenizer(located.dir) : TE.right(trainedWith))),
      ),
    ),
    TE.bind('parts', ({ located }) => partsFrom(located, options)),
    TE.map(({ tokenizer, parts }) => ({ ...parts, tokenizer })),
  );
