/**
 * Tokens and their ids in a few flat arrays. A Map of as many strings takes several times the memory, and in every thread again:
 * these are shared.
 */
import { sharedMemory } from './sharedMemory.js';

export interface VocabularyTables {
  /** Of all tokens, end to end. */
  readonly units: Uint16Array;
  /** Where each token ends in `units`; the one before it ends where it begins. */
  readonly ends: Int32Array;
  readonly ids: Int32Array;
  /** Number of the token of each id, from 0; -1 where an id has none. */
  readonly byId: Int32Array;
  /** Open addressing by hash: number of a token + 1, 0 where there is none. Their count is a power of two. */
  readonly slots: Int32Array;
}

export interface Vocabulary {
  /** Different tokens. */
  readonly size: number;
  /** 0 where there is no token. */
  readonly largestId: number;
  readonly get: (token: string) => number | undefined;
  /** Of two tokens of one id the later one. */
  readonly tokenAt: (id: number) => string | undefined;
  /** Calls back with the units [from, to) and the id of each token, in their order. */
  readonly each: (visit: (units: Uint16Array, from: number, to: number, id: number) => void) => void;
  readonly tables: VocabularyTables;
}

const seed = 0x811c9dc5;

const hashed = (token: string): number => {
  let h = seed;
  for (let i = 0; i < token.length; i++) h = Math.imul(h ^ token.charCodeAt(i), 0x01000193);
  return h ^ (h >>> 15);
};

/** Units that one call may make a string of. */
const mostUnits = 4096;

const textOf = (units: Uint16Array, from: number, to: number): string => {
  let text = '';
  for (let at = from; at < to; at += mostUnits) {
    text += String.fromCharCode(...units.subarray(at, Math.min(to, at + mostUnits)));
  }
  return text;
};

/** The slot of a token, or the empty one where it would be. */
const slotOf = ({ units, ends, slots }: Omit<VocabularyTables, 'byId' | 'ids'>, token: string): number => {
  const mask = slots.length - 1;
  for (let slot = hashed(token) & mask; ; slot = (slot + 1) & mask) {
    const number = (slots[slot] ?? 0) - 1;
    if (number < 0) return slot;
    const from = number === 0 ? 0 : (ends[number - 1] ?? 0);
    if ((ends[number] ?? 0) - from !== token.length) continue;
    let i = 0;
    while (i < token.length && units[from + i] === token.charCodeAt(i)) i++;
    if (i === token.length) return slot;
  }
};

/** The vocabulary that the tables hold; whoever made them. */
export const vocabularyOf = (tables: VocabularyTables): Vocabulary => {
  const { units, ends, ids, byId, slots } = tables;
  /** Strings made so far, by id: texts are decoded of few tokens, again and again. */
  let texts: Array<string | undefined> | undefined;
  return {
    tables,
    size: ids.length,
    largestId: Math.max(0, byId.length - 1),
    get: (token) => {
      const number = slots[slotOf(tables, token)] ?? 0;
      return number === 0 ? undefined : ids[number - 1];
    },
    tokenAt: (id) => {
      const number = byId[id] ?? -1;
      if (number < 0) return undefined;
      texts ??= new Array<string | undefined>(byId.length).fill(undefined);
      return (texts[id] ??= textOf(units, number === 0 ? 0 : (ends[number - 1] ?? 0), ends[number] ?? 0));
    },
    each: (visit) => {
      let from = 0;
      for (let number = 0; number < ids.length; number++) {
        const to = ends[number] ?? 0;
        visit(units, from, to, ids[number] ?? 0);
        from = to;
      }
    },
  };
};

/** `idOf(i)` is the id of token i. Of two equal tokens the first keeps its place, and has the id of the last. */
export const makeVocabulary = (tokens: ReadonlyArray<string>, idOf: (index: number) => number): Vocabulary => {
  let length = 0;
  for (const token of tokens) length += token.length;
  let size = 16;
  while (size < tokens.length * 2) size *= 2;
  const units = new Uint16Array(sharedMemory(2 * length));
  const slots = new Int32Array(sharedMemory(4 * size));
  const ends = new Int32Array(sharedMemory(4 * tokens.length));
  const ids = new Int32Array(sharedMemory(4 * tokens.length));
  let count = 0;
  let end = 0;
  let largest = -1;
  tokens.forEach((token, index) => {
    const id = idOf(index);
    largest = Math.max(largest, id);
    const slot = slotOf({ units, ends, slots }, token);
    const known = slots[slot] ?? 0;
    if (known !== 0) {
      ids[known - 1] = id;
      return;
    }
    for (let i = 0; i < token.length; i++) units[end + i] = token.charCodeAt(i);
    end += token.length;
    ends[count] = end;
    ids[count] = id;
    slots[slot] = ++count;
  });
  const byId = new Int32Array(sharedMemory(4 * (largest + 1))).fill(-1);
  for (let number = 0; number < count; number++) byId[ids[number] ?? 0] = number;
  return vocabularyOf({ units, slots, byId, ends: ends.subarray(0, count), ids: ids.subarray(0, count) });
};
