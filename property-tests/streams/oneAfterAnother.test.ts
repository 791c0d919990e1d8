/** Streams one after another are those streams joined, however they end, and none is made before its turn. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Observable } from 'rxjs';
import { asyncScheduler, finalize, from, lastValueFrom, NEVER, scheduled, take, throwError, toArray } from 'rxjs';
import { oneAfterAnother } from '../../src/streams/oneAfterAnother.js';

const parts = fc.array(fc.record({ values: fc.array(fc.nat(9), { maxLength: 4 }), isAsync: fc.boolean() }), {
  maxLength: 8,
});

test('all parts come, in order, and each is made when the one before has ended', async () => {
  await fc.assert(
    fc.asyncProperty(parts, async (given) => {
      let ended = 0;
      const all = oneAfterAnother(given.length, (index) => {
        expect(ended).toBe(index);
        const { values = [], isAsync = false } = given[index] ?? {};
        return (isAsync ? scheduled(values, asyncScheduler) : from(values)).pipe(finalize(() => ended++));
      });
      const got = await lastValueFrom(all.pipe(toArray()));
      expect(got).toEqual(given.flatMap(({ values }) => values));
    }),
    { numRuns: 50 },
  );
});

test('a hundred thousand parts that end at once take no stack', async () => {
  const got = await lastValueFrom(oneAfterAnother(100_000, (index) => from([index])));
  expect(got).toBe(99_999);
});

test('who leaves after a few of endlessly many leaves the part that is under way', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 3 }), async (wanted, each) => {
      let [made, left] = [0, 0];
      const part = (index: number): Observable<number> => {
        made++;
        return from(Array.from({ length: each }, () => index)).pipe(finalize(() => left++));
      };
      await lastValueFrom(oneAfterAnother(Infinity, part).pipe(take(wanted)));
      expect([made, left]).toEqual([Math.ceil(wanted / each), Math.ceil(wanted / each)]);
    }),
  );
});

test('a part that never ends and never waits is left all the same', async () => {
  const endless = function* (): Generator<number, void, undefined> {
    for (let n = 0; ; n++) yield n;
  };
  expect(await lastValueFrom(oneAfterAnother(1, () => from(endless())).pipe(take(3), toArray()))).toEqual([0, 1, 2]);
});

test('the first failure ends it, in a part or in its making', async () => {
  const failing = (index: number): Observable<number> => {
    if (index === 2) throw new Error('made');
    return index === 1 ? from([1]) : from([0]);
  };
  await expect(lastValueFrom(oneAfterAnother(5, failing).pipe(toArray()))).rejects.toThrow('made');
  const seen: Array<number> = [];
  const failed = oneAfterAnother(3, (index) => (index === 1 ? throwError(() => new Error('part')) : from([index])));
  await expect(
    new Promise((_, reject) => failed.subscribe({ next: (one) => seen.push(one), error: reject })),
  ).rejects.toThrow('part');
  expect(seen).toEqual([0]);
});

test('a part that goes on keeps the others waiting, and none is no part at all', async () => {
  let made = 0;
  const waiting = oneAfterAnother(2, () => {
    made++;
    return NEVER;
  }).subscribe();
  expect(made).toBe(1);
  waiting.unsubscribe();
  expect(await lastValueFrom(oneAfterAnother(0, () => NEVER).pipe(toArray()))).toEqual([]);
});
