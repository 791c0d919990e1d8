import { right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import type { Row, Transform } from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';
import { sliceRow } from './columns.js';
import { wholeNumber } from './wholeNumber.js';

/** How long a row may be. */
export interface TruncateOptions {
  /** Longest row in tokens, 0 or more (else `E_OPTIONS` is thrown); absent or null: rows stay as they are. */
  readonly maxLength?: number | null | undefined;
  /** Which end stays. Default `keep_start`. */
  readonly truncationMode?: 'keep_start' | 'keep_end' | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const truncateOptionNames: OptionNames<TruncateOptions & Rejecting> = {
  maxLength: 'optional',
  truncationMode: 'optional',
  rejects: 'optional',
};

/** At most `maxLength` tokens of a row, all columns cut alike. */
export const truncateRow = <A extends Row>(options: TruncateOptions): Transform<A, A> => {
  const { maxLength, truncationMode = 'keep_start' } = known('truncate', amongRun(truncateOptionNames), options);
  if (maxLength === undefined || maxLength === null) return right;
  wholeNumber('truncate', 'maxLength', maxLength, 0);
  return (row) => {
    const { length } = row.inputIds;
    if (length <= maxLength) return right(row);
    return right(
      truncationMode === 'keep_start' ? sliceRow(row, 0, maxLength) : sliceRow(row, length - maxLength, length),
    );
  };
};

/** `truncateRow` as a stage: rows of at most `maxLength` tokens. */
export const truncate = <A extends Row>(options: TruncateOptions & Rejecting): OperatorFunction<A, A> =>
  mapping('truncate', truncateRow<A>(options), options);
