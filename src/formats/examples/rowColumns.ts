/** What stands in a column of a row. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { DataError, Place } from '../../errors.js';
import type { Example } from '../../records.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import { wrongType } from './conversation.js';

/** An example of one kind. */
export type ExampleOf<K extends Example['kind']> = Extract<Example, { readonly kind: K }>;
export type Decoded<A> = Either<DataError, A>;
/** Reads a row of one shape. */
export type Rows<A> = (row: JsonRecord, place: Place) => Decoded<A>;

/** A column that is null counts as absent. */
export const has = (row: JsonRecord, column: string): boolean => row[column] !== undefined && row[column] !== null;

/** The text of a column. `E_FIELD_TYPE` where there is none. */
export const textIn = (row: JsonRecord, column: string, place: Place): Decoded<string> => {
  const value = row[column];
  return typeof value === 'string' ? E.right(value) : E.left(wrongType(column, 'a string', value, place));
};

/** The text of an optional column; '' when it is absent. */
export const textOrNone = (row: JsonRecord, column: string, place: Place): Decoded<string> =>
  has(row, column) ? textIn(row, column, place) : E.right('');
