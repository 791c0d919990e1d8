/** Files of a tokenizer → TokenizerSpec, with the precedences that transformers has. */
import { type Either, isLeft, left, right } from 'fp-ts/lib/Either.js';
import { type FatalError, fatal } from '../../errors.js';
import { excerptAt, jsonFault, lineAndColumn } from '../json/jsonFault.js';
import { fieldsOf, isJsonRecord } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import { addedTokensOfFiles } from './addedTokensOfFiles.js';
import { baseVocabulary } from './baseVocabulary.js';
import { invalidTokenizer } from './invalidTokenizer.js';
import { namedTokens } from './namedTokens.js';
import type { TokenizerSpec } from './spec.js';
import { tokenizerOfPair } from './tokenizerOfPair.js';

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
  if (!isJsonRecord(tokenizer)) return left(invalidTokenizer('tokenizer.json', 'the file does not hold an object'));
  const model = tokenizer['model'];
  if (!isJsonRecord(model)) return left(invalidTokenizer('tokenizer.json', 'the model is missing', 'model'));
  if (sources.config !== undefined && !isJsonRecord(sources.config)) {
    return left(invalidTokenizer('tokenizer_config.json', 'the file does not hold an object'));
  }
  const config = fieldsOf(sources.config);
  const map = fieldsOf(sources.specialTokensMap);
  const base = baseVocabulary(model);
  const names = namedTokens(config, map);
  const added = addedTokensOfFiles(
    { listed: tokenizer['added_tokens'], config, map, table: fieldsOf(sources.addedTokens) },
    names,
    base,
  );
  if (isLeft(added)) return added;
  const byContent = added.right;
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
