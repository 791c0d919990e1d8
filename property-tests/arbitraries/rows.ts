import fc from 'fast-check';
import type { Labelled, Row, Tokenized } from '../../src/records.js';

/** Odd constants, so that a hard-coded pad or ignored label shows. Ids include the pad id. */
export const pad = 7;
export const ignored = -9;

const ids = (length: number): fc.Arbitrary<Int32Array> =>
  fc
    .array(fc.integer({ min: 0, max: 30 }), { minLength: length, maxLength: length })
    .map((values) => Int32Array.from(values));

const bits = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.array(fc.constantFrom(0, 1), { minLength: length, maxLength: length }).map((values) => Uint8Array.from(values));

const floats = (length: number): fc.Arbitrary<Float32Array> =>
  fc
    .array(fc.constantFrom(0, 0.25, 1, 3), { minLength: length, maxLength: length })
    .map((values) => Float32Array.from(values));

/** Document lengths of a row, adding up. */
const documents = (maxDocuments: number): fc.Arbitrary<ReadonlyArray<number>> =>
  fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: maxDocuments });

const lengthOf = (seqLengths: ReadonlyArray<number>): number => seqLengths.reduce((sum, length) => sum + length, 0);

const maybe = <K extends string, A>(name: K, column: fc.Arbitrary<A>): fc.Arbitrary<Partial<Record<K, A>>> =>
  fc
    .option(column, { nil: undefined })
    .map((value): Partial<Record<string, A>> => (value === undefined ? {} : { [name]: value }));

export interface RowOptions {
  readonly maxDocuments?: number;
}

/** Tokenised rows with any of the masks; labels they bring are their ids or ignored (-100). */
export const tokenized = ({ maxDocuments = 1 }: RowOptions = {}): fc.Arbitrary<Tokenized> =>
  documents(maxDocuments).chain((seqLengths) => {
    const length = lengthOf(seqLengths);
    return ids(length).chain((inputIds) =>
      fc
        .tuple(
          maybe('completionMask', bits(length)),
          maybe('assistantMask', bits(length)),
          maybe('lossWeights', floats(length)),
          maybe(
            'givenLabels',
            bits(length).map((keep) => inputIds.map((id, t) => (keep[t] === 1 ? id : -100))),
          ),
        )
        .map(([completion, assistant, weights, given]) => ({
          inputIds,
          seqLengths,
          ...completion,
          ...assistant,
          ...weights,
          ...given,
        })),
    );
  });

/** Rows with labels, `ignored` among them, and sometimes weights. */
export const labelled = ({ maxDocuments = 1 }: RowOptions = {}): fc.Arbitrary<Labelled> =>
  documents(maxDocuments).chain((seqLengths) => {
    const length = lengthOf(seqLengths);
    return fc
      .tuple(ids(length), bits(length), maybe('lossWeights', floats(length)))
      .map(([inputIds, keep, weights]) => ({
        inputIds,
        seqLengths,
        labels: inputIds.map((id, t) => (keep[t] === 1 ? id : ignored)),
        ...weights,
      }));
  });

export const maxLengths = (): fc.Arbitrary<number> => fc.integer({ min: 1, max: 12 });

export const tokensOf = (rows: ReadonlyArray<Row>): ReadonlyArray<number> => rows.flatMap((row) => [...row.inputIds]);

/** Numbers of a multiset, for comparing what order changes. */
export const sorted = (values: ReadonlyArray<number>): ReadonlyArray<number> => [...values].sort((a, b) => a - b);
