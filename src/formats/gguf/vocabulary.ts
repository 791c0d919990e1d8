/** A tokenizer as llama.cpp reads it from a GGUF file. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { fieldsOf } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import type { TokenizerSpec } from '../tokenizing/spec.js';
import { specOfFiles } from '../tokenizing/specOf.js';
import type { Tokenizer } from '../tokenizing/tokenizer.js';
import { bool, float32s, int32s, string, strings, uint32 } from './values.js';
import type { GgufMetadata } from './values.js';

const listOf = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : []);

/** llama.cpp's kinds of tokens. */
const kinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const unsupported = (what: string, field: string, expected: string): FatalError =>
  fatal('E_GGUF_TOKENIZER', `llama.cpp has no tokenizer that works like this one: ${what}`, {
    file: 'tokenizer.json',
    field,
    expected,
  });

/** The parts of a pre-tokenizer, one after another. */
const stepsOf = (preTokenizer: unknown): ReadonlyArray<JsonRecord> => {
  const fields = fieldsOf(preTokenizer);
  return fields['type'] === 'Sequence'
    ? listOf(fields['pretokenizers']).flatMap(stepsOf)
    : 'type' in fields
      ? [fields]
      : [];
};

const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const words = `${contraction}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+`;
const ends = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const rest = ` ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${ends}`;

/** Words of small letters behind large ones, and of large ones before small ones, each with what `behind` lets follow. */
const byCase = (behind: string): string => {
  const [large, small] = ['[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]', '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'];
  const word = (letters: string): string => `[^\\r\\n\\p{L}\\p{N}]?${letters}${behind}`;
  return `${word(`${large}*${small}+`)}|${word(`${large}+${small}*`)}`;
};

const restWithSlash = ` ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${ends}`;

/** Regular expressions that cut a text into words, one after the other, and llama.cpp's name for who cuts so. */
const knownPatterns: ReadonlyMap<string, string> = new Map(
  (
    [
      ['llama-bpe', `${words}|\\p{N}{1,3}|${rest}`],
      ['qwen2', `${words}|\\p{N}|${rest}`],
      [
        'qwen35',
        `${contraction}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${ends}`,
      ],
      ['tekken', `${byCase('')}|\\p{N}|${restWithSlash}`],
      ['gpt-4o', `${byCase(`${contraction}?`)}|\\p{N}{1,3}|${restWithSlash}`],
      [
        'deepseek-v3',
        '\\p{N}{1,3}',
        '[一-龥぀-ゟ゠-ヿ]+',
        '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|' +
          ends,
      ],
    ] as const
  ).map(([name, ...patterns]) => [patterns.join('\n'), name]),
);

/** Ends of lines as expressions write them: some files have the characters themselves. */
const written = (pattern: string): string => pattern.replaceAll('\r', '\\r').replaceAll('\n', '\\n');

/** Falcon cuts at punctuation, then as GPT-2 does, then digits from letters and by threes. */
const cutsAsFalcon = (steps: ReadonlyArray<JsonRecord>): boolean => {
  const [marks, bytes, digits, threes, ...others] = steps;
  return (
    others.length === 0 &&
    marks?.['type'] === 'Punctuation' &&
    marks['behavior'] === 'Contiguous' &&
    bytes?.['type'] === 'ByteLevel' &&
    bytes['add_prefix_space'] !== true &&
    bytes['use_regex'] !== false &&
    digits?.['type'] === 'Digits' &&
    digits['individual_digits'] !== true &&
    threes?.['type'] === 'Split' &&
    fieldsOf(threes['pattern'])['Regex'] === '[0-9][0-9][0-9]'
  );
};

/** llama.cpp's name of the rule by which a text is cut before merging; undefined for a rule that it has not. */
export const preTokenizerName = (preTokenizer: unknown): string | undefined => {
  const steps = stepsOf(preTokenizer);
  if (cutsAsFalcon(steps)) return 'falcon';
  const last = steps.at(-1);
  if (last?.['type'] !== 'ByteLevel' || last['add_prefix_space'] === true) return undefined;
  const cutsItself = last['use_regex'] !== false;
  const before = steps.slice(0, -1);
  const patterns = before.flatMap(({ type, pattern }) =>
    type === 'Split' ? [String(fieldsOf(pattern)['Regex'] ?? fieldsOf(pattern)['String'])] : [],
  );
  if (before.length === 0) return cutsItself ? 'gpt-2' : undefined;
  if (cutsItself && before.length === 1 && before[0]?.['type'] === 'Digits' && before[0]['individual_digits'] === true)
    return 'smollm';
  if (cutsItself) return undefined;
  const known = patterns.length === before.length ? knownPatterns.get(patterns.map(written).join('\n')) : undefined;
  if (known !== undefined) return known;
  // DeepSeek-LLM cuts by a sequence of which one step knows the Chinese, Japanese and Korean letters.
  return patterns.includes('[一-龥ࠀ-一가-퟿]+') && before.some(({ type }) => type === 'Digits')
    ? 'deepseek-llm'
    : undefined;
};

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

/** Byte-level BPE: GPT-2, Llama 3, Qwen, DeepSeek. */
const byteLevel = (spec: TokenizerSpec, { tokens, kinds: types }: Entries): E.Either<FatalError, GgufMetadata> => {
  const name = preTokenizerName(spec.preTokenizer);
  return name === undefined
    ? E.left(
        unsupported(
          'its words are cut in an unknown way',
          'pre_tokenizer',
          "GPT-2's, GPT-4o's, Llama 3's, Qwen's, SmolLM's, Falcon's, Mistral's or DeepSeek's",
        ),
      )
    : E.right({
        'tokenizer.ggml.model': string('gpt2'),
        'tokenizer.ggml.pre': string(name),
        'tokenizer.ggml.tokens': strings(tokens),
        'tokenizer.ggml.token_type': int32s(types),
        'tokenizer.ggml.merges': strings(mergesOf(spec.model).map(([a, b]) => `${a} ${b}`)),
      });
};

/** Whether a blank is put before a text. */
const addsBlank = ({ normalizer, preTokenizer }: TokenizerSpec): boolean => {
  const normalizers = [fieldsOf(normalizer), ...listOf(fieldsOf(normalizer)['normalizers']).map(fieldsOf)];
  if (normalizers.some(({ type, prepend }) => type === 'Prepend' && prepend === '▁')) return true;
  return stepsOf(preTokenizer).some(
    (step) =>
      step['type'] === 'Metaspace' &&
      (step['prepend_scheme'] ?? (step['add_prefix_space'] === false ? 'never' : 'always')) !== 'never',
  );
};

/** SentencePiece's BPE with bytes to fall back on: Llama 2, Mistral, Gemma. Earlier merges score higher. */
const sentencePiece = (spec: TokenizerSpec, { tokens, kinds: types }: Entries): GgufMetadata => {
  const merges = mergesOf(spec.model);
  const ranks = new Map<string, number>();
  merges.forEach(([a, b], rank) => {
    const token = a + b;
    if (!ranks.has(token)) ranks.set(token, rank);
  });
  const scores = tokens.map((token, id) => (types[id] === kinds.normal ? -(ranks.get(token) ?? merges.length) : 0));
  return {
    'tokenizer.ggml.model': string('llama'),
    'tokenizer.ggml.pre': string('default'),
    'tokenizer.ggml.tokens': strings(tokens),
    'tokenizer.ggml.scores': float32s(scores),
    'tokenizer.ggml.token_type': int32s(types),
    'tokenizer.ggml.add_space_prefix': bool(addsBlank(spec)),
  };
};

const idOf = (name: string, id: number | undefined): GgufMetadata =>
  id === undefined ? {} : { [`tokenizer.ggml.${name}_token_id`]: uint32(id) };

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

/**
 * The metadata of a tokenizer for a model of `rows` token rows: byte-level BPE with its merges, or SentencePiece's BPE with scores
 * and bytes. `E_GGUF_TOKENIZER` for one that llama.cpp would read otherwise.
 */
export const ggufVocabulary = (tokenizer: Tokenizer, rows: number): E.Either<FatalError, GgufMetadata> =>
  pipe(
    specOfFiles(tokenizer.files),
    E.flatMap((spec) => {
      const { type, byte_fallback: fallsBack } = spec.model;
      if (type !== 'BPE') return E.left(unsupported(`its model is ${String(type)}`, 'model.type', 'BPE'));
      const entries = entriesOf(spec, tokenizer, rows);
      return fallsBack === true ? E.right(sentencePiece(spec, entries)) : byteLevel(spec, entries);
    }),
    E.map((vocabulary) => ({
      ...vocabulary,
      ...idOf('bos', tokenizer.bosTokenId),
      ...idOf('eos', tokenizer.eosTokenId),
      ...idOf('unknown', tokenizer.unkTokenId),
      ...idOf('padding', tokenizer.padTokenId),
      ...surrounds(tokenizer),
      ...(tokenizer.chatTemplate === undefined
        ? {}
        : { 'tokenizer.chat_template': string(tokenizer.chatTemplate.source) }),
    })),
  );
