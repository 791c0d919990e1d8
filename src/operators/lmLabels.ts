import { left, right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { dataError } from '../errors.js';
import { ignoreIndex as defaultIgnoreIndex } from '../records.js';
import type { Labelled, Row, Transform } from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';

/** Which ids get no label. */
export interface LmLabelsOptions {
  /** Wherever it stands it gets no label. */
  readonly padTokenId: number | undefined;
  /** Default -100. */
  readonly ignoreIndex?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const lmLabelsOptionNames: OptionNames<LmLabelsOptions & Rejecting> = {
  padTokenId: 'optional',
  ignoreIndex: 'optional',
  rejects: 'optional',
};

/** The ids, every pad id among them ignored. */
export const labelsWithoutPad = (inputIds: Int32Array, padTokenId: number, ignoreIndex: number): Int32Array =>
  inputIds.map((id) => (id === padTokenId ? ignoreIndex : id));

/**
 * Labels as transformers' language-modelling collator makes them: a copy of the ids in which EVERY pad id is ignored, so that
 * with pad = eos no end of sequence is ever trained. Labels a row brought are overwritten. No pad token: `E_NO_PAD_TOKEN`.
 */
export const lmLabelsRow = (options: LmLabelsOptions): Transform<Row, Labelled> => {
  const { padTokenId, ignoreIndex = defaultIgnoreIndex } = known('lmLabels', amongRun(lmLabelsOptionNames), options);
  return (row) =>
    padTokenId === undefined
      ? left(dataError('E_NO_PAD_TOKEN', 'The tokenizer has no pad token, which the collator of 0.7.10 asks for'))
      : right({
          inputIds: row.inputIds,
          seqLengths: row.seqLengths,
          labels: labelsWithoutPad(row.inputIds, padTokenId, ignoreIndex),
        });
};

/** `lmLabelsRow` as a stage: labels as the collator of TRL 0.7.10 makes them; `maskCompletions` is what a new pipeline wants. */
export const lmLabels = (options: LmLabelsOptions & Rejecting): OperatorFunction<Row, Labelled> =>
  mapping('lmLabels', lmLabelsRow(options), options);
