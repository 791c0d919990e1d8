/**
 * Checkpoints of models that see images too. Their text model is run here, under the names it would have by itself; what else there
 * is in config.json and among the tensors stays as it came.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../errors.js';
import { withNumbersOf } from '../formats/json/writtenNumbers.js';
import { boolean, decodeFields, optional, tokenIds } from './config.js';
import type { ModelConfig, RawConfig } from './config.js';

interface Family {
  /** Type of its text model, whatever `text_config` calls it. Default: as that says; its logits are what the head says then. */
  readonly text?: string;
  /** The same where `text_config` names none. */
  readonly otherwise?: string;
  /** Where files say nothing, the head is the embedding. */
  readonly tied?: boolean;
  /** A head that `text_config` ties is tied. */
  readonly tiedByText?: boolean;
  /** Files without `text_config` have its fields beside the others. */
  readonly flat?: boolean;
  /** Path of the text model in the class that transformers opens. Default: `model.language_model`. */
  readonly path?: string;
  /** Path of its head there. Default: `lm_head`. */
  readonly head?: string;
}

const families: Readonly<Record<string, Family>> = {
  gemma3: { text: 'gemma3_text', tied: true },
  gemma3n: { text: 'gemma3n_text', tied: true },
  gemma4: { text: 'gemma4_text', tied: true },
  gemma4_unified: { text: 'gemma4_unified_text', tied: true },
  mistral3: { otherwise: 'mistral', tied: true },
  qwen2_vl: { text: 'qwen2_vl_text', tiedByText: true, flat: true },
  qwen2_5_vl: { text: 'qwen2_5_vl_text', tiedByText: true, flat: true },
  qwen3_vl: { text: 'qwen3_vl_text' },
  qwen3_vl_moe: { text: 'qwen3_vl_moe_text' },
  exaone4_5: { text: 'exaone4' },
  mllama: { text: 'mllama_text_model' },
  llama4: { text: 'llama4_text', path: 'language_model.model', head: 'language_model.lm_head' },
  qwen3_5: { text: 'qwen3_5_text' },
  qwen3_5_moe: { text: 'qwen3_5_moe_text' },
  lfm2_vl: { otherwise: 'lfm2', tied: true },
  llava: { otherwise: 'llama', tiedByText: true },
  llava_next: { otherwise: 'llama' },
  llava_next_video: { otherwise: 'llama', tiedByText: true },
  llava_onevision: { otherwise: 'qwen2', tiedByText: true },
  video_llava: { otherwise: 'llama' },
  vipllava: { otherwise: 'llama' },
  idefics2: { otherwise: 'mistral', path: 'model.text_model' },
  idefics3: { otherwise: 'llama', path: 'model.text_model' },
  smolvlm: { otherwise: 'llama', path: 'model.text_model' },
  internvl: { otherwise: 'qwen2', tied: true },
  ovis2: { otherwise: 'qwen2', tied: true },
  aya_vision: { otherwise: 'cohere2', tied: true },
  cohere2_vision: { otherwise: 'cohere2', tied: true },
  granite4_vision: { text: 'granite4_vision_text' },
  deepseek_vl: { otherwise: 'llama', tied: true },
  video_llama_3: { otherwise: 'qwen2', tiedByText: true },
  minicpmv4_6: { otherwise: 'qwen3_5_text' },
  aria: { text: 'aria_text' },
  muse_glimmer: { text: 'muse_glimmer_text' },
  glm4v: { text: 'glm4v_text', tiedByText: true },
  glm46v: { otherwise: 'glm4v_text' },
  glm4v_moe: { text: 'glm4v_moe_text', tiedByText: true },
};

/** Model types of such checkpoints. */
export const imageTextTypes: ReadonlyArray<string> = Object.keys(families);

const familyOf = (modelType: unknown): Family | undefined =>
  typeof modelType === 'string' && Object.hasOwn(families, modelType) ? families[modelType] : undefined;

const sizes = (
  vocab_size: number,
  hidden_size: number,
  intermediate_size: number,
  num_hidden_layers: number,
  num_attention_heads: number,
): RawConfig => ({ vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads });

/** What transformers takes for sizes that `text_config` leaves out: files were once written without those that are a class's own. */
const textSizes: Readonly<Record<string, RawConfig>> = {
  gemma3_text: sizes(262_208, 2304, 9216, 26, 8),
  gemma3n_text: sizes(262_400, 2048, 16_384, 35, 8),
  gemma4_text: sizes(262_144, 2304, 9216, 30, 8),
  gemma4_unified_text: sizes(262_144, 2304, 9216, 30, 8),
  lfm2: sizes(65_536, 2560, 12_288, 32, 32),
  lfm2_moe: sizes(65_536, 2048, 7168, 32, 32),
  llama: sizes(32_000, 4096, 11_008, 32, 32),
  mistral: sizes(32_000, 4096, 14_336, 32, 32),
  ministral3: sizes(131_072, 4096, 14_336, 34, 32),
  mistral4: sizes(131_072, 4096, 12_288, 36, 32),
  llama4_text: sizes(202_048, 5120, 8192, 48, 40),
  qwen2: sizes(151_936, 4096, 22_016, 32, 32),
  qwen3: sizes(151_936, 4096, 22_016, 32, 32),
  qwen2_vl_text: sizes(152_064, 8192, 29_568, 80, 64),
  qwen2_5_vl_text: sizes(152_064, 8192, 29_568, 80, 64),
  qwen3_vl_text: sizes(151_936, 4096, 22_016, 32, 32),
  qwen3_vl_moe_text: sizes(151_936, 2048, 5632, 24, 16),
  exaone4: sizes(102_400, 4096, 16_384, 32, 32),
  mllama_text_model: sizes(128_256, 4096, 14_336, 40, 32),
  qwen3_moe: sizes(151_936, 2048, 6144, 24, 32),
  gpt_oss: sizes(201_088, 2880, 2880, 36, 64),
  granite: sizes(32_000, 4096, 11_008, 32, 32),
  cohere: sizes(256_000, 8192, 22_528, 40, 64),
  cohere2: sizes(256_000, 8192, 22_528, 40, 64),
  granite4_vision_text: sizes(32_000, 4096, 11_008, 32, 32),
  aria_text: sizes(32_000, 4096, 4096, 32, 32),
  muse_glimmer_text: sizes(202_048, 6656, 19_968, 52, 32),
  glm4v_text: sizes(151_552, 4096, 13_696, 40, 32),
  glm4v_moe_text: sizes(151_424, 4096, 10_944, 46, 96),
  qwen3_5_text: sizes(248_320, 4096, 12_288, 32, 16),
  qwen3_5_moe_text: sizes(248_320, 2048, 512, 40, 16),
};

const fields = t.type({
  text_config: optional(t.UnknownRecord),
  tie_word_embeddings: optional(boolean),
  // LFM2's name for it.
  tie_embedding: optional(boolean),
  ...tokenIds,
});

/** What a text model by itself does to logits behind its head: the whole, whose head is its own, leaves it out. */
const bareHead: RawConfig = { logit_scale: 1, logits_scaling: 1, final_logit_softcapping: null };

/** Fields of text_config that count here beside those of the text model. */
const textFields = t.type({ model_type: optional(t.string), tie_word_embeddings: optional(boolean) });

/** What of a record is there. */
const given = (record: Readonly<Record<string, unknown>>): RawConfig =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined && value !== null));

/** The text model of a config.json of these; undefined for other model types. */
export const imageTextConfig = (
  raw: RawConfig,
  modelType: string,
  decode: (text: RawConfig) => E.Either<FatalError, ModelConfig>,
): E.Either<FatalError, ModelConfig> | undefined => {
  const family = familyOf(modelType);
  if (family === undefined) return undefined;
  return pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.let('text', ({ f }): RawConfig => f.text_config ?? (family.flat === true ? raw : {})),
    E.bind('own', ({ text }) => decodeFields(textFields)(text)),
    E.flatMap(({ f, text, own }) => {
      const model_type = family.text ?? own.model_type ?? family.otherwise ?? '';
      const { bos_token_id, eos_token_id, pad_token_id } = f;
      return decode({
        ...textSizes[model_type],
        ...text,
        ...given({ bos_token_id, eos_token_id, pad_token_id }),
        ...(family.text === undefined ? bareHead : {}),
        model_type,
        tie_embedding: undefined,
        tie_word_embeddings:
          (f.tie_embedding ?? f.tie_word_embeddings ?? family.tied ?? false) ||
          (family.tiedByText === true && own.tie_word_embeddings === true),
      });
    }),
    E.map((config) => ({
      ...config,
      raw,
      within: { modelType, path: family.path ?? 'model.language_model', head: family.head },
    })),
  );
};

const textOf = (raw: RawConfig): RawConfig | undefined => {
  const text = raw['text_config'];
  return familyOf(raw['model_type']) !== undefined && t.UnknownRecord.is(text) ? text : undefined;
};

/** A config.json whose part of the text model is changed: `text_config` where there is one, else all of it. */
export const inText = (raw: RawConfig, change: (text: RawConfig) => RawConfig): RawConfig => {
  const text = textOf(raw);
  return text === undefined ? change(raw) : withNumbersOf(raw, { ...raw, text_config: change(text) });
};

/** A config.json of a model whose head is not its embedding. */
export const untiedRaw = (raw: RawConfig): RawConfig => {
  // LFM2's files may say it by another name, which goes before.
  const untied = (one: RawConfig): RawConfig => {
    const { tie_embedding: _, ...others } = one;
    return withNumbersOf(one, { ...others, tie_word_embeddings: false });
  };
  return untied(textOf(raw)?.['tie_word_embeddings'] === true ? inText(raw, untied) : raw);
};

/** What files call the text model's modules, and its head. */
export interface TextLayout {
  /** In the place of `model.`. */
  readonly body: string;
  /** In the place of `lm_head.`. */
  readonly head: string;
}

/** By the versions of transformers that wrote them; the last as of Qwen2-VL, beside whose layers lies `visual.`. */
const layouts: ReadonlyArray<TextLayout> = [
  { body: 'model.language_model.', head: 'lm_head.' },
  { body: 'language_model.model.', head: 'language_model.lm_head.' },
  { body: 'model.text_model.', head: 'lm_head.' },
  { body: 'model.', head: 'lm_head.' },
];

/** Name of a tensor of the text model in files. */
export const nameInLayout = ({ body, head }: TextLayout, name: string): string =>
  name.startsWith('model.') ? name.replace('model.', body) : name.replace(/^lm_head\./, head);

const nameHere = ({ body, head }: TextLayout, stored: string): string | undefined => {
  if (stored.startsWith(body)) return stored.replace(body, 'model.');
  if (stored.startsWith(head)) return stored.replace(head, 'lm_head.');
  return stored.startsWith('lm_head.') ? stored : undefined;
};

/** A whole checkpoint's tensors: those of the text model by the names they have here, and names of the others. */
export interface Parted<A> {
  readonly layout: TextLayout;
  readonly own: ReadonlyMap<string, A>;
  readonly others: ReadonlyArray<string>;
}

/** What of a checkpoint's tensors is the text model's, less what that leaves out. */
export const parted = <A>(tensors: ReadonlyMap<string, A>, leavesOut?: RegExp): Parted<A> => {
  const fallback: TextLayout = { body: 'model.', head: 'lm_head.' };
  const layout = layouts.find(({ body }) => tensors.has(`${body}embed_tokens.weight`)) ?? fallback;
  const own = new Map<string, A>();
  const others: string[] = [];
  for (const [stored, tensor] of tensors) {
    const name = nameHere(layout, stored);
    if (name === undefined || leavesOut?.test(name) === true) others.push(stored);
    else own.set(name, tensor);
  }
  return { layout, own, others };
};

/** What the class that transformers opens, and so PEFT, calls a module or tensor of the model. */
export const nameOutside = ({ within }: Pick<ModelConfig, 'within'>, name: string): string =>
  within === undefined
    ? name
    : name.replace(/^model(?=\.)/, within.path).replace(/^lm_head(?=\.|$)/, within.head ?? 'lm_head');

const outsidePrefix = /^(?:model\.language_model|language_model\.model|model\.text_model)\./;

/** The other way round, for what any version of transformers calls it. */
export const nameInside = ({ within }: Pick<ModelConfig, 'within'>, name: string): string =>
  within === undefined ? name : name.replace(outsidePrefix, 'model.').replace(/^language_model\.(?=lm_head\.)/, '');

/** Paths of the text model, as expressions too; that of its own alone (`model.`) names nothing outside. */
const outsideStart = /^\^?(?:(?:model\\?\.)?(?:language_model|text_model)\\?\.(?:model\\?\.)?|model\\?\.)/;

/** An end of a module's path as it is written in patterns and lists, less where the text model lies: it names the same here and there. */
export const endInside = ({ within }: Pick<ModelConfig, 'within'>, end: string): string =>
  within === undefined ? end : end.replace(outsideStart, '');

/** Where the parts of a checkpoint lie that the text model has no use for, to be saved with it. */
export interface WholeCheckpoint {
  readonly dir: string;
  readonly layout: TextLayout;
  /** Names of the other tensors. */
  readonly others: ReadonlyArray<string>;
}
