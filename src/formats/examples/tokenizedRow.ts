/** Rows of token ids. */
import * as E from 'fp-ts/lib/Either.js';
import { dataError } from '../../errors.js';
import type { DataError, Place } from '../../errors.js';
import { ignoreIndex } from '../../records.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import { wrongType } from './conversation.js';
import { has, type Decoded, type ExampleOf, type Rows } from './rowColumns.js';

const integersIn = (
  row: JsonRecord,
  column: string,
  expected: string,
  fits: (id: number) => boolean,
  place: Place,
): Decoded<ReadonlyArray<number>> => {
  const value = row[column];
  if (!Array.isArray(value)) return E.left(wrongType(column, expected, value, place));
  for (const [i, id] of value.entries()) {
    if (typeof id !== 'number' || (id | 0) !== id || !fits(id)) {
      return E.left(wrongType(`${column}.${i}`, expected.replace('a list of ', 'one of '), id, place));
    }
  }
  return E.right(value as ReadonlyArray<number>);
};

const isBit = (id: number): boolean => id === 0 || id === 1;
const isPosition = (position: number): boolean => position >= 0;
const isLabel = (id: number): boolean => id >= 0 || id === ignoreIndex;

const lengthsDisagree = (column: string, expected: number, actual: number, place: Place): DataError =>
  dataError('E_LENGTHS_DISAGREE', `"${column}" and "input_ids" differ in length`, {
    ...place,
    field: column,
    expected: `${expected} values, as in input_ids`,
    actual: `${actual}`,
  });

/** `loss_weights`, where a row has them: real numbers ≥ 0, one a token. */
const weightsIn = (row: JsonRecord, length: number, place: Place): Decoded<ReadonlyArray<number> | undefined> => {
  const column = 'loss_weights';
  if (!has(row, column)) return E.right(undefined);
  const values = row[column];
  const expected = 'a list of loss weights (numbers ≥ 0)';
  if (!Array.isArray(values)) return E.left(wrongType(column, expected, values, place));
  if (values.length !== length) return E.left(lengthsDisagree(column, length, values.length, place));
  const isWeight = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value >= 0;
  const bad = values.findIndex((value) => !isWeight(value));
  return bad === -1
    ? E.right(values as ReadonlyArray<number>)
    : E.left(wrongType(`${column}.${bad}`, 'a number ≥ 0', values[bad], place));
};

/** `input_ids` with the columns beside them, which are as long. */
export const tokenizedRow: Rows<ExampleOf<'tokenized'>> = (row, place) => {
  const ids = integersIn(row, 'input_ids', 'a list of token ids (whole numbers ≥ 0)', (id) => id >= 0, place);
  if (E.isLeft(ids)) return ids;
  const inputIds = ids.right;
  const columns: Record<string, ReadonlyArray<number>> = {};
  for (const [column, expected, fits] of [
    ['labels', `a list of token ids (whole numbers ≥ 0, or ${ignoreIndex})`, isLabel],
    ['attention_mask', 'a list of 0 and 1', isBit],
    ['position_ids', 'a list of positions (whole numbers ≥ 0)', isPosition],
    ['completion_mask', 'a list of 0 and 1', isBit],
    ['assistant_masks', 'a list of 0 and 1', isBit],
  ] as const) {
    if (!has(row, column)) continue;
    const values = integersIn(row, column, expected, fits, place);
    if (E.isLeft(values)) return values;
    if (values.right.length !== inputIds.length) {
      return E.left(lengthsDisagree(column, inputIds.length, values.right.length, place));
    }
    columns[column] = values.right;
  }
  const lossWeights = weightsIn(row, inputIds.length, place);
  if (E.isLeft(lossWeights)) return lossWeights;
  const { labels, attention_mask: attentionMask, position_ids: positionIds } = columns;
  const { completion_mask: completionMask, assistant_masks: assistantMask } = columns;
  const given = labels ?? (assistantMask && inputIds.map((id, i) => (assistantMask[i] === 1 ? id : ignoreIndex)));
  return E.right({
    kind: 'tokenized',
    inputIds,
    ...(given === undefined ? {} : { labels: given }),
    // Whether it counts is completionOnlyLoss's to say.
    ...(labels !== undefined || completionMask === undefined ? {} : { completionMask }),
    ...(attentionMask === undefined ? {} : { attentionMask }),
    ...(positionIds === undefined ? {} : { positionIds }),
    ...(lossWeights.right === undefined ? {} : { lossWeights: lossWeights.right }),
  });
};
