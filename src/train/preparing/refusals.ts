/** Rows that were refused in a run: counted by their reasons, and told when nobody else does. */
import type { Subscription } from 'rxjs';
import { render, warning } from '../../errors.js';
import type { DataError, ErrorCode, Warning } from '../../errors.js';
import { reasonsText } from '../../streams/rejects.js';
import type { RejectCounts, Rejects } from '../../streams/rejects.js';
import { counted } from '../../formats/counted.js';

/** The rows of one pass over a data set that were refused. */
export interface RefusedRows {
  /** How many. */
  readonly rows: number;
  /** Counts by what was wrong. */
  readonly reasons: RejectCounts['byCode'];
  /** What was wrong with the first. */
  readonly first?: DataError;
}

/** Counts what is refused from now on, until `stop`. */
export const countRefused = (
  rejects: Pick<Rejects, 'stream'>,
): { readonly refused: () => RefusedRows; readonly stop: () => void } => {
  const reasons = new Map<ErrorCode, number>();
  let rows = 0;
  let first: DataError | undefined;
  const listening: Subscription = rejects.stream.subscribe(({ error }) => {
    first ??= error;
    rows++;
    reasons.set(error.code, (reasons.get(error.code) ?? 0) + 1);
  });
  return {
    refused: () => ({ rows, reasons: Object.fromEntries(reasons), ...(first === undefined ? {} : { first }) }),
    stop: () => listening.unsubscribe(),
  };
};

interface SetRefused extends RefusedRows {
  /** Rows read; absent where nobody counted them. */
  readonly read?: number | undefined;
}

/** What was refused in a run, by data set. */
export interface Refusals {
  /** A pass over a data set. Of several the one with most refusals counts: each refuses the same rows. */
  readonly passed: (dataset: string, refused: SetRefused) => void;
  /** Of all data sets together. */
  readonly total: () => RefusedRows;
  /** `W_ROWS_REFUSED`, with counts, reasons and the first of them; undefined where no row was refused. */
  readonly told: () => Warning | undefined;
}

const count = (value: number): string => value.toLocaleString('en-US');

export const makeRefusals = (): Refusals => {
  const sets = new Map<string, SetRefused>();
  const total = (): RefusedRows => {
    const reasons: Partial<Record<ErrorCode, number>> = {};
    let rows = 0;
    let first: DataError | undefined;
    for (const refused of sets.values()) {
      rows += refused.rows;
      first ??= refused.first;
      for (const [code, times] of Object.entries(refused.reasons) as ReadonlyArray<[ErrorCode, number]>)
        reasons[code] = (reasons[code] ?? 0) + times;
    }
    return { rows, reasons, ...(first === undefined ? {} : { first }) };
  };
  return {
    passed: (dataset, refused) => {
      if (refused.rows >= (sets.get(dataset)?.rows ?? 0)) sets.set(dataset, refused);
    },
    total,
    told: () => {
      const { first } = total();
      const told = Array.from(sets)
        .filter(([, { rows }]) => rows > 0)
        .map(([name, { rows, read, reasons }]) => {
          const of = read === undefined ? counted(rows, 'row') : `${count(rows)} of ${counted(read, 'row')}`;
          return `${of} of ${name} (${reasonsText(reasons)})`;
        });
      if (first === undefined) return undefined;
      return warning('W_ROWS_REFUSED', `refused and left out: ${told.join('; ')}`, {
        actual: `the first: ${render(first).split('\n')[0] ?? ''}`,
        hint: 'a stream of them all: rejects: makeRejects() in the first argument, and rejects.stream.subscribe(…)',
      });
    },
  };
};
