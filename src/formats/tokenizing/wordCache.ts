import type { IdBuffer } from './idBuffer.js';

/** Words longer than this are rare and cost more memory than time. */
const longest = 64;
/** Enough for the vocabulary of a data set in one language; memory stays below some 20 MB. */
const capacity = 1 << 17;
/** V8 keeps slices of this length and more as views of their parent, which would keep whole documents alive. */
const viewLength = 13;

export interface WordCache {
  /** Pushes the ids of the word if they are known; false otherwise. */
  readonly push: (word: string, out: IdBuffer) => boolean;
  readonly store: (word: string, ids: Int32Array, count: number) => void;
}

/** Word → ids. A plain Map that is cleared when full: half the time of a cache that reorders on each hit. */
export const makeWordCache = (): WordCache => {
  const known = new Map<string, number | Int32Array>();
  return {
    push: (word, out) => {
      const ids = known.get(word);
      if (ids === undefined) return false;
      if (typeof ids === 'number') out.push(ids);
      else out.pushAll(ids);
      return true;
    },
    store: (word, ids, count) => {
      if (word.length > longest) return;
      if (known.size >= capacity) known.clear();
      const key = word.length < viewLength ? word : Buffer.from(word, 'utf16le').toString('utf16le');
      known.set(key, count === 1 ? (ids[0] ?? 0) : ids.slice(0, count));
    },
  };
};
