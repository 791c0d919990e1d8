/**
 * Which record of the source a record was made from, so that a refusal deep in a pipeline names the row of the data set. Between
 * `pull` and the slow end all is synchronous, so it is enough to remember the record handed on last: who receives that very
 * object knows where it came from, `filter` and its like in between or not. (A WeakMap would cost 10 µs a row.)
 */
let last: unknown;
let lastIndex = 0;

/** This record, from position `index` of the source, is about to be handed on. */
export const setOrigin = (record: unknown, index: number): void => {
  last = record;
  lastIndex = index;
};

/** What is handed on next was merged or reordered, and comes from no one place. */
export const forgetOrigin = (): void => {
  last = undefined;
};

/** 0-based position in the source; undefined where it is not known, as for primitives. */
export const originOf = (record: unknown): number | undefined =>
  typeof record === 'object' && record !== null && record === last ? lastIndex : undefined;
