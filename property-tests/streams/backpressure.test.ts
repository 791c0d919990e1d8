import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import {
  bufferCount,
  concatMap,
  defer,
  filter,
  firstValueFrom,
  from,
  lastValueFrom,
  map,
  range,
  take,
  tap,
  toArray,
  pipe as compose,
} from 'rxjs';
import { asyncMapping } from '../../src/streams/asyncMapping.js';
import { drain } from '../../src/streams/drain.js';
import { makeGate } from '../../src/streams/gate.js';
import { mapping, windowed } from '../../src/streams/operator.js';
import { pull } from '../../src/streams/pull.js';
import { beats, endlessly, pacedIterable, wait, watchedIterable } from '../arbitraries/pace.js';
import type { Watched } from '../arbitraries/pace.js';

const numbers = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i);
const small = (): fc.Arbitrary<number> => fc.integer({ min: 1, max: 5 });

describe('back-pressure', () => {
  it('never has more records in flight than prefetch windows, for any batch size, accumulation and prefetch', async () => {
    await fc.assert(
      fc.asyncProperty(
        small(),
        small(),
        small(),
        fc.nat(120),
        beats(),
        beats(),
        fc.boolean(),
        async (size, accumulation, prefetch, count, pace, stepPace, sync) => {
          const gate = makeGate({ prefetch });
          const watched: Watched = { pulled: 0, closed: false };
          let done = 0;
          let most = 0;
          const source = sync
            ? watchedIterable(numbers(count), watched)
            : pacedIterable(numbers(count), pace, { watched });
          const out = await lastValueFrom(
            pull(source, gate).pipe(
              mapping('id', (a: number) => E.right(a)),
              bufferCount(size),
              bufferCount(accumulation),
              drain(async (window) => {
                most = Math.max(most, watched.pulled - done);
                for (const beat of stepPace) await wait(beat);
                most = Math.max(most, watched.pulled - done);
                done += window.flat().length;
                return window.flat();
              }, gate),
              toArray(),
            ),
          );
          expect(most).toBeLessThanOrEqual(prefetch * size * accumulation);
          // Nothing lost, nothing doubled, order kept.
          expect(out.flat()).toEqual(numbers(count));
          expect(watched.closed).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('adds at most what one record releases', async () => {
    await fc.assert(
      fc.asyncProperty(small(), small(), fc.nat(60), async (released, prefetch, count) => {
        const gate = makeGate({ prefetch });
        let given = 0;
        let done = 0;
        let most = 0;
        const out = await lastValueFrom(
          pull(numbers(count), gate).pipe(
            windowed('burst', () => ({
              push: (a: number) => E.right(numbers(released).map(() => a)),
              flush: () => [],
            })),
            tap(() => given++),
            drain(async (a) => {
              most = Math.max(most, given - done);
              await wait('macrotask');
              done++;
              return a;
            }, gate),
            toArray(),
          ),
        );
        expect(most).toBeLessThanOrEqual(prefetch - 1 + released);
        expect(out).toEqual(numbers(count).flatMap((a) => numbers(released).map(() => a)));
      }),
      { numRuns: 40 },
    );
  });

  it('bounds an ordered asynchronous stage between the ends', async () => {
    await fc.assert(
      fc.asyncProperty(
        small(),
        small(),
        small(),
        fc.nat(80),
        beats(),
        beats(),
        async (size, concurrency, prefetch, count, workPace, stepPace) => {
          const gate = makeGate({ prefetch });
          const watched: Watched = { pulled: 0, closed: false };
          let done = 0;
          let most = 0;
          let working = 0;
          let mostWorking = 0;
          const out = await lastValueFrom(
            pull(watchedIterable(numbers(count), watched), gate).pipe(
              asyncMapping(
                'work',
                async (a: number) => {
                  mostWorking = Math.max(mostWorking, ++working);
                  await wait(workPace[a % workPace.length] ?? 'now');
                  working--;
                  return E.right(a);
                },
                { concurrency, gate },
              ),
              bufferCount(size),
              drain(async (window) => {
                most = Math.max(most, watched.pulled - done);
                for (const beat of stepPace) await wait(beat);
                most = Math.max(most, watched.pulled - done);
                done += window.length;
                return window;
              }, gate),
              toArray(),
            ),
          );
          expect(most).toBeLessThanOrEqual(prefetch * size + concurrency - 1);
          expect(mostWorking).toBeLessThanOrEqual(concurrency);
          expect(out.flat()).toEqual(numbers(count));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('works on no more records at once than it is told, though its source waits for nobody', async () => {
    await fc.assert(
      fc.asyncProperty(small(), fc.nat(30), beats(), async (concurrency, count, pace) => {
        let working = 0;
        let most = 0;
        const work = async (a: number): Promise<E.Either<never, number>> => {
          most = Math.max(most, ++working);
          await wait(pace[a % pace.length] ?? 'now');
          working--;
          return E.right(a);
        };
        const out = await lastValueFrom(
          from(numbers(count)).pipe(asyncMapping('work', work, { concurrency }), toArray()),
        );
        expect(out).toEqual(numbers(count));
        expect(most).toBe(Math.min(concurrency, count));
      }),
      { numRuns: 40 },
    );
  });

  it('keeps its bound over epochs that share a gate', async () => {
    await fc.assert(
      fc.asyncProperty(
        small(),
        small(),
        fc.integer({ min: 1, max: 4 }),
        fc.nat(20),
        async (size, prefetch, epochs, count) => {
          const gate = makeGate({ prefetch });
          const watched: Watched = { pulled: 0, closed: false };
          let done = 0;
          let most = 0;
          const out = await lastValueFrom(
            range(0, epochs).pipe(
              concatMap(() => pull(watchedIterable(numbers(count), watched), gate)),
              bufferCount(size),
              drain(async (window) => {
                await wait('macrotask');
                most = Math.max(most, watched.pulled - done);
                done += window.length;
                return window;
              }, gate),
              toArray(),
            ),
          );
          expect(most).toBeLessThanOrEqual(prefetch * size);
          expect(out.flat()).toEqual(numbers(epochs).flatMap(() => numbers(count)));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('closes an endless source when the subscriber leaves, having started no step too many', async () => {
    await fc.assert(
      fc.asyncProperty(
        small(),
        small(),
        fc.integer({ min: 1, max: 12 }),
        fc.boolean(),
        async (size, prefetch, steps, sync) => {
          const gate = makeGate({ prefetch });
          const watched: Watched = { pulled: 0, closed: false };
          let started = 0;
          const source = sync
            ? watchedIterable(endlessly([1, 2, 3]), watched)
            : pacedIterable(endlessly([1, 2, 3]), ['now', 'macrotask'], { watched });
          const out = await lastValueFrom(
            pull(source, gate).pipe(
              bufferCount(size),
              drain(async () => {
                await wait('macrotask');
                return ++started;
              }, gate),
              take(steps),
              toArray(),
            ),
          );
          expect(out.length).toBe(steps);
          expect(started).toBe(steps);
          await wait('macrotask');
          expect(watched.closed).toBe(true);
          const { pulled } = watched;
          await wait('timer');
          expect(watched.pulled).toBe(pulled);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('runs work strictly one at a time', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(30), beats(), fc.boolean(), async (count, pace, lazy) => {
        let running = 0;
        let most = 0;
        const run = async (a: number): Promise<number> => {
          most = Math.max(most, ++running);
          for (const beat of pace) await wait(beat);
          running--;
          return a;
        };
        const work = (a: number) => (lazy ? () => run(a).then((b) => E.right(b)) : run(a));
        // No gate: a source that pushes everything at once.
        const out = await lastValueFrom(from(numbers(count)).pipe(drain(work), toArray()));
        expect(out).toEqual(numbers(count));
        expect(most).toBe(count === 0 ? 0 : 1);
      }),
      { numRuns: 40 },
    );
  });

  it('leaves the gate open for the next pipeline when one is left with work waiting', async () => {
    await fc.assert(
      fc.asyncProperty(small(), small(), fc.integer({ min: 1, max: 5 }), async (prefetch, released, some) => {
        const gate = makeGate({ prefetch });
        const pipeline = defer(() =>
          pull(endlessly([4, 5]), gate).pipe(
            concatMap((a) => numbers(released).map(() => a)),
            drain((a) => wait('macrotask').then(() => a), gate),
            take(some),
            toArray(),
          ),
        );
        const expected = numbers(some).map((i) => 4 + (Math.floor(i / released) % 2));
        expect(await lastValueFrom(pipeline)).toEqual(expected);
        await wait('macrotask');
        expect(gate.isOpen()).toBe(true);
        expect(await lastValueFrom(pipeline)).toEqual(expected);
      }),
      { numRuns: 40 },
    );
  });

  it('lets any synchronous operator in between', async () => {
    const gate = makeGate({ prefetch: 2 });
    const watched: Watched = { pulled: 0, closed: false };
    const out = await firstValueFrom(
      pull(watchedIterable(endlessly([1, 2, 3, 4]), watched), gate).pipe(
        compose(
          filter((a: number) => a % 2 === 0),
          map((a) => a * 10),
        ),
        concatMap((a) => [a, a]),
        bufferCount(4),
        drain((a) => wait('timer').then(() => a), gate),
        take(3),
        toArray(),
      ),
    );
    expect(out).toEqual(numbers(3).map(() => [20, 20, 40, 40]));
    expect(watched.pulled).toBeLessThanOrEqual(4 * 2 * 2 + 4);
  });
});
