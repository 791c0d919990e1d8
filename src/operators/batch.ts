import { left, right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { dataError } from '../errors.js';
import type { DataError } from '../errors.js';
import { ignoreIndex as defaultIgnoreIndex } from '../records.js';
import type { Batch, Labelled } from '../records.js';
import { windowed } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';
import { countLearnable } from './learnable.js';
import { wholeNumber } from './wholeNumber.js';

/** How rows are laid side by side. */
export interface BatchOptions {
  /** What padding holds in `inputIds`. Models here never read it, so 0 does where a tokenizer has none. */
  readonly padTokenId?: number | undefined;
  /** The label of padding, and of what no document predicts. Default -100. */
  readonly ignoreIndex?: number | undefined;
  /** Default `right`. */
  readonly paddingSide?: 'left' | 'right' | undefined;
  /** Columns of every batch; absent: the longest row's length. */
  readonly padToLength?: number | undefined;
  /** Round the number of columns up to a multiple of this. */
  readonly padToMultipleOf?: number | undefined;
  /** One row [1, tokens] with no padding but that of `padToMultipleOf`. */
  readonly paddingFree?: boolean | undefined;
  /** Leave the first label of each document as it is, as collators do; it reaches no loss either way. */
  readonly keepFirstLabels?: boolean | undefined;
}

/** How a stream of rows is cut into batches, and how rows are laid side by side in each. */
export interface BatchStreamOptions extends BatchOptions, Rejecting {
  /** Rows a batch, 1 or more (else `E_OPTIONS` is thrown). */
  readonly size: number;
  /** Leave out a last batch of fewer rows. Default false. */
  readonly dropLast?: boolean | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const batchStreamOptionNames: OptionNames<BatchStreamOptions> = {
  size: 'required',
  dropLast: 'optional',
  padTokenId: 'optional',
  ignoreIndex: 'optional',
  paddingSide: 'optional',
  padToLength: 'optional',
  padToMultipleOf: 'optional',
  paddingFree: 'optional',
  keepFirstLabels: 'optional',
  rejects: 'optional',
};

const roundUp = (length: number, multiple: number): number => Math.ceil(length / multiple) * multiple;

/** Where each row's tokens begin in the batch: [row * columns + offset]. */
const layout = (
  rows: ReadonlyArray<Labelled>,
  options: BatchOptions,
): { shape: [number, number]; starts: Array<number> } => {
  const { padToLength, padToMultipleOf = 1, paddingFree = false, paddingSide = 'right' } = options;
  const lengths = rows.map((row) => row.inputIds.length);
  if (paddingFree) {
    let total = 0;
    const starts = lengths.map((length) => (total += length) - length);
    return { shape: [1, roundUp(total, padToMultipleOf)], starts };
  }
  const columns = roundUp(padToLength ?? lengths.reduce((most, length) => Math.max(most, length), 0), padToMultipleOf);
  const starts = lengths.map((length, row) => row * columns + (paddingSide === 'left' ? columns - length : 0));
  return { shape: [rows.length, columns], starts };
};

const longestDocument = (rows: ReadonlyArray<Labelled>): number =>
  rows.reduce((most, row) => row.seqLengths.reduce((longest, length) => Math.max(longest, length), most), 0);

/**
 * A rectangular batch of rows. Positions restart at each document, and a document's first label is ignored, because nothing
 * before it in the document predicts it; `numItems` counts the labels that are left. A row longer than `padToLength` throws
 * RangeError: the lift refuses it beforehand.
 */
export const batchRows = (options: BatchOptions = {}): ((rows: ReadonlyArray<Labelled>) => Batch) => {
  known('batchRows', amongRun({ ...batchStreamOptionNames, size: 'optional' }), options);
  return (rows) => {
    const { padTokenId = 0, ignoreIndex = defaultIgnoreIndex, keepFirstLabels = false } = options;
    const { shape, starts } = layout(rows, options);
    const [, columns] = shape;
    const size = shape[0] * columns;
    const inputIds = new Int32Array(size).fill(padTokenId);
    const labels = new Int32Array(size).fill(ignoreIndex);
    const attentionMask = new Int32Array(size);
    const positionIds = new Int32Array(size);
    const weighted = rows.some((row) => row.lossWeights !== undefined);
    const lossWeights = weighted ? new Float32Array(size) : undefined;
    // 0, 1, 2, … copied for each document: several times faster than a loop over tokens.
    const ramp = new Int32Array(longestDocument(rows)).map((_, t) => t);
    let numItems = 0;
    for (const [i, row] of rows.entries()) {
      const { length } = row.inputIds;
      const start = starts[i] ?? 0;
      if (!fits(row, options)) throw new RangeError(`A row of ${length} tokens does not fit ${columns} columns`);
      inputIds.set(row.inputIds, start);
      labels.set(row.labels, start);
      attentionMask.fill(1, start, start + length);
      if (lossWeights !== undefined) {
        if (row.lossWeights === undefined) lossWeights.fill(1, start, start + length);
        else lossWeights.set(row.lossWeights, start);
      }
      let at = start;
      for (const documentLength of row.seqLengths) {
        positionIds.set(ramp.subarray(0, documentLength), at);
        if (documentLength > 0 && !keepFirstLabels) labels[at] = ignoreIndex;
        at += documentLength;
      }
      numItems += countLearnable(row.labels, row.seqLengths, ignoreIndex);
    }
    return {
      shape,
      inputIds,
      labels,
      attentionMask,
      positionIds,
      ...(lossWeights === undefined ? {} : { lossWeights }),
      numItems,
    };
  };
};

const fits = (row: Labelled, { padToLength, paddingFree = false }: BatchOptions): boolean =>
  paddingFree || padToLength === undefined || row.inputIds.length <= padToLength;

const tooLong = (length: number, padToLength: number): DataError =>
  dataError('E_ROW_TOO_LONG', `A row of ${length} tokens does not fit batches of ${padToLength} columns`, {
    expected: `at most ${padToLength} tokens`,
    actual: `${length}`,
    hint: 'truncate or pack before batching',
  });

/** `size` rows a batch, the last one perhaps fewer. Refuses rows that a fixed length cannot hold (`E_ROW_TOO_LONG`). */
export const batch = (options: BatchStreamOptions): OperatorFunction<Labelled, Batch> => {
  known('batch', amongRun(batchStreamOptionNames), options);
  wholeNumber('batch', 'size', options.size);
  return windowed(
    'batch',
    () => {
      const collate = batchRows(options);
      let held: Array<Labelled> = [];
      const release = (): ReadonlyArray<Batch> => {
        const rows = held;
        held = [];
        return [collate(rows)];
      };
      return {
        push: (row) => {
          if (!fits(row, options)) return left(tooLong(row.inputIds.length, options.padToLength ?? 0));
          held.push(row);
          return right(held.length < options.size ? [] : release());
        },
        flush: () => (held.length === 0 || (options.dropLast ?? false) ? [] : release()),
      };
    },
    options,
  );
};
