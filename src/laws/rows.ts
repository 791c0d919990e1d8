/** Arbitrary rows of tokens and batches of them. */
import fc from 'fast-check';
import { known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { batchRows } from '../operators/batch.js';
import { ignoreIndex as usualIgnoreIndex } from '../records.js';
import type { Batch, Labelled, Tokenized } from '../records.js';

/** How large rows are, and what their ids and labels may be. */
export interface RowOptions {
  /** Documents of a row, at most. Default 1. */
  readonly maxDocuments?: number | undefined;
  /** Tokens of a document, at most. Default 7. */
  readonly maxTokens?: number | undefined;
  /** Ids lie below this. Default 31. */
  readonly vocabSize?: number | undefined;
  /** The label of what is masked. Default -100. An odd one shows where it is hard-coded. */
  readonly ignoreIndex?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const rowOptionNames: OptionNames<RowOptions> = {
  maxDocuments: 'optional',
  maxTokens: 'optional',
  vocabSize: 'optional',
  ignoreIndex: 'optional',
};

const ids = (length: number, vocabSize: number): fc.Arbitrary<Int32Array> =>
  fc
    .array(fc.integer({ min: 0, max: vocabSize - 1 }), { minLength: length, maxLength: length })
    .map((values) => Int32Array.from(values));

const bits = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.array(fc.constantFrom(0, 1), { minLength: length, maxLength: length }).map((values) => Uint8Array.from(values));

const floats = (length: number): fc.Arbitrary<Float32Array> =>
  fc
    .array(fc.constantFrom(0, 0.25, 1, 3), { minLength: length, maxLength: length })
    .map((values) => Float32Array.from(values));

/** Document lengths of a row, adding up; empty documents among them. */
const documents = ({ maxDocuments = 1, maxTokens = 7 }: RowOptions): fc.Arbitrary<ReadonlyArray<number>> =>
  fc.array(fc.integer({ min: 0, max: maxTokens }), { minLength: 1, maxLength: maxDocuments });

const lengthOf = (seqLengths: ReadonlyArray<number>): number => seqLengths.reduce((sum, length) => sum + length, 0);

const maybe = <K extends string, A>(name: K, column: fc.Arbitrary<A>): fc.Arbitrary<Partial<Record<K, A>>> =>
  fc
    .option(column, { nil: undefined })
    .map((value): Partial<Record<string, A>> => (value === undefined ? {} : { [name]: value }));

/** Tokenised rows with any of the masks; labels they bring are their ids or ignored (-100). */
export const tokenizedRows = (options: RowOptions = {}): fc.Arbitrary<Tokenized> => {
  known('tokenizedRows', rowOptionNames, options);
  return documents(options).chain((seqLengths) => {
    const length = lengthOf(seqLengths);
    return ids(length, options.vocabSize ?? 31).chain((inputIds) =>
      fc
        .tuple(
          maybe('completionMask', bits(length)),
          maybe('assistantMask', bits(length)),
          maybe('lossWeights', floats(length)),
          maybe(
            'givenLabels',
            bits(length).map((keep) => inputIds.map((id, t) => (keep[t] === 1 ? id : usualIgnoreIndex))),
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
};

/** Rows with labels, ignored ones among them, and sometimes weights. */
export const labelledRows = (options: RowOptions = {}): fc.Arbitrary<Labelled> => {
  known('labelledRows', rowOptionNames, options);
  return documents(options).chain((seqLengths) => {
    const length = lengthOf(seqLengths);
    const { vocabSize = 31, ignoreIndex = usualIgnoreIndex } = options;
    return fc
      .tuple(ids(length, vocabSize), bits(length), maybe('lossWeights', floats(length)))
      .map(([inputIds, keep, weights]) => ({
        inputIds,
        seqLengths,
        labels: inputIds.map((id, t) => (keep[t] === 1 ? id : ignoreIndex)),
        ...weights,
      }));
  });
};

/** Batches of labelled rows, padded on either side with any id of the vocabulary. */
export const batches = (options: RowOptions = {}): fc.Arbitrary<Batch> => {
  known('batches', rowOptionNames, options);
  return fc
    .record({
      rows: fc.array(labelledRows(options), { minLength: 1, maxLength: 5 }),
      padTokenId: fc.nat((options.vocabSize ?? 31) - 1),
      paddingSide: fc.constantFrom('left' as const, 'right' as const),
    })
    .map(({ rows, ...how }) =>
      batchRows({ ...how, ...(options.ignoreIndex === undefined ? {} : { ignoreIndex: options.ignoreIndex }) })(rows),
    );
};
