/** Rows that bring token ids: what they bring, checked against each other. */
import { left, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { dataError } from '../errors.js';
import type { DataError } from '../errors.js';
import { describe } from '../formats/describe.js';
import type { PreTokenized, Tokenized } from '../records.js';

const isId = (value: number): boolean => Number.isInteger(value) && value >= 0;

/** The first column that is not as long as the ids. */
const unequalColumn = (row: PreTokenized): DataError | undefined => {
  const { inputIds, labels, completionMask, attentionMask, positionIds, lossWeights } = row;
  const columns = [
    ['labels', labels],
    ['completion_mask', completionMask],
    ['attention_mask', attentionMask],
    ['position_ids', positionIds],
    ['loss_weights', lossWeights],
  ] as const;
  for (const [field, column] of columns) {
    if (column === undefined || column.length === inputIds.length) continue;
    return dataError('E_LENGTHS_DISAGREE', `"${field}" and "input_ids" are not equally long`, {
      field,
      expected: `${inputIds.length} numbers`,
      actual: `${column.length}`,
    });
  }
  return undefined;
};

const unknownId = (ids: ReadonlyArray<number>, vocabSize: number | undefined): DataError | undefined => {
  const bad = ids.find((id) => !isId(id) || (vocabSize !== undefined && id >= vocabSize));
  if (bad === undefined) return undefined;
  return dataError('E_TOKEN_ID', 'A token id is not in the vocabulary', {
    field: 'input_ids',
    expected: vocabSize === undefined ? 'whole numbers from 0' : `whole numbers from 0 to ${vocabSize - 1}`,
    actual: describe(bad),
  });
};

interface Stretch {
  readonly start: number;
  readonly end: number;
}

/** The tokens between the padding at both ends. */
const unpadded = ({ inputIds, attentionMask }: PreTokenized): Either<DataError, Stretch> => {
  const real = inputIds.map((_, t) => attentionMask?.[t] !== 0);
  const start = Math.max(0, real.indexOf(true));
  const end = real.lastIndexOf(true) + 1;
  return real.slice(start, end).includes(false)
    ? left(
        dataError('E_ATTENTION_MASK', '"attention_mask" hides tokens in the middle of the row', {
          field: 'attention_mask',
          expected: 'zeros at the ends only',
        }),
      )
    : right({ start, end });
};

/** Lengths of the documents whose positions count 0, 1, 2, … each. */
const documentsOf = (positions: ReadonlyArray<number>): Either<DataError, ReadonlyArray<number>> => {
  const lengths: Array<number> = [];
  for (const [t, position] of positions.entries()) {
    const length = lengths[lengths.length - 1];
    if (position === 0) lengths.push(1);
    else if (position === length) lengths[lengths.length - 1] = length + 1;
    else {
      return left(
        dataError('E_POSITION_IDS', '"position_ids" do not count from 0 in each document', {
          field: 'position_ids',
          expected: length === undefined ? '0' : `0 or ${length} at token ${t}`,
          actual: `${position}`,
        }),
      );
    }
  }
  return right(lengths.length === 0 ? [0] : lengths);
};

/** The row's weight times its tokens' own. */
const weightsOf = ({ weight, lossWeights }: PreTokenized, { start, end }: Stretch): Pick<Tokenized, 'lossWeights'> =>
  weight === undefined && lossWeights === undefined
    ? {}
    : {
        lossWeights: Float32Array.from(
          { length: end - start },
          (_, t) => (weight ?? 1) * (lossWeights?.[start + t] ?? 1),
        ),
      };

/** Padding that a row brought never reaches a model; only what is real stays. */
export const givenRow = (row: PreTokenized, vocabSize: number | undefined): Either<DataError, Tokenized> => {
  const { inputIds, labels, completionMask, positionIds } = row;
  const refused = unequalColumn(row) ?? unknownId(inputIds, vocabSize);
  if (refused !== undefined) return left(refused);
  const stretch = unpadded(row);
  if (stretch._tag === 'Left') return stretch;
  const { start, end } = stretch.right;
  const seqLengths = positionIds === undefined ? right([end - start]) : documentsOf(positionIds.slice(start, end));
  if (seqLengths._tag === 'Left') return seqLengths;
  return right({
    inputIds: Int32Array.from(inputIds.slice(start, end)),
    seqLengths: seqLengths.right,
    ...(labels === undefined ? {} : { givenLabels: Int32Array.from(labels.slice(start, end)) }),
    ...(completionMask === undefined ? {} : { completionMask: Uint8Array.from(completionMask.slice(start, end)) }),
    ...weightsOf(row, stretch.right),
  });
};
