import fc from 'fast-check';
import { Observable, throwError } from 'rxjs';
import { checked, unreadable } from '../checked.js';
import type { OptionNames } from '../checked.js';

/** What a source waits for before a record: nothing, a microtask, a macrotask, a timer. */
export type Beat = 'now' | 'microtask' | 'macrotask' | 'timer';

/** When a source gives its records: at once, later, or by turns. */
export const beats = (): fc.Arbitrary<ReadonlyArray<Beat>> =>
  fc.oneof(
    fc.constant<ReadonlyArray<Beat>>(['now']),
    fc.array(fc.constantFrom<Beat>('now', 'now', 'microtask', 'macrotask'), { minLength: 1, maxLength: 8 }),
    fc.array(fc.constantFrom<Beat>('now', 'microtask', 'macrotask', 'timer'), { minLength: 1, maxLength: 4 }),
  );

export const wait = (beat: Beat): Promise<void> =>
  beat === 'timer'
    ? new Promise((resolve) => setTimeout(resolve, 1))
    : beat === 'macrotask'
      ? new Promise((resolve) => setImmediate(resolve))
      : Promise.resolve();

const beatAt = (pace: ReadonlyArray<Beat>, index: number): Beat => pace[index % pace.length] ?? 'now';

/** What happened to a source: how much was asked of it, and whether it was closed. */
export interface Watched {
  pulled: number;
  closed: boolean;
}

/** What is told of a source at a pace, and how it ends. */
export interface PaceOptions {
  /** Where it is told how much was asked of the source, and whether it was closed. */
  readonly watched?: Watched | undefined;
  /** What the source ends with; absent: it completes. */
  readonly error?: Error | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const paceOptionNames: OptionNames<PaceOptions> = { watched: 'optional', error: 'optional' };

/** An async iterable of the values at the pace; ends with `error` when one is given. */
export const pacedIterable = checked(
  'pacedIterable',
  unreadable,
  { 2: paceOptionNames },
  <A>(
    values: Iterable<A>,
    pace: ReadonlyArray<Beat>,
    { watched = { pulled: 0, closed: false }, error }: PaceOptions = {},
  ): AsyncIterable<A> => ({
    async *[Symbol.asyncIterator]() {
      let index = 0;
      try {
        for (const value of values) {
          const beat = beatAt(pace, index++);
          if (beat !== 'now') await wait(beat);
          watched.pulled++;
          yield value;
        }
        if (error !== undefined) throw error;
      } finally {
        watched.closed = true;
      }
    },
  }),
);

/** A sync iterable that is watched. */
export const watchedIterable = <A>(values: Iterable<A>, watched: Watched): Iterable<A> => ({
  *[Symbol.iterator]() {
    try {
      for (const value of values) {
        watched.pulled++;
        yield value;
      }
    } finally {
      watched.closed = true;
    }
  },
});

/** The values over and over. */
export const endlessly = <A>(values: ReadonlyArray<A>): Iterable<A> => ({
  *[Symbol.iterator]() {
    for (;;) yield* values;
  },
});

/** A push source that waits for nobody: emits at its pace, then completes, or errs when an error is given. */
export const pacedObservable = checked(
  'pacedObservable',
  (fault) => throwError(() => fault),
  { 2: paceOptionNames },
  <A>(
    values: ReadonlyArray<A>,
    pace: ReadonlyArray<Beat>,
    { watched = { pulled: 0, closed: false }, error }: PaceOptions = {},
  ): Observable<A> =>
    new Observable((out) => {
      out.add(() => {
        watched.closed = true;
      });
      const end = (): void => {
        if (error === undefined) out.complete();
        else out.error(error);
      };
      const from = (start: number): void => {
        for (let index = start; index < values.length; index++) {
          if (out.closed) return;
          const beat = beatAt(pace, index);
          const emit = (): void => {
            watched.pulled++;
            out.next(values[index] as A);
          };
          if (beat !== 'now') {
            void wait(beat).then(() => {
              emit();
              from(index + 1);
            });
            return;
          }
          emit();
        }
        end();
      };
      from(0);
    }),
);
