import type { Place } from '../errors.js';

/**
 * Which record of the source a record was made from, so that a refusal deep in a pipeline names the row of the data set. Between
 * `pull` and the slow end all is synchronous, so it is enough to remember the record handed on last: who receives that very
 * object knows where it came from, `filter` and its like in between or not. (A WeakMap would cost 10 µs a row.)
 */
let last: unknown;
let lastIndex = 0;
let lastPlace: Place | undefined;

/** This record, from position `index` of the source and perhaps a known place in a file, is about to be handed on. */
export const setOrigin = (record: unknown, index: number, place?: Place): void => {
  last = record;
  lastIndex = index;
  lastPlace = place;
};

/** What is handed on next was merged or reordered, and comes from no one place. */
export const forgetOrigin = (): void => {
  last = undefined;
};

const isLast = (record: unknown): boolean => typeof record === 'object' && record !== null && record === last;

/** 0-based position in the source; undefined where it is not known, as for primitives. */
export const originOf = (record: unknown): number | undefined => (isLast(record) ? lastIndex : undefined);

/** The file and line it came from, where that is known. */
export const placeOfOrigin = (record: unknown): Place | undefined => (isLast(record) ? lastPlace : undefined);
