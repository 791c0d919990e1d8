/** The tokens that stand beside the model's vocabulary, gathered from the files that may name them. */
import { type Either, left, right } from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { fieldsOf, isJsonRecord } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import type { AddedToken } from './addedTokens.js';
import type { BaseVocabulary } from './baseVocabulary.js';
import { invalidTokenizer } from './invalidTokenizer.js';
import { contentOf } from './namedTokens.js';
import { isTokenId } from './tokenId.js';

/** Where they are named. */
export interface AddedTokenSources {
  /** `added_tokens` of tokenizer.json. */
  readonly listed: unknown;
  /** tokenizer_config.json. */
  readonly config: JsonRecord;
  /** special_tokens_map.json. */
  readonly map: JsonRecord;
  /** added_tokens.json. */
  readonly table: JsonRecord;
}

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

const listedTokens = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : []);

type Tokens = ReadonlyMap<string, AddedToken>;

const malformed = (message: string): FatalError => invalidTokenizer('tokenizer.json', message, 'added_tokens');

/** Those of tokenizer.json itself. */
const listedIn = (listed: unknown): Either<FatalError, ReadonlyArray<AddedToken>> => {
  if (listed !== undefined && listed !== null && !Array.isArray(listed))
    return left(malformed('the added tokens are not a list'));
  const tokens: Array<AddedToken> = [];
  for (const entry of listedTokens(listed)) {
    const id = fieldsOf(entry)['id'];
    const token = isTokenId(id) ? addedToken(fieldsOf(entry), id) : undefined;
    if (token === undefined) return left(malformed('an added token lacks its id or content'));
    tokens.push(token);
  }
  return right(tokens);
};

/**
 * Those of `added_tokens_decoder`, or of added_tokens.json where that is not there. A token that is known by then, to which those before it
 * have been added, keeps its id.
 */
function* tabled(
  { config, table }: AddedTokenSources,
  names: Readonly<Record<string, string>>,
  known: Tokens,
  base: BaseVocabulary,
): Generator<AddedToken> {
  const decoder = config['added_tokens_decoder'];
  if (!isJsonRecord(decoder)) {
    const special = new Set(Object.values(names));
    for (const [content, id] of Object.entries(table))
      if (isTokenId(id) && !known.has(content) && content !== '') yield plainToken(content, id, special.has(content));
    return;
  }
  for (const [key, entry] of Object.entries(decoder).sort(([a], [b]) => Number(a) - Number(b))) {
    const content = contentOf(entry);
    if (content === undefined || !/^\d+$/.test(key)) continue;
    const token = addedToken(fieldsOf(entry), known.get(content)?.id ?? base.idOf(content) ?? Number(key));
    if (token !== undefined) yield token;
  }
}

interface Special {
  readonly content: string;
  /** As a file writes it. */
  readonly entry: unknown;
}

/** Those that have names, or are listed as special besides. */
const specialTokens = (
  { config, map }: AddedTokenSources,
  names: Readonly<Record<string, string>>,
): ReadonlyArray<Special> => [
  ...Object.entries(names).map(([name, content]) => ({ content, entry: config[name] ?? map[name] })),
  ...[...listedTokens(config['additional_special_tokens']), ...listedTokens(map['additional_special_tokens'])].flatMap(
    (entry) => {
      const content = contentOf(entry);
      return content === undefined ? [] : [{ content, entry }];
    },
  ),
];

/** By content. What is special and has no id yet gets that of the base vocabulary, or the next behind all. `E_TOKENIZER_INVALID`. */
export const addedTokensOfFiles = (
  sources: AddedTokenSources,
  names: Readonly<Record<string, string>>,
  base: BaseVocabulary,
): Either<FatalError, Tokens> => {
  const listed = listedIn(sources.listed);
  if (listed._tag === 'Left') return listed;
  const byContent = new Map<string, AddedToken>();
  let next = base.size;
  const add = (token: AddedToken): void => {
    byContent.set(token.content, token);
    next = Math.max(next, token.id + 1);
  };
  listed.right.forEach(add);
  for (const token of tabled(sources, names, byContent, base)) add(token);
  for (const { content, entry } of specialTokens(sources, names)) {
    if (byContent.has(content)) continue;
    const id = base.idOf(content) ?? next;
    add(addedToken({ ...fieldsOf(entry), content, special: true }, id) ?? plainToken(content, id, true));
  }
  return right(byContent);
};
