/** Laws that every operator of this library meets, to hold any operator against. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { lastValueFrom, take, toArray } from 'rxjs';
import type { Observable, OperatorFunction } from 'rxjs';
import type { Rejecting } from '../src/streams/operator.js';
import { makeRejects } from '../src/streams/rejects.js';
import type { Rejects } from '../src/streams/rejects.js';
import { pull } from '../src/streams/pull.js';
import type { Transform } from '../src/records.js';
import { beats, endlessly, pacedIterable, pacedObservable, wait, watchedIterable } from './arbitraries/pace.js';
import type { Watched } from './arbitraries/pace.js';

export interface LawOptions {
  /** False for operators that wait for the end of their source before they release anything. */
  readonly endless?: boolean;
  /** True when every record that goes in comes out or is refused. */
  readonly oneToOne?: boolean;
  readonly numRuns?: number;
}

const collect = <A>(stream: Observable<A>): Promise<ReadonlyArray<A>> => lastValueFrom(stream.pipe(toArray()));

const openDoor = (): Rejects => makeRejects({ maxRate: 1 });

/** What a transform makes of many records: its Rights. */
export const rightsOf =
  <A, B>(transform: Transform<A, B>) =>
  (inputs: ReadonlyArray<A>): ReadonlyArray<B> =>
    inputs.flatMap((input) => {
      const result = transform(input);
      return result._tag === 'Right' ? [result.right] : [];
    });

/**
 * Holds an operator against its pure half. `oracle` says what the operator makes of a whole source; refused records leave by the
 * side door that `makeOperator` is given. The operator must meet: lifting equals mapping however the source is paced; empty,
 * single, erring, endless and abandoned sources behave; subscriptions do not share state.
 */
export const operatorLaws = <A, B>(
  name: string,
  makeOperator: (options: Rejecting) => OperatorFunction<A, B>,
  input: fc.Arbitrary<A>,
  oracle: (inputs: ReadonlyArray<A>) => ReadonlyArray<B>,
  { endless = true, oneToOne = false, numRuns = 40 }: LawOptions = {},
): void => {
  const inputs = fc.array(input, { maxLength: 24 });
  const check = async (property: fc.IAsyncProperty<[ReadonlyArray<A>, ...ReadonlyArray<unknown>]>): Promise<void> => {
    await fc.assert(property as fc.IAsyncProperty<unknown>, { numRuns });
  };

  describe(`${name} as an operator`, () => {
    it('gives what its pure half gives, however the source is paced', async () => {
      await check(
        fc.asyncProperty(inputs, beats(), async (values, pace) => {
          const rejects = openDoor();
          const pushed = await collect(pacedObservable(values, pace).pipe(makeOperator({ rejects })));
          expect(pushed).toEqual(oracle(values));
          if (oneToOne) expect(pushed.length + rejects.counts().rejected).toBe(values.length);
          const pulled = await collect(pull(pacedIterable(values, pace)).pipe(makeOperator({ rejects: openDoor() })));
          expect(pulled).toEqual(pushed);
        }),
      );
    });

    it('completes an empty source', async () => {
      expect(await collect(pacedObservable<A>([], ['now']).pipe(makeOperator({ rejects: openDoor() })))).toEqual(
        oracle([]),
      );
    });

    it('handles a single record', async () => {
      await check(
        fc.asyncProperty(fc.tuple(input), async (values) => {
          const out = await collect(pacedObservable(values, ['now']).pipe(makeOperator({ rejects: openDoor() })));
          expect(out).toEqual(oracle(values));
        }),
      );
    });

    it('passes on the error of its source, after a beginning of what it would have given', async () => {
      await check(
        fc.asyncProperty(inputs, beats(), async (values, pace) => {
          const error = new Error('the source broke');
          const seen: Array<B> = [];
          const end = await new Promise((resolve) => {
            pacedObservable(values, pace, error)
              .pipe(makeOperator({ rejects: openDoor() }))
              .subscribe({
                next: (value) => seen.push(value),
                error: resolve,
                complete: () => resolve('completed'),
              });
          });
          expect(end).toBe(error);
          expect(seen).toEqual(oracle(values).slice(0, seen.length));
        }),
      );
    });

    it('leaves its source when it is left', async () => {
      await check(
        fc.asyncProperty(inputs, beats(), fc.nat(5), async (values, pace, few) => {
          const expected = oracle(values);
          fc.pre(expected.length > few);
          const watched: Watched = { pulled: 0, closed: false };
          const out = await collect(
            pacedObservable(values, pace, undefined, watched).pipe(
              makeOperator({ rejects: openDoor() }),
              take(few + 1),
            ),
          );
          expect(out).toEqual(expected.slice(0, few + 1));
          expect(watched.closed).toBe(true);
        }),
      );
    });

    it('keeps no state between subscriptions', async () => {
      await check(
        fc.asyncProperty(inputs, async (values) => {
          const stream = pacedObservable(values, ['now']).pipe(makeOperator({ rejects: openDoor() }));
          expect(await Promise.all([collect(stream), collect(stream)])).toEqual([oracle(values), oracle(values)]);
        }),
      );
    });

    if (endless) {
      it('stops an endless source', async () => {
        await check(
          fc.asyncProperty(inputs, fc.integer({ min: 1, max: 6 }), fc.boolean(), async (values, some, sync) => {
            fc.pre(oracle(values).length > 0);
            const watched: Watched = { pulled: 0, closed: false };
            const source = sync
              ? watchedIterable(endlessly(values), watched)
              : pacedIterable(endlessly(values), ['now', 'microtask'], watched);
            const out = await collect(pull(source).pipe(makeOperator({ rejects: openDoor() }), take(some)));
            expect(out.length).toBe(some);
            // An async generator closes once what was asked of it has come.
            await wait('timer');
            expect(watched.closed).toBe(true);
          }),
        );
      });
    }
  });
};
