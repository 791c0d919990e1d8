/**
 * Rows are aligned columns: every typed array of a row that is as long as `inputIds` is one, whatever its name, so that columns
 * of your own are cut and joined with the rest.
 */
import { ignoreIndex } from '../records.js';
import type { Row, Tokenized } from '../records.js';

export type Column =
  | Int32Array
  | Uint8Array
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array;

const isColumn = (value: unknown, length: number): value is Column =>
  // Not instanceof: arrays from a worker may belong to another realm.
  ArrayBuffer.isView(value) && 'length' in value && value.length === length;

/** The columns of a row by name, `inputIds` among them. */
export const columnsOf = (row: Row): ReadonlyArray<readonly [string, Column]> =>
  Object.entries(row).filter((entry): entry is [string, Column] => isColumn(entry[1], row.inputIds.length));

/** Document lengths of the part [start, end) of a row. */
const cutLengths = (lengths: ReadonlyArray<number>, start: number, end: number): ReadonlyArray<number> => {
  const cut: Array<number> = [];
  let from = 0;
  for (const length of lengths) {
    const inside = Math.min(from + length, end) - Math.max(from, start);
    if (inside > 0) cut.push(inside);
    from += length;
  }
  return cut;
};

/** Tokens start … end - 1 of a row, every column cut alike. */
export const sliceRow = <A extends Row>(row: A, start: number, end: number): A => ({
  ...row,
  ...Object.fromEntries(columnsOf(row).map(([name, column]) => [name, column.slice(start, end)])),
  seqLengths: cutLengths(row.seqLengths, start, end),
});

type Fill = (row: Row & Partial<Tokenized>) => number | Int32Array;

/** What a column that a row lacks means: no border, so all of it may train; no conversation, so nothing is the assistant's. */
const missing: Readonly<Partial<Record<string, Fill>>> = {
  completionMask: () => 1,
  assistantMask: (row) => (row.givenLabels === undefined ? 0 : 1),
  givenLabels: (row) => row.inputIds,
  lossWeights: () => 1,
  labels: () => ignoreIndex,
};

const emptyLike = (column: Column, length: number): Column => {
  const make = column.constructor as new (length: number) => Column;
  return new make(length);
};

/** One or more rows laid end to end, documents kept apart in `seqLengths`. What is no column is taken from the first row. */
export const joinRows = <A extends Row>(rows: ReadonlyArray<A>): A => {
  const [first] = rows;
  if (first === undefined) throw new RangeError('No rows to join');
  if (rows.length === 1) return first;
  const length = rows.reduce((sum, row) => sum + row.inputIds.length, 0);
  const joined: Record<string, Column> = {};
  const columns = rows.map((row) => new Map(columnsOf(row)));
  for (const [name, like] of columns.flatMap((own) => [...own])) joined[name] ??= emptyLike(like, length);
  for (const [name, column] of Object.entries(joined)) {
    let at = 0;
    for (const [i, row] of rows.entries()) {
      const own = columns[i]?.get(name) ?? missing[name]?.(row) ?? 0;
      if (typeof own === 'number') column.fill(own, at, at + row.inputIds.length);
      else column.set(own, at);
      at += row.inputIds.length;
    }
  }
  return { ...first, ...joined, seqLengths: rows.flatMap((row) => row.seqLengths) };
};

/** First position of each document that has any. */
export const documentStarts = (seqLengths: ReadonlyArray<number>): ReadonlyArray<number> => {
  const starts: Array<number> = [];
  let from = 0;
  for (const length of seqLengths) {
    if (length > 0) starts.push(from);
    from += length;
  }
  return starts;
};
