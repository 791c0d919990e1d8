import { right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import type { Row } from '../records.js';
import { windowed } from '../streams/operator.js';
import type { Machine, Rejecting } from '../streams/operator.js';
import { bestFit } from './bestFit.js';
import { joinRows, sliceRow } from './columns.js';
import { wholeNumber } from './wholeNumber.js';

/**
 * `bfd`: best fit decreasing, rows cut to the window first. `bfd_split`: the same, but what was cut off becomes rows of its own.
 * `wrapped`: everything end to end, cut every window; the last short window is kept. (TRL 1.x's strategies.)
 */
export type PackingStrategy = 'bfd' | 'bfd_split' | 'wrapped';

/** How rows are packed into windows. Options of a run fit as they are. */
export interface PackOptions {
  /** Window length in tokens, 1 or more. */
  readonly maxLength: number;
  /** Default `bfd`. */
  readonly packingStrategy?: PackingStrategy | undefined;
  /**
   * Whether the parts of a window attend to each other: `separate` documents, each with its own positions, or all `joined` into
   * one. Default as in TRL: separate for `bfd` and `bfd_split`, joined for `wrapped`.
   */
  readonly documents?: 'separate' | 'joined' | undefined;
  /** In a stream: how many rows are packed together. Default 1000, as TRL maps its data sets; Infinity packs the whole source. */
  readonly packingWindow?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const packOptionNames: OptionNames<PackOptions & Rejecting> = {
  maxLength: 'required',
  packingStrategy: 'optional',
  documents: 'optional',
  packingWindow: 'optional',
  rejects: 'optional',
};

const lengthOf = (row: Row): number => row.inputIds.length;

/** A row in consecutive pieces of at most `size` tokens. */
const piecesOf = <A extends Row>(row: A, size: number): ReadonlyArray<A> => {
  if (lengthOf(row) <= size) return [row];
  const pieces: Array<A> = [];
  for (let start = 0; start < lengthOf(row); start += size) {
    pieces.push(sliceRow(row, start, Math.min(start + size, lengthOf(row))));
  }
  return pieces;
};

const fitted = <A extends Row>(rows: ReadonlyArray<A>, size: number): ReadonlyArray<A> =>
  bestFit(rows.map(lengthOf), size).map((bin) => joinRows(bin.flatMap((i) => rows[i] ?? [])));

/** Rows end to end in windows. Pieces are joined once a window, so every token is copied once. */
const wrapped = <A extends Row>(rows: ReadonlyArray<A>, size: number): ReadonlyArray<A> => {
  const windows: Array<A> = [];
  let held: Array<A> = [];
  let room = size;
  const release = (): void => {
    if (held.length > 0) windows.push(joinRows(held));
    held = [];
    room = size;
  };
  for (const row of rows) {
    for (let start = 0; start < lengthOf(row); ) {
      const end = Math.min(start + room, lengthOf(row));
      held.push(start === 0 && end === lengthOf(row) ? row : sliceRow(row, start, end));
      room -= end - start;
      start = end;
      if (room === 0) release();
    }
  }
  release();
  return windows;
};

const asOne = <A extends Row>(row: A): A =>
  row.seqLengths.length === 1 ? row : { ...row, seqLengths: [lengthOf(row)] };

/** Rows → fuller rows of at most `maxLength` tokens. Empty rows vanish. Throws `E_OPTIONS` where nothing fits a window. */
export const packRows = <A extends Row>(options: PackOptions): ((rows: ReadonlyArray<A>) => ReadonlyArray<A>) => {
  const { maxLength, packingStrategy = 'bfd', documents } = known('pack', amongRun(packOptionNames), options);
  wholeNumber('pack', 'maxLength', maxLength);
  return (rows) => {
    const filled = rows.filter((row) => lengthOf(row) > 0);
    const together = documents === undefined ? packingStrategy === 'wrapped' : documents === 'joined';
    const packed =
      packingStrategy === 'wrapped'
        ? wrapped(filled, maxLength)
        : fitted(
            packingStrategy === 'bfd'
              ? filled.map((row) => (lengthOf(row) > maxLength ? sliceRow(row, 0, maxLength) : row))
              : filled.flatMap((row) => piecesOf(row, maxLength)),
            maxLength,
          );
    return together ? packed.map(asOne) : packed;
  };
};

const machine = <A extends Row>(
  pack: (rows: ReadonlyArray<A>) => ReadonlyArray<A>,
  { packingWindow = 1000 }: PackOptions,
): Machine<A, A> => {
  let held: Array<A> = [];
  const release = (): ReadonlyArray<A> => {
    const rows = held;
    held = [];
    return pack(rows);
  };
  return {
    push: (row) => {
      held.push(row);
      return right(held.length < packingWindow ? [] : release());
    },
    flush: release,
  };
};

/** Packs before masking or after it: any columns travel with their tokens. Rows are packed `packingWindow` at a time. */
export const pack = <A extends Row>(options: PackOptions & Rejecting): OperatorFunction<A, A> => {
  const packed = packRows<A>(options);
  return windowed('pack', () => machine(packed, options), options);
};
