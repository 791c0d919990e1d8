import type { DataError, Place } from '../../errors.js';

/** A row as it came, and where it came from. `line` is 1-based: the line a row starts on (a row number where files have no lines). */
export interface SourcedValue {
  readonly _tag: 'Sourced';
  readonly file: string;
  readonly line: number;
  readonly value: unknown;
}

/** A place where a row should have been. It is passed on, to be refused and counted like any other bad row. */
export interface SourcedError {
  readonly _tag: 'Sourced';
  readonly file: string;
  readonly line: number;
  readonly error: DataError;
}

/** A row of a file, or what is wrong with it, and where it stands. `decode` unpacks it. */
export type Sourced = SourcedValue | SourcedError;

/** A row with its place, for a reader of your own: errors then name file and line. */
export const sourced = (file: string, line: number, value: unknown): SourcedValue => ({
  _tag: 'Sourced',
  file,
  line,
  value,
});

export const sourcedError = (file: string, line: number, error: DataError): SourcedError => ({
  _tag: 'Sourced',
  file,
  line,
  error,
});

/** True for what the readers here yield, false for a bare row (whatever its columns are called). */
export const isSourced = (value: unknown): value is Sourced =>
  typeof value === 'object' &&
  value !== null &&
  '_tag' in value &&
  value._tag === 'Sourced' &&
  'line' in value &&
  ('value' in value || 'error' in value);

export const placeOf = ({ file, line }: Sourced): Place => ({ file, line });

/** Where a row as it came stands; undefined for a bare one. */
export const placeOfRow = (row: unknown): Place | undefined => (isSourced(row) ? placeOf(row) : undefined);

/** Rows as the readers make them: a chunk of the file at a time. */
export type Chunks = AsyncIterable<ReadonlyArray<Sourced>>;

/** The rows of the chunks one by one. Leaving the loop early closes the file. */
export const flattened = <A>(chunks: AsyncIterable<ReadonlyArray<A>>): AsyncIterable<A> => ({
  [Symbol.asyncIterator]: () => {
    const source = chunks[Symbol.asyncIterator]();
    let chunk: ReadonlyArray<A> = [];
    let next = 0;
    const step = async (): Promise<IteratorResult<A>> => {
      while (next >= chunk.length) {
        const result = await source.next();
        if (result.done === true) return { done: true, value: undefined };
        chunk = result.value;
        next = 0;
      }
      return { done: false, value: chunk[next++] as A };
    };
    return {
      // Most calls find their row in memory: no async function, no extra turn of the queue.
      next: () => (next < chunk.length ? Promise.resolve({ done: false as const, value: chunk[next++] as A }) : step()),
      return: async () => {
        chunk = [];
        await source.return?.();
        return { done: true, value: undefined };
      },
    };
  },
});
