/** Files of a tokenizer → TokenizerSpec, with the precedences that transformers has. */
import { type Either, isLeft, left, right } from 'fp-ts/lib/Either.js';
import { type FatalError, fatal } from '../../errors.js';
import { excerptAt, jsonFault, lineAndColumn } from '../json/jsonFault.js';
import { fieldsOf, isJsonRecord } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import type { AddedToken } from './addedTokens.js';
import type { TokenizerSpec } from './spec.js';
import { isTokenId } from './tokenId.js';

export interface TokenizerSources {
  /** tokenizer.json, parsed. */
  readonly tokenizer: unknown;
  /** tokenizer_config.json, parsed. */
  readonly config?: unknown;
  /** special_tokens_map.json, parsed. */
  readonly specialTokensMap?: unknown;
  /** added_tokens.json, parsed. */
  readonly addedTokens?: unknown;
}

const invalid = (file: string, message: string, field?: string): FatalError =>
  fatal('E_TOKENIZER_INVALID', message, { file, ...(field === undefined ? {} : { field }) });

/** A special token is written as a string or as an object with `content`. */
const contentOf = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value === '' ? undefined : value;
  const content = fieldsOf(value)['content'];
  return typeof content === 'string' && content !== '' ? content : undefined;
};

const addedToken = (fields: JsonRecord, id: number): AddedToken | undefined => {
  const content = contentOf(fields);
  if (content === undefined) return undefined;
  const special = fields['special'] === true;
  return {
    id,
    content,
    special,
    singleWord: fields['single_word'] === true,
    lstrip: fields['lstrip'] === true,
    rstrip: fields['rstrip'] === true,
    normalized: typeof fields['normalized'] === 'boolean' ? fields['normalized'] : !special,
  };
};

const plainToken = (content: string, id: number, special: boolean): AddedToken => ({
  id,
  content,
  special,
  singleWord: false,
  lstrip: false,
  rstrip: false,
  normalized: !special,
});

/** Ids of the base vocabulary, without copying it. */
const baseVocabulary = (model: JsonRecord): { idOf: (token: string) => number | undefined; size: number } => {
  const { vocab } = model;
  if (Array.isArray(vocab)) {
    const ids = new Map<unknown, number>(
      (vocab as ReadonlyArray<unknown>).map((entry, id) => [Array.isArray(entry) ? entry[0] : undefined, id]),
    );
    return { idOf: (token) => ids.get(token), size: vocab.length };
  }
  const table = fieldsOf(vocab);
  return {
    idOf: (token) => {
      const id = Object.hasOwn(table, token) ? table[token] : undefined;
      return typeof id === 'number' ? id : undefined;
    },
    size: Object.keys(table).length,
  };
};

const namedTokens = (config: JsonRecord, map: JsonRecord): Readonly<Record<string, string>> => {
  // Files from before `added_tokens_decoder` keep the truth in special_tokens_map.json.
  const [weak, strong] = 'added_tokens_decoder' in config ? [map, config] : [config, map];
  const names: Record<string, string> = {};
  for (const source of [weak, strong]) {
    for (const [name, value] of Object.entries(source)) {
      if (!name.endsWith('_token')) continue;
      const content = contentOf(value);
      if (content !== undefined) names[name] = content;
    }
  }
  return names;
};

const listedTokens = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : []);

/** Whether tokenizer_config.json says what stands around a text, by the names of special tokens, as Llama's tokenizers do. */
export const surroundedByNames = (config: JsonRecord, postProcessor: unknown): boolean => {
  const kind = config['tokenizer_class'];
  if (typeof kind !== 'string' || !/^(?:Code)?(?:Llama|Gemma)Tokenizer(?:Fast)?$/.test(kind)) return false;
  if (postProcessor !== null && fieldsOf(postProcessor)['type'] !== 'TemplateProcessing') return false;
  return typeof config['add_bos_token'] === 'boolean' && typeof config['add_eos_token'] === 'boolean';
};

/** Where a Llama tokenizer says itself what stands around a text, that holds, whatever tokenizer.json says. */
const llamaSurround = (
  config: JsonRecord,
  names: Readonly<Record<string, string>>,
  idOf: (token: string) => number | undefined,
  original: unknown,
): unknown => {
  if (!surroundedByNames(config, original)) return original;
  const { add_bos_token: addBos, add_eos_token: addEos } = config;
  const item = (name: string): ReadonlyArray<unknown> | undefined => {
    const token = names[name];
    return token === undefined || idOf(token) === undefined ? undefined : [{ SpecialToken: { id: token, type_id: 0 } }];
  };
  const bos = addBos === true ? item('bos_token') : [];
  const eos = addEos === true ? item('eos_token') : [];
  if (bos === undefined || eos === undefined) return original;
  return { type: 'TemplateProcessing', single: [...bos, { Sequence: { id: 'A', type_id: 0 } }, ...eos] };
};

/** transformers sets a `ByteLevel` pre-tokeniser's `add_prefix_space` to what tokenizer_config.json says. */
const withPrefixSpace = (preTokenizer: unknown, config: JsonRecord): unknown =>
  typeof config['add_prefix_space'] === 'boolean' && fieldsOf(preTokenizer)['type'] === 'ByteLevel'
    ? { ...fieldsOf(preTokenizer), add_prefix_space: config['add_prefix_space'] }
    : preTokenizer;

/** The spec, or E_TOKENIZER_INVALID. */
export const specOf = (sources: TokenizerSources): Either<FatalError, TokenizerSpec> => {
  const { tokenizer } = sources;
  if (!isJsonRecord(tokenizer)) return left(invalid('tokenizer.json', 'the file does not hold an object'));
  const model = tokenizer['model'];
  if (!isJsonRecord(model)) return left(invalid('tokenizer.json', 'the model is missing', 'model'));
  if (sources.config !== undefined && !isJsonRecord(sources.config)) {
    return left(invalid('tokenizer_config.json', 'the file does not hold an object'));
  }
  const config = fieldsOf(sources.config);
  const map = fieldsOf(sources.specialTokensMap);
  const base = baseVocabulary(model);
  const byContent = new Map<string, AddedToken>();
  let next = base.size;
  const add = (token: AddedToken): void => {
    byContent.set(token.content, token);
    next = Math.max(next, token.id + 1);
  };
  const idFor = (content: string): number => byContent.get(content)?.id ?? base.idOf(content) ?? next;

  const listed = tokenizer['added_tokens'];
  if (listed !== undefined && listed !== null && !Array.isArray(listed)) {
    return left(invalid('tokenizer.json', 'the added tokens are not a list', 'added_tokens'));
  }
  for (const entry of listedTokens(listed)) {
    const id = fieldsOf(entry)['id'];
    const token = isTokenId(id) ? addedToken(fieldsOf(entry), id) : undefined;
    if (token === undefined) {
      return left(invalid('tokenizer.json', 'an added token lacks its id or content', 'added_tokens'));
    }
    add(token);
  }
  const names = namedTokens(config, map);
  const decoderTable = config['added_tokens_decoder'];
  if (isJsonRecord(decoderTable)) {
    for (const [key, entry] of Object.entries(decoderTable).sort(([a], [b]) => Number(a) - Number(b))) {
      const content = contentOf(entry);
      if (content === undefined || !/^\d+$/.test(key)) continue;
      const known = byContent.get(content)?.id ?? base.idOf(content);
      const token = addedToken(fieldsOf(entry), known ?? Number(key));
      if (token !== undefined) add(token);
    }
  } else {
    const special = new Set(Object.values(names));
    for (const [content, id] of Object.entries(fieldsOf(sources.addedTokens))) {
      if (!isTokenId(id) || byContent.has(content) || content === '') continue;
      add(plainToken(content, id, special.has(content)));
    }
  }
  const specials = [
    ...Object.entries(names).map(([name, content]) => ({ content, entry: config[name] ?? map[name] })),
    ...[
      ...listedTokens(config['additional_special_tokens']),
      ...listedTokens(map['additional_special_tokens']),
    ].flatMap((entry) => {
      const content = contentOf(entry);
      return content === undefined ? [] : [{ content, entry }];
    }),
  ];
  for (const { content, entry } of specials) {
    if (byContent.has(content)) continue;
    const id = idFor(content);
    add(addedToken({ ...fieldsOf(entry), content, special: true }, id) ?? plainToken(content, id, true));
  }
  const idOf = (content: string): number | undefined => byContent.get(content)?.id ?? base.idOf(content);
  return right({
    normalizer: tokenizer['normalizer'] ?? null,
    preTokenizer: withPrefixSpace(tokenizer['pre_tokenizer'] ?? null, config),
    postProcessor: llamaSurround(config, names, idOf, tokenizer['post_processor'] ?? null),
    decoder: tokenizer['decoder'] ?? null,
    model,
    addedTokens: [...byContent.values()].sort((a, b) => a.id - b.id),
    specialTokens: names,
    config,
  });
};

const qwen2Pattern = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false } as const;

/**
 * tokenizer.json of a vocab.json / merges.txt pair: what transformers' converters make of the GPT-2, RoBERTa and Qwen2
 * tokenizer classes.
 */
export const tokenizerOfPair = (
  vocab: unknown,
  mergesText: string,
  config: unknown,
  specialTokensMap: unknown,
): Either<FatalError, JsonRecord> => {
  if (!isJsonRecord(vocab)) return left(invalid('vocab.json', 'the file does not hold a table of token ids'));
  const merges = mergesText
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => line !== '' && !line.startsWith('#version'));
  if (merges.some((line) => line.split(' ').length !== 2)) {
    return left(invalid('merges.txt', 'a line does not hold two tokens with one blank between them'));
  }
  const options = fieldsOf(config);
  const names = namedTokens(options, fieldsOf(specialTokensMap));
  const kind = typeof options['tokenizer_class'] === 'string' ? options['tokenizer_class'] : '';
  const qwen = kind.startsWith('Qwen');
  const roberta = /^(?:Roberta|Bart|Longformer|LED|Blenderbot)/.test(kind);
  const prefixSpace = options['add_prefix_space'] === true;
  const special = (name: string, fallback: string): [string, number] => {
    const token = names[name] ?? fallback;
    const id = Object.hasOwn(vocab, token) ? vocab[token] : undefined;
    return [token, typeof id === 'number' ? id : 0];
  };
  const postProcessor = (): unknown => {
    if (roberta)
      return {
        type: 'RobertaProcessing',
        cls: special('cls_token', '<s>'),
        sep: special('sep_token', '</s>'),
        trim_offsets: true,
        add_prefix_space: prefixSpace,
      };
    const bos = names['bos_token'];
    if (options['add_bos_token'] !== true || bos === undefined) return bytes;
    return {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: bos, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      // The tokenizers library refuses a template whose tokens it does not list.
      special_tokens: { [bos]: { id: bos, ids: [special('bos_token', bos)[1]], tokens: [bos] } },
    };
  };
  return right({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: qwen ? { type: 'NFC' } : null,
    pre_tokenizer: qwen
      ? {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: qwen2Pattern }, behavior: 'Isolated', invert: false },
            bytes,
          ],
        }
      : { ...bytes, add_prefix_space: prefixSpace, use_regex: true },
    post_processor: postProcessor(),
    decoder: { ...bytes, add_prefix_space: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  });
};

/** Parses one of the files; E_TOKENIZER_INVALID names it and the place of the fault. */
export const parseJson = (file: string, text: string): Either<FatalError, unknown> => {
  const json = text.startsWith('\ufeff') ? text.slice(1) : text;
  try {
    return right(JSON.parse(json) as unknown);
  } catch (cause) {
    const { position, message } = jsonFault(json) ?? { position: 0, message: 'not JSON' };
    const { line, column } = lineAndColumn(json, position);
    return left(
      fatal('E_TOKENIZER_INVALID', `the file is not JSON: ${message} (column ${column})`, {
        file,
        line,
        cause,
        actual: excerptAt(json, position),
      }),
    );
  }
};

/** All files of a directory, by name, put into one form. */
export const specOfFiles = (files: Readonly<Record<string, string>>): Either<FatalError, TokenizerSpec> => {
  const parsed: Record<string, unknown> = {};
  for (const name of [
    'tokenizer.json',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'added_tokens.json',
    'vocab.json',
  ]) {
    const text = files[name];
    if (text === undefined || (name === 'vocab.json' && files['tokenizer.json'] !== undefined)) continue;
    const value = parseJson(name, text);
    if (isLeft(value)) return value;
    parsed[name] = value.right;
  }
  let tokenizer = parsed['tokenizer.json'];
  if (tokenizer === undefined) {
    const merges = files['merges.txt'];
    if (parsed['vocab.json'] === undefined || merges === undefined) {
      return left(
        fatal('E_TOKENIZER_MISSING', 'there is no tokenizer here', {
          expected: 'tokenizer.json, or vocab.json with merges.txt',
          actual: Object.keys(files).join(', ') || 'none of its files',
          hint: 'a tokenizer.model alone must be converted: AutoTokenizer.from_pretrained(…).save_pretrained(…) in Python',
        }),
      );
    }
    const pair = tokenizerOfPair(
      parsed['vocab.json'],
      merges,
      parsed['tokenizer_config.json'],
      parsed['special_tokens_map.json'],
    );
    if (isLeft(pair)) return pair;
    tokenizer = pair.right;
  }
  return specOf({
    tokenizer,
    config: parsed['tokenizer_config.json'],
    specialTokensMap: parsed['special_tokens_map.json'],
    addedTokens: parsed['added_tokens.json'],
  });
};
