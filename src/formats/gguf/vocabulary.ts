/** A tokenizer as llama.cpp reads it from a GGUF file. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import type { TokenizerSpec } from '../tokenizing/spec.js';
import { specOfFiles } from '../tokenizing/specOf.js';
import type { Tokenizer } from '../tokenizing/tokenizer.js';
import { cutsLike, stepsOf } from './cuts.js';
import {
  addedWarnings,
  blankWarnings,
  cutWarnings,
  normalizerRefusal,
  normalizersOf,
  opensNamed,
  normalizerWarnings,
  piecesRefusal,
  unsupportedTokenizer,
} from './otherwise.js';
import { bool, float32s, int32s, string, strings, uint32 } from './values.js';
import type { GgufMetadata } from './values.js';

const listOf = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : []);

/** llama.cpp's kinds of tokens. */
const kinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const mergesOf = (model: JsonRecord): ReadonlyArray<readonly [string, string]> =>
  listOf(model['merges']).map((entry) => {
    const parts = typeof entry === 'string' ? entry.split(' ') : listOf(entry);
    return [String(parts[0]), String(parts[1])] as const;
  });

interface Entries {
  readonly tokens: ReadonlyArray<string>;
  readonly kinds: ReadonlyArray<number>;
}

/** Every id up to `rows`; ids that the tokenizer never makes are called [PADn]. */
const entriesOf = ({ addedTokens, specialTokens }: TokenizerSpec, tokenizer: Tokenizer, rows: number): Entries => {
  const added = new Map(addedTokens.map((token) => [token.id, token]));
  const unknown = specialTokens['unk_token'];
  const found = Array.from({ length: rows }, (_, id) => {
    const token = tokenizer.idToToken(id);
    if (token === undefined) return [`[PAD${id}]`, kinds.unused] as const;
    if (token === unknown) return [token, kinds.unknown] as const;
    const extra = added.get(id);
    if (extra !== undefined) return [token, extra.special ? kinds.control : kinds.userDefined] as const;
    return [token, /^<0x[0-9A-F]{2}>$/.test(token) ? kinds.byte : kinds.normal] as const;
  });
  return { tokens: found.map(([token]) => token), kinds: found.map(([, kind]) => kind) };
};

/** A tokenizer in GGUF, and what llama.cpp does otherwise than it. */
export interface GgufVocabulary {
  readonly metadata: GgufMetadata;
  readonly warnings: ReadonlyArray<Warning>;
  /** False: the file is to have no name, by which llama.cpp would take it for another. Default: true. */
  readonly named?: boolean;
}

type Made = E.Either<FatalError, GgufVocabulary>;

const writtenMerges = ({ model }: TokenizerSpec): ReadonlyArray<string> => mergesOf(model).map(([a, b]) => `${a} ${b}`);

/** Byte-level BPE: GPT-2, Llama 3, Qwen, DeepSeek. */
const byteLevel = (spec: TokenizerSpec, { tokens, kinds: types }: Entries): Made => {
  const cuts = cutsLike(spec.preTokenizer);
  const cut = cuts.find(({ takesWhole }) => takesWhole === (spec.model['ignore_merges'] === true)) ?? cuts[0];
  if (cut === undefined)
    return E.left(
      unsupportedTokenizer(
        'its words are cut in an unknown way',
        'pre_tokenizer',
        "GPT-2's, GPT-4o's, Llama 3's, Qwen's, SmolLM's, Falcon's, Mistral's, BLOOM's, Seed's, Jais', Youtu's or DeepSeek's",
      ),
    );
  const refused = normalizerRefusal(spec, false);
  if (refused !== undefined) return E.left(refused);
  const merges = writtenMerges(spec);
  const normal = tokens.filter((_, id) => types[id] === kinds.normal);
  return E.right({
    metadata: {
      'tokenizer.ggml.model': string('gpt2'),
      'tokenizer.ggml.pre': string(cut.name),
      'tokenizer.ggml.tokens': strings(tokens),
      'tokenizer.ggml.token_type': int32s(types),
      'tokenizer.ggml.merges': strings(merges),
    },
    warnings: [...normalizerWarnings(spec), ...cutWarnings(cut, spec, normal, merges)],
  });
};

/** Whether a blank is put before a text. */
const addsBlank = ({ normalizer, preTokenizer }: TokenizerSpec): boolean =>
  normalizersOf(normalizer).some(({ type, prepend }) => type === 'Prepend' && prepend === '▁') ||
  stepsOf(preTokenizer).some(
    (step) =>
      step['type'] === 'Metaspace' &&
      (step['prepend_scheme'] ?? (step['add_prefix_space'] === false ? 'never' : 'always')) !== 'never',
  );

/** Tokens of Gemma 4 that programs read what it says by: they are always shown. */
const shown: ReadonlySet<string> = new Set([
  '<|channel>',
  '<channel|>',
  '<|tool_call>',
  '<tool_call|>',
  '<|tool_response>',
  '<tool_response|>',
  '<|"|>',
]);

/**
 * SentencePiece's BPE with bytes to fall back on: Llama 2, Mistral, Gemma. Earlier merges score higher. Gemma 4's has a kind of its own
 * there, which merges as told.
 */
const sentencePiece = (spec: TokenizerSpec, { tokens, kinds: types }: Entries, ofGemma4: boolean): Made => {
  const refused = normalizerRefusal(spec, true) ?? piecesRefusal(spec);
  if (refused !== undefined) return E.left(refused);
  const merges = mergesOf(spec.model);
  const ranks = new Map<string, number>();
  merges.forEach(([a, b], rank) => {
    const token = a + b;
    if (!ranks.has(token)) ranks.set(token, rank);
  });
  const scores = tokens.map((token, id) => (types[id] === kinds.normal ? -(ranks.get(token) ?? merges.length) : 0));
  const own = ofGemma4 && !addsBlank(spec);
  return E.right({
    metadata: {
      'tokenizer.ggml.model': string(own ? 'gemma4' : 'llama'),
      ...(own
        ? { 'tokenizer.ggml.merges': strings(writtenMerges(spec)) }
        : { 'tokenizer.ggml.pre': string('default') }),
      'tokenizer.ggml.tokens': strings(tokens),
      'tokenizer.ggml.scores': float32s(scores),
      'tokenizer.ggml.token_type': int32s(
        own ? types.map((kind, id) => (shown.has(tokens[id] ?? '') ? kinds.userDefined : kind)) : types,
      ),
      'tokenizer.ggml.add_space_prefix': bool(addsBlank(spec)),
    },
    warnings: [...normalizerWarnings(spec), ...blankWarnings(spec)],
  });
};

/** What the tokenizer puts around a text by itself. */
const surrounds = (tokenizer: Tokenizer): GgufMetadata => {
  const text = 'a';
  const plain = tokenizer.encode(text, { addSpecialTokens: false });
  const whole = tokenizer.encode(text, { addSpecialTokens: true });
  const added = whole.length > plain.length;
  return {
    'tokenizer.ggml.add_bos_token': bool(added && whole[0] === tokenizer.bosTokenId),
    'tokenizer.ggml.add_eos_token': bool(added && whole[whole.length - 1] === tokenizer.eosTokenId),
  };
};

/** Tokens that end a text there whatever is told: by what they are called. */
const known: ReadonlySet<string> = new Set([
  ...['<|eot_id|>', '<|im_end|>', '<|end|>', '<|return|>', '<|call|>', '<|flush|>', '<|calls|>', '<end_of_turn>'],
  ...['<|endoftext|>', '</s>', '<|eom_id|>', '<EOT>', '_<EOT>', '[EOT]', '[EOS]', '<|end_of_text|>'],
  ...['<end_of_utterance>', '<eos>', '<turn|>', '<|tool_response>', '<｜end▁of▁sentence｜>', '[e~['],
]);

/** What the model knows of its tokens beside its tokenizer. */
export interface ModelTokens {
  /** Rows of its table of tokens. */
  readonly rows: number;
  readonly bosTokenId?: number | undefined;
  /** Tokens that end what it generates. */
  readonly endIds: ReadonlyArray<number>;
  /** llama.cpp's name of its architecture. */
  readonly architecture: string;
  /** The file's, which llama.cpp reads, too. */
  readonly name?: string | undefined;
}

/** Special tokens. Of the ends beside the first, those go as ends of a turn and of a message that it does not know by name. */
const special = (tokenizer: Tokenizer, { rows, bosTokenId, endIds }: ModelTokens): GgufVocabulary => {
  const ids = [tokenizer.eosTokenId, ...endIds].flatMap((id) => (id === undefined || id >= rows ? [] : [id]));
  const [end, ...others] = [...new Set(ids)];
  const further = others.filter((id) => !known.has(tokenizer.idToToken(id) ?? ''));
  const told = {
    bos: tokenizer.bosTokenId ?? bosTokenId,
    eos: end,
    eot: further[0],
    eom: further[1],
    unknown: tokenizer.unkTokenId,
    padding: tokenizer.padTokenId,
  };
  const lost = further.slice(2);
  return {
    metadata: Object.fromEntries(
      Object.entries(told).flatMap(([name, id]) =>
        id === undefined || id >= rows ? [] : [[`tokenizer.ggml.${name}_token_id`, uint32(id)]],
      ),
    ),
    warnings: [
      ...(end === undefined
        ? [
            warning('W_GGUF_TOKENIZER', 'no token ends a text here, and llama.cpp takes one that it is not told of', {
              field: 'eos_token',
              hint: 'name an eos_token in tokenizer_config.json',
            }),
          ]
        : []),
      ...(lost.length > 0
        ? [
            warning('W_GGUF_TOKENIZER', 'llama.cpp is told of three tokens that end a text, not of more', {
              field: 'eos_token_id',
              hint: `it goes on behind ${lost.map((id) => tokenizer.idToToken(id) ?? String(id)).join(', ')}`,
            }),
          ]
        : []),
    ],
  };
};

/**
 * The metadata of a tokenizer for a model: byte-level BPE with its merges, or SentencePiece's BPE with scores and bytes.
 * `E_GGUF_TOKENIZER` for one that llama.cpp would read otherwise, and warnings (`W_GGUF_TOKENIZER`) where it does so with few texts.
 */
export const ggufVocabulary = (tokenizer: Tokenizer, model: ModelTokens): E.Either<FatalError, GgufVocabulary> =>
  pipe(
    specOfFiles(tokenizer.files),
    E.flatMap((spec): Made => {
      const { type, byte_fallback: fallsBack } = spec.model;
      if (type !== 'BPE') return E.left(unsupportedTokenizer(`its model is ${String(type)}`, 'model.type', 'BPE'));
      const entries = entriesOf(spec, tokenizer, model.rows);
      const opens = opensNamed(entries.tokens, model.name);
      return pipe(
        fallsBack === true ? sentencePiece(spec, entries, model.architecture === 'gemma4') : byteLevel(spec, entries),
        E.map(({ metadata, warnings }) => ({
          metadata,
          warnings: [
            ...warnings,
            ...addedWarnings(spec, opens ? model.name : undefined),
            ...(opens
              ? []
              : [
                  warning('W_GGUF_NAME', 'llama.cpp does not open a file of this name without the tokens of Phi-3', {
                    field: 'name',
                    hint: 'it is written without one',
                  }),
                ]),
          ],
          named: opens,
        })),
      );
    }),
    E.map(({ metadata, warnings, named = true }) => {
      const tokens = special(tokenizer, model);
      return {
        metadata: {
          ...metadata,
          ...tokens.metadata,
          ...surrounds(tokenizer),
          ...(tokenizer.chatTemplate === undefined
            ? {}
            : { 'tokenizer.chat_template': string(tokenizer.chatTemplate.source) }),
        },
        warnings: [...warnings, ...tokens.warnings],
        named,
      };
    }),
  );
