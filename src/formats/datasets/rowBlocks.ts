/** Data sets by the block: rows that nobody has parsed yet can be parsed wherever they are wanted. */
import type { LineBlock } from './lineBlocks.js';

interface Progress {
  /** Share of the data set (of a file: of its bytes) read with this block, where it is known. */
  readonly read?: number | undefined;
}

/** Whole lines of a JSON Lines file as they lie there; or rows as they came. */
export type RowBlock = Progress &
  (
    | { readonly kind: 'lines'; readonly file: string; readonly lines: LineBlock }
    | { readonly kind: 'rows'; readonly rows: ReadonlyArray<unknown> }
  );

const known = new WeakMap<object, AsyncIterable<RowBlock>>();

/** The rows, known to be those of the blocks. */
export const withBlocks = <R extends object>(rows: R, blocks: AsyncIterable<RowBlock>): R => {
  known.set(rows, blocks);
  return rows;
};

/** The same rows by the block, where the data set is one of the readers here. */
export const blocksOf = (dataset: object): AsyncIterable<RowBlock> | undefined => known.get(dataset);

/** Rows of a block: few enough to come soon, many enough that handing them over costs little. */
const rowsOfABlock = 128;
/** A block that has waited this long for a slow source goes on as it is. */
const patienceMs = 5;

const late = Symbol('late');

const patience = (): { readonly over: Promise<typeof late>; readonly stop: () => void } => {
  let stop = (): void => undefined;
  const over = new Promise<typeof late>((resolve) => {
    const timer = setTimeout(() => resolve(late), patienceMs);
    stop = () => {
      clearTimeout(timer);
      resolve(late);
    };
  });
  return { over, stop };
};

const blocksOfSync = (rows: Iterable<unknown>, mostRows: number): AsyncIterator<RowBlock> => {
  const source = rows[Symbol.iterator]();
  const length = Array.isArray(rows) ? rows.length : undefined;
  let count = 0;
  let failure: { readonly cause: unknown } | undefined;
  let ended = false;
  const block = (): IteratorResult<RowBlock> => {
    const taken: Array<unknown> = [];
    try {
      while (!ended && failure === undefined && taken.length < mostRows) {
        const next = source.next();
        if (next.done === true) ended = true;
        else taken.push(next.value);
      }
    } catch (cause) {
      failure = { cause };
    }
    count += taken.length;
    const progress = length === undefined ? {} : { read: count / length };
    if (taken.length > 0) return { done: false, value: { kind: 'rows', rows: taken, ...progress } };
    ended = true;
    if (failure === undefined) return { done: true, value: undefined };
    throw failure.cause;
  };
  return {
    next: async () => {
      await Promise.resolve();
      return block();
    },
    return: () => {
      if (!ended) source.return?.();
      ended = true;
      return Promise.resolve({ done: true, value: undefined });
    },
  };
};

const blocksOfAsync = (rows: AsyncIterable<unknown>, mostRows: number): AsyncIterator<RowBlock> => {
  const source = rows[Symbol.asyncIterator]();
  let pending: Promise<IteratorResult<unknown>> | undefined;
  let failure: { readonly cause: unknown } | undefined;
  let ended = false;
  const ask = (): Promise<IteratorResult<unknown>> => {
    pending ??= source.next();
    return pending;
  };
  return {
    next: async () => {
      const taken: Array<unknown> = [];
      const wait = patience();
      try {
        while (!ended && failure === undefined && taken.length < mostRows) {
          const next = await (taken.length === 0 ? ask() : Promise.race([ask(), wait.over]));
          if (next === late) break;
          pending = undefined;
          if (next.done === true) ended = true;
          else taken.push(next.value);
        }
      } catch (cause) {
        failure = { cause };
      } finally {
        wait.stop();
      }
      if (taken.length > 0) return { done: false, value: { kind: 'rows', rows: taken } };
      ended = true;
      if (failure === undefined) return { done: true, value: undefined };
      throw failure.cause;
    },
    return: async () => {
      // A row that is still awaited comes to nobody.
      pending?.catch(() => undefined);
      const open = !ended && failure === undefined;
      ended = true;
      if (open) await source.return?.();
      return { done: true, value: undefined };
    },
  };
};

/**
 * The blocks of any data set: its reader's own, or its rows, at most `mostRows` (128 by default) at a time. Rows of a slow source
 * wait 5 ms for company.
 */
export const rowBlocks = (
  dataset: Iterable<unknown> | AsyncIterable<unknown>,
  mostRows = rowsOfABlock,
): AsyncIterable<RowBlock> =>
  blocksOf(dataset) ?? {
    [Symbol.asyncIterator]: () =>
      Symbol.asyncIterator in dataset ? blocksOfAsync(dataset, mostRows) : blocksOfSync(dataset, mostRows),
  };
