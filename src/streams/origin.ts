/**
 * Which record of the source a record was made from, so that a refusal deep in a pipeline names the row of the data set. Kept
 * beside the records, never in them; `filter` and other operators that hand the same object on keep it.
 */
const origins = new WeakMap<object, number>();

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

export const setOrigin = (record: unknown, index: number): void => {
  if (isObject(record)) origins.set(record, index);
};

/** 0-based position in the source; undefined where nothing set it (primitives, rows merged from several). */
export const originOf = (record: unknown): number | undefined => (isObject(record) ? origins.get(record) : undefined);
