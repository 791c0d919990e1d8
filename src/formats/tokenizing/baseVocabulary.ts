import { fieldsOf } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';

/** The vocabulary of a tokenizer's model, before any token was added to it. */
export interface BaseVocabulary {
  readonly idOf: (token: string) => number | undefined;
  readonly size: number;
}

/** Ids of the base vocabulary, without copying it. */
export const baseVocabulary = (model: JsonRecord): BaseVocabulary => {
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
