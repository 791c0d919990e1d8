/** Which ids a tokenizer gives: the texts it was made from, and whatever was changed in it since. */
import { identityOf } from '../identity.js';
import type { Tokenizer } from './tokenizer.js';

/**
 * How each field is known: `made` by this library from files, as all of one tokenizer's are; a `template` known for itself; a `plain`
 * value. `unused`: nothing reads it to prepare a row.
 */
const kinds: { readonly [K in keyof Required<Tokenizer>]: 'made' | 'template' | 'plain' | 'unused' } = {
  encode: 'made',
  encodeWithOffsets: 'made',
  decode: 'made',
  tokenToId: 'made',
  idToToken: 'made',
  vocabSize: 'plain',
  bosTokenId: 'plain',
  eosTokenId: 'plain',
  padTokenId: 'plain',
  unkTokenId: 'plain',
  bosToken: 'plain',
  eosToken: 'plain',
  padToken: 'plain',
  unkToken: 'plain',
  modelMaxLength: 'plain',
  paddingSide: 'plain',
  truncationSide: 'plain',
  chatTemplate: 'template',
  path: 'plain',
  files: 'unused',
};

const fields = Object.entries(kinds) as ReadonlyArray<readonly [keyof Tokenizer, (typeof kinds)[keyof Tokenizer]]>;

/** Undefined where a function or template of it is not one that this library made of files, or where its template reads the clock. */
export const identityOfTokenizer = async (
  tokenizer: Tokenizer,
): Promise<Readonly<Record<string, unknown>> | undefined> => {
  const told: Record<string, unknown> = {};
  for (const [name, kind] of fields) {
    const value: unknown = tokenizer[name];
    if (kind === 'unused' || value === undefined) continue;
    if (kind === 'plain') {
      told[name] = value;
      continue;
    }
    const identity = value !== null && /^(object|function)$/.test(typeof value) ? await identityOf(value) : undefined;
    if (identity === undefined) return undefined;
    told[name] = identity.told;
  }
  return told;
};
