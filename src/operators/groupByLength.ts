import { right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import type { Row } from '../records.js';
import { windowed } from '../streams/operator.js';
import { permutation } from './shuffle.js';
import { wholeNumber } from './wholeNumber.js';

/** How rows of like length are brought together. */
export interface GroupByLengthOptions {
  /** Rows a batch, 1 or more (else `E_OPTIONS` is thrown): lengths agree within a batch as far as they can. */
  readonly size: number;
  /** The same seed gives the same order. */
  readonly seed: number;
  /** Another order an epoch. Default 0. */
  readonly epoch?: number | undefined;
  /** In a stream: rows held at once. Absent: all of them. */
  readonly bufferSize?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const groupByLengthOptionNames: OptionNames<GroupByLengthOptions> = {
  size: 'required',
  seed: 'required',
  epoch: 'optional',
  bufferSize: 'optional',
};

const grouped = <A extends Row>(rows: ReadonlyArray<A>, size: number, order: Uint32Array): ReadonlyArray<A> => {
  const lengthOf = (i: number): number => rows[i]?.inputIds.length ?? 0;
  const stretch = size * Math.max(1, Math.min(Math.floor(rows.length / (size * 4)), 50));
  const stretches: Array<Array<number>> = [];
  for (let start = 0; start < order.length; start += stretch) {
    stretches.push([...order.subarray(start, start + stretch)].sort((a, b) => lengthOf(b) - lengthOf(a)));
  }
  const [first] = stretches;
  const longest = stretches.reduce(
    (best, own) => (lengthOf(own[0] ?? 0) > lengthOf(best[0] ?? 0) ? own : best),
    first ?? [],
  );
  const front = first?.[0];
  const head = longest[0];
  if (first !== undefined && front !== undefined && head !== undefined) {
    longest[0] = front;
    first[0] = head;
  }
  return stretches.flat().flatMap((i) => rows[i] ?? []);
};

/**
 * A random order in which neighbours have like lengths, the longest row in front so that memory runs out early or never:
 * a permutation cut into stretches of min(n / (4 size), 50) batches, each sorted by falling length (transformers'
 * `get_length_grouped_indices`).
 */
export const groupByLengthRows = (
  options: GroupByLengthOptions,
): (<A extends Row>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) => {
  const { size, seed, epoch = 0 } = known('groupByLength', amongRun(groupByLengthOptionNames), options);
  wholeNumber('groupByLength', 'size', size);
  return (rows) => grouped(rows, size, permutation(rows.length, seed, epoch));
};

/** `groupByLengthRows` as a stage: waits for the end of the source, or for `bufferSize` rows, and gives them in the new order. */
export const groupByLength = <A extends Row>(options: GroupByLengthOptions): OperatorFunction<A, A> => {
  const names = amongRun(groupByLengthOptionNames);
  const { size, seed, epoch = 0, bufferSize = Infinity } = known('groupByLength', names, options);
  wholeNumber('groupByLength', 'size', size);
  return windowed('groupByLength', () => {
    let held: Array<A> = [];
    let buffers = 0;
    const release = (): ReadonlyArray<A> => {
      const rows = held;
      held = [];
      // Each buffer its own order; one that holds the whole source, the order of the pure half.
      const counters = Number.isFinite(bufferSize) ? [epoch, buffers++] : [epoch];
      return grouped(rows, size, permutation(rows.length, seed, ...counters));
    };
    return {
      push: (row) => {
        held.push(row);
        return right(held.length < bufferSize ? [] : release());
      },
      flush: release,
    };
  });
};
