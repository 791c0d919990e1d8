import { left, right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { dataError } from '../errors.js';
import { ignoreIndex as defaultIgnoreIndex } from '../records.js';
import type { Row, Transform } from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';
import { columnsOf } from './columns.js';
import type { Column } from './columns.js';

/** To what length a row is filled up, and with what. */
export interface PadOptions {
  /** What padding holds in `inputIds`. */
  readonly padTokenId: number;
  /** Fill up to this length; longer rows are refused. Absent: their own length. */
  readonly length?: number | undefined;
  /** Round the length up to a multiple of this. */
  readonly multipleOf?: number | undefined;
  /** Default `right`. */
  readonly paddingSide?: 'left' | 'right' | undefined;
  /** What padding holds in `labels` and `givenLabels`. Default -100. */
  readonly ignoreIndex?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const padOptionNames: OptionNames<PadOptions & Rejecting> = {
  padTokenId: 'required',
  length: 'optional',
  multipleOf: 'optional',
  paddingSide: 'optional',
  ignoreIndex: 'optional',
  rejects: 'optional',
};

/** A row filled up: every column is as long as `inputIds`. `seqLengths` counts real tokens only, so this is no `Row` any more. */
export type Padded<A extends Row> = A & {
  /** 1 = real token, 0 = padding. */
  readonly attentionMask: Uint8Array;
  /** Position in the document, restarting at 0; 0 at padding. */
  readonly positionIds: Int32Array;
};

/** Position of each token in its document: 0 … length - 1, document after document. */
export const positionsOf = (seqLengths: ReadonlyArray<number>): Int32Array => {
  const positions = new Int32Array(seqLengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const length of seqLengths) for (let t = 0; t < length; t++) positions[at++] = t;
  return positions;
};

/** A row of a fixed length, or of the next multiple. Masks and weights are padded with 0. Refuses longer rows (`E_ROW_TOO_LONG`). */
export const padRow = <A extends Row>(options: PadOptions): Transform<A, Padded<A>> => {
  known('pad', amongRun(padOptionNames), options);
  return (row) => {
    const { padTokenId, multipleOf = 1, paddingSide = 'right', ignoreIndex = defaultIgnoreIndex } = options;
    const own = row.inputIds.length;
    const length = Math.ceil((options.length ?? own) / multipleOf) * multipleOf;
    if (own > length) {
      return left(
        dataError('E_ROW_TOO_LONG', `A row of ${own} tokens cannot be padded to ${length}`, {
          expected: `at most ${length} tokens`,
          actual: `${own}`,
          hint: 'truncate before padding',
        }),
      );
    }
    const offset = paddingSide === 'left' ? length - own : 0;
    const fills: Readonly<Partial<Record<string, number>>> = {
      inputIds: padTokenId,
      labels: ignoreIndex,
      givenLabels: ignoreIndex,
    };
    const padded = (column: Column, fill: number): Column => {
      const make = column.constructor as new (length: number) => Column;
      const out = new make(length).fill(fill);
      out.set(column, offset);
      return out;
    };
    return right({
      ...row,
      ...Object.fromEntries(columnsOf(row).map(([name, column]) => [name, padded(column, fills[name] ?? 0)])),
      attentionMask: new Uint8Array(length).fill(1, offset, offset + own),
      positionIds: padded(positionsOf(row.seqLengths), 0) as Int32Array,
    });
  };
};

/** `padRow` as a stage: rows of one length. `batch` pads by itself; this is for rows that go elsewhere. */
export const pad = <A extends Row>(options: PadOptions & Rejecting): OperatorFunction<A, Padded<A>> =>
  mapping('pad', padRow<A>(options), options);
