/** Laws of mixing sources and of holding rows back. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { interleave, type StoppingStrategy } from '../../src/formats/datasets/interleave.js';
import { divide, evalRowCount, type DivideConfig } from '../../src/train/preparing/divide.js';
import type { Dataset } from '../../src/train/run/run.js';

const collected = async <A>(rows: AsyncIterable<A> | Iterable<A>): Promise<ReadonlyArray<A>> => {
  const all: Array<A> = [];
  for await (const row of rows) all.push(row);
  return all;
};
const strategies = fc.constantFrom<StoppingStrategy>(
  'first_exhausted',
  'all_exhausted',
  'all_exhausted_without_replacement',
);
const lengths = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 });
const seeds = fc.nat();
const sourcesOf = (sizes: ReadonlyArray<number>): ReadonlyArray<ReadonlyArray<readonly [number, number]>> =>
  sizes.map((size, s) => Array.from({ length: size }, (_, i) => [s, i] as const));

describe('a mixture', () => {
  test('keeps the order of each source, ends where the strategy says, and is the same when it is read again', () =>
    fc.assert(
      fc.asyncProperty(lengths, strategies, seeds, async (sizes, stoppingStrategy, seed) => {
        const sources = sourcesOf(sizes).map((rows, i) => ({ rows, weight: i + 1 }));
        const mixed = interleave(sources, { seed, stoppingStrategy });
        const rows = await collected(mixed);
        expect(await collected(mixed)).toEqual(rows);
        const counts = sizes.map((size, s) => {
          const own = rows.filter(([from]) => from === s).map(([, i]) => i);
          expect(own).toEqual(own.map((_, place) => place % size));
          return own.length;
        });
        const last = rows[rows.length - 1];
        const full = counts.map((count, s) => count >= (sizes[s] ?? 0));
        if (stoppingStrategy === 'first_exhausted') {
          // Exactly one has ended, with the last row.
          expect(full.flatMap((is, s) => (is ? [s] : []))).toEqual([last?.[0]]);
          expect(counts.every((count, s) => count <= (sizes[s] ?? 0))).toBe(true);
        } else if (stoppingStrategy === 'all_exhausted') {
          expect(full.every(Boolean)).toBe(true);
          expect(counts[last?.[0] ?? 0]).toBe(sizes[last?.[0] ?? 0]);
        } else expect(counts).toEqual(sizes);
      }),
    ));

  test('closes every source when it is left', async () => {
    const closed: Array<number> = [];
    const endless = (s: number): Iterable<number> => ({
      *[Symbol.iterator]() {
        try {
          for (;;) yield s;
        } finally {
          closed.push(s);
        }
      },
    });
    for await (const row of interleave(
      [endless(0), endless(1)].map((rows) => ({ rows, weight: 1 })),
      { seed: 3 },
    )) {
      expect([0, 1]).toContain(row);
      break;
    }
    expect(closed.sort()).toEqual([0, 1]);
  });

  test('draws in proportion to the weights', async () => {
    const rows = (s: number): Iterable<number> => Array.from({ length: 20_000 }, () => s);
    const mixed = await collected(
      interleave(
        [
          { rows: rows(0), weight: 3 },
          { rows: rows(1), weight: 1 },
        ],
        { seed: 5 },
      ),
    );
    const share = mixed.filter((s) => s === 0).length / mixed.length;
    expect(Math.abs(share - 0.75)).toBeLessThan(0.02);
  });

  test('weights that are no shares and empty sources are refused', async () => {
    for (const weight of [0, -1, Number.NaN, Infinity]) {
      expect(() => interleave([{ rows: [1], weight }], { seed: 0 })).toThrow(/weight of source 1/);
    }
    await expect(
      collected(
        interleave(
          [
            { rows: [1], weight: 1 },
            { rows: [], weight: 1 },
          ],
          { seed: 0 },
        ),
      ),
    ).rejects.toMatchObject({
      code: 'E_EMPTY_DATASET',
    });
    const once = (function* () {
      yield 1;
    })();
    await expect(
      collected(
        interleave(
          [
            { rows: once, weight: 1 },
            { rows: [1, 2, 3], weight: 0.0001 },
          ],
          { seed: 0, stoppingStrategy: 'all_exhausted' },
        ),
      ),
    ).rejects.toMatchObject({ code: 'E_EMPTY_DATASET' });
  });
});

const config = (evalSplit: number, seed: number, streaming = false): DivideConfig => ({
  evalSplit,
  seed,
  streaming,
  stoppingStrategy: 'all_exhausted_without_replacement',
});
const parts = async (trainDataset: Parameters<typeof divide>[0]['trainDataset'], options: DivideConfig) => {
  const result = await divide({ trainDataset }, options)();
  if (E.isLeft(result)) throw result.left;
  const { trainDataset: train, evalDataset } = result.right;
  return {
    train: (await collected(train)) as ReadonlyArray<number>,
    evaluation: (await collected((evalDataset ?? []) as Dataset)) as ReadonlyArray<number>,
    again: (await collected(train)) as ReadonlyArray<number>,
  };
};
const splits = fc.oneof(fc.double({ min: 0.01, max: 0.99, noNaN: true }), fc.integer({ min: 1, max: 9 }));
const numbers = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i);

describe('evalSplit', () => {
  test('the parts are disjoint, complete, in order, as large as asked for, and the same every time', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 60 }),
        splits,
        seeds,
        fc.boolean(),
        async (count, evalSplit, seed, once) => {
          fc.pre(evalRowCount(count, evalSplit) < count);
          const all = numbers(count);
          const source = (): Dataset => (once ? all.values() : all);
          const { train, evaluation, again } = await parts(source(), config(evalSplit, seed));
          expect([...train, ...evaluation].sort((a, b) => a - b)).toEqual(all);
          expect(evaluation.length).toBe(evalRowCount(count, evalSplit));
          expect(train).toEqual(train.toSorted((a, b) => a - b));
          expect(evaluation).toEqual(evaluation.toSorted((a, b) => a - b));
          expect(again).toEqual(train);
          expect(await parts(source(), config(evalSplit, seed))).toMatchObject({ train, evaluation });
        },
      ),
    ));

  test('of a mixture, no source gives a row to both parts, however often it is drawn', () =>
    fc.assert(
      fc.asyncProperty(fc.integer({ min: 4, max: 20 }), seeds, async (count, seed) => {
        const mix = [numbers(count), numbers(count).map((i) => i + 1000)].map((dataset) => ({ dataset, weight: 1 }));
        const { train, evaluation } = await parts(
          { mix },
          { ...config(3, seed), stoppingStrategy: 'all_exhausted_without_replacement' },
        );
        expect(evaluation.length).toBe(3);
        expect([...train, ...evaluation].sort((a, b) => a - b)).toEqual(mix.flatMap(({ dataset }) => dataset));
      }),
    ));

  test('a stream is divided without being counted', () =>
    fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const all = numbers(400);
        const { train, evaluation } = await parts(all, config(0.25, seed, true));
        expect([...train, ...evaluation].sort((a, b) => a - b)).toEqual(all);
        expect(Math.abs(evaluation.length - 100)).toBeLessThan(60);
      }),
    ));

  test('rows at the end of a stream leave the lots of those before them as they are', async () => {
    const short = await parts(numbers(50), config(0.3, 7, true));
    const long = await parts(numbers(80), config(0.3, 7, true));
    expect(long.evaluation.filter((i) => i < 50)).toEqual(short.evaluation);
  });

  test('all rows, or an evaluation set beside it, are refused', async () => {
    await expect(parts(numbers(5), config(5, 0))).rejects.toMatchObject({ code: 'E_EVAL_SPLIT' });
    const both = await divide({ trainDataset: [1], evalDataset: [2] }, config(0.5, 0))();
    expect(E.isLeft(both) && both.left.code).toBe('E_OPTIONS');
  });
});
