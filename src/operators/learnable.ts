import { left, right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { dataError } from '../errors.js';
import type { DataError } from '../errors.js';
import { ignoreIndex as defaultIgnoreIndex } from '../records.js';
import type { Labelled, Transform } from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';
import { counted } from '../formats/counted.js';

/** What counts as no label. */
export interface LearnableOptions {
  /** Default -100. */
  readonly ignoreIndex?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const learnableOptionNames: OptionNames<LearnableOptions & Rejecting> = {
  ignoreIndex: 'optional',
  rejects: 'optional',
};

const noLabels = (length: number): DataError =>
  dataError('E_NO_LABELS', `No label of this row (${counted(length, 'token')}) reaches the loss`, {
    expected: 'at least one trained token after the first',
    hint: 'was the answer cut off by maxLength, or does the mask leave nothing to train?',
  });

/** How many labels reach the loss: those not ignored, the first of each document left out, because nothing predicts it. */
export const countLearnable = (labels: Int32Array, seqLengths: ReadonlyArray<number>, ignoreIndex: number): number => {
  let count = 0;
  let at = 0;
  for (const length of seqLengths) {
    for (let t = at + 1; t < at + length; t++) if (labels[t] !== ignoreIndex) count++;
    at += length;
  }
  return count;
};

/** Refuses a row that would cost a forward pass and teach nothing (`E_NO_LABELS`). */
export const learnableRow = (options: LearnableOptions = {}): Transform<Labelled, Labelled> => {
  const { ignoreIndex = defaultIgnoreIndex } = known('learnable', amongRun(learnableOptionNames), options);
  return (row) =>
    countLearnable(row.labels, row.seqLengths, ignoreIndex) > 0 ? right(row) : left(noLabels(row.labels.length));
};

/** `learnableRow` as a stage: rows that teach nothing leave by the side door. */
export const learnable = (options: LearnableOptions & Rejecting = {}): OperatorFunction<Labelled, Labelled> =>
  mapping('learnable', learnableRow(options), options);

/** A stage for rows that keep their place in a batch even where they teach nothing, as in 0.7.10: only those of no token are refused. */
export const withTokens = (options: Rejecting): OperatorFunction<Labelled, Labelled> =>
  mapping('learnable', (row) => (row.inputIds.length > 0 ? right(row) : left(noLabels(0))), options);
