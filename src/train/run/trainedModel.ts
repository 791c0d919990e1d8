/** The model that a run trains, and its tokenizer: found or loaded, with the chat format, the template and the adapter asked for. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, usage, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { attachLora } from '../../model/adapters/adapter.js';
import { LoraConfig } from '../../model/adapters/lora.js';
import { architectureOf } from '../../model/architectures.js';
import { withAuxLossCoef } from '../../model/model.js';
import type { CausalLM } from '../../model/model.js';
import { currentEngine } from '../engine.js';
import { loadOptionsOf, loadParts } from '../loading/load.js';
import { setupChatFormat } from '../loading/setupChatFormat.js';
import { withChatTemplate } from '../loading/withChatTemplate.js';
import { fitsUnloaded } from '../memory/fitMemory.js';
import { loraOf } from '../options/config.js';
import { isParity } from '../options/parity.js';
import type { SftConfig } from '../options/config.js';
import type { SftSetup } from './run.js';

export interface Loaded {
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
    return TE.left(
      usage('E_NO_MODEL', 'there is no model to train', { field: 'model', hint: 'give model, or modelInit' }),
    );
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
      usage('E_MODEL_KWARGS_WITH_INSTANCE', 'modelInitKwargs are for a model that is yet to be loaded', {
        field: 'modelInitKwargs',
        hint: 'give the directory of the model, or load it with these options: load(dir, { … })',
      }),
    );
  }
  if (config.engine !== undefined && currentEngine() !== config.engine) {
    return TE.left(
      usage('E_ENGINE_CHOSEN', `the model was made on the ${currentEngine() ?? 'unknown'} engine`, {
        field: 'engine',
        hint: `choose ${config.engine} before loading: load(dir, { engine })`,
      }),
    );
  }
  if ((config.loadIn4bit || config.loadIn8bit) && model.quantized === undefined) {
    return TE.left(
      usage('E_OPTIONS', 'the model was loaded unquantised', {
        field: config.loadIn4bit ? 'loadIn4bit' : 'loadIn8bit',
        hint: 'quantise where it is loaded: load(dir, { loadIn4bit: true }), or quantizeModel',
      }),
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
      ? TE.left(
          usage('E_NO_TOKENIZER', 'a chat format is set up in a tokenizer', {
            field: 'chatFormat',
            hint: 'give a tokenizer',
          }),
        )
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

/** Model and tokenizer as setup and options ask for them. `E_NO_MODEL`, and where options do not fit a model that is there already. */
export const loaded = (setup: SftSetup, config: SftConfig): TaskEither<FatalError, Loaded> =>
  pipe(
    found(setup, config),
    TE.flatMap((parts) => conversing(parts, config)),
  );

/** Tells of tokens whose rows nothing trains: an adapter leaves the embedding as it is. */
export const frozenRows = (
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
    E.flatMap((found) => (found === undefined ? E.right(model) : attachLora(model, found, { seed: config.seed }))),
  );
};

/** Quantised weights do not train: a model that has some needs an adapter. `E_QUANTIZED_TRAINING`. */
const trainableAsAsked = (model: CausalLM): Either<FatalError, CausalLM> => {
  const { quantized, lora, trainable } = model;
  if (quantized === undefined) return E.right(model);
  const frozen = trainable.find((name) => name in quantized.scales);
  if (lora !== undefined && frozen === undefined) return E.right(model);
  return E.left(
    usage('E_QUANTIZED_TRAINING', 'the weights of a quantised model cannot train', {
      ...(frozen === undefined ? {} : { actual: frozen }),
      hint: 'train an adapter (usePeft), or load the model without loadIn4bit and loadIn8bit (of GPTQ: the one it was made from)',
    }),
  );
};

/** The model as it trains: with its adapter, and experts held in balance. `E_QUANTIZED_TRAINING`, and faults of the adapter's options. */
export const trained = (
  model: CausalLM,
  setup: SftSetup,
  config: SftConfig,
  warn: (warning: Warning) => void,
): Either<FatalError, CausalLM> =>
  pipe(
    adapted(model, setup, config, warn),
    E.flatMap(trainableAsAsked),
    // TRL 0.7.10 has no option for it: config.json's counts.
    E.map((found) => (isParity(config) ? found : withAuxLossCoef(found, config.routerAuxLossCoef))),
  );
