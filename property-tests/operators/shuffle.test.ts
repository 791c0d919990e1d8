import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { groupByLength, groupByLengthRows } from '../../src/operators/groupByLength.js';
import { permutation, shuffle, shuffleRows } from '../../src/operators/shuffle.js';
import { labelled, sorted } from '../arbitraries/rows.js';
import { operatorLaws } from '../laws.js';

const numbers = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i);

operatorLaws('shuffle', () => shuffle<number>({ seed: 3 }), fc.nat(), shuffleRows({ seed: 3 }), { endless: false });
operatorLaws(
  'shuffle through a buffer',
  () => shuffle<number>({ seed: 3, bufferSize: 4 }),
  fc.nat(),
  shuffleRows({ seed: 3, bufferSize: 4 }),
);
operatorLaws(
  'groupByLength',
  () => groupByLength({ size: 2, seed: 3 }),
  labelled(),
  groupByLengthRows({ size: 2, seed: 3 }),
  {
    endless: false,
  },
);

describe('shuffling', () => {
  const buffers = (): fc.Arbitrary<number | undefined> => fc.constantFrom(undefined, 1, 2, 5, 1000, Infinity);

  it('is a permutation, whole or through a buffer', () => {
    fc.assert(
      fc.property(fc.nat(60), fc.nat(), buffers(), (count, seed, bufferSize) => {
        expect(sorted(shuffleRows({ seed, bufferSize })(numbers(count)))).toEqual(numbers(count));
      }),
    );
  });

  it('is determined by seed, epoch and buffer size', () => {
    fc.assert(
      fc.property(fc.nat(60), fc.nat(), fc.nat(5), buffers(), (count, seed, epoch, bufferSize) => {
        const once = shuffleRows({ seed, epoch, bufferSize })(numbers(count));
        expect(shuffleRows({ seed, epoch, bufferSize })(numbers(count))).toEqual(once);
      }),
    );
  });

  it('differs between seeds and between epochs', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), (seed, other) => {
        fc.pre(seed !== other);
        const order = (s: number, epoch: number): string => permutation(40, s, epoch).join();
        expect(new Set([order(seed, 0), order(other, 0), order(seed, 1), order(seed, 2)]).size).toBe(4);
      }),
    );
  });

  it('gives nothing out earlier than its buffer allows', () => {
    fc.assert(
      fc.property(fc.nat(60), fc.nat(), fc.integer({ min: 1, max: 9 }), (count, seed, bufferSize) => {
        for (const [at, value] of shuffleRows({ seed, bufferSize })(numbers(count)).entries()) {
          expect(value).toBeLessThanOrEqual(at + bufferSize - 1);
        }
      }),
    );
  });

  it('puts every row everywhere about equally often', () => {
    const count = 5;
    const runs = 4000;
    const seen = Array.from({ length: count }, () => new Array<number>(count).fill(0));
    for (let seed = 0; seed < runs; seed++) {
      for (const [at, value] of permutation(count, seed).entries()) {
        const row = seen[value];
        if (row !== undefined) row[at] = (row[at] ?? 0) + 1;
      }
    }
    // Six standard deviations of a binomial share of 1/5.
    const slack = 6 * Math.sqrt(runs * 0.2 * 0.8);
    for (const places of seen.flat()) expect(Math.abs(places - runs / count)).toBeLessThan(slack);
  });
});

describe('grouping by length', () => {
  it('is a permutation with the longest row in front', () => {
    fc.assert(
      fc.property(
        fc.array(labelled(), { maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        fc.nat(),
        (rows, size, seed) => {
          const grouped = groupByLengthRows({ size, seed })(rows);
          expect(new Set(grouped)).toEqual(new Set(rows));
          expect(grouped.length).toBe(rows.length);
          const longest = Math.max(0, ...rows.map((row) => row.inputIds.length));
          expect(grouped[0]?.inputIds.length ?? 0).toBe(longest);
        },
      ),
    );
  });

  it('leaves no more padding than the order it came in would on average', () => {
    const rows = numbers(400).map((i) => ({ inputIds: new Int32Array((i * 37) % 101), seqLengths: [(i * 37) % 101] }));
    const waste = (order: ReadonlyArray<{ readonly inputIds: Int32Array }>): number => {
      let padding = 0;
      for (let start = 0; start < order.length; start += 4) {
        const lengths = order.slice(start, start + 4).map((row) => row.inputIds.length);
        padding += Math.max(...lengths) * lengths.length - lengths.reduce((sum, length) => sum + length, 0);
      }
      return padding;
    };
    expect(waste(groupByLengthRows({ size: 4, seed: 9 })(rows))).toBeLessThan(
      waste(shuffleRows({ seed: 9 })(rows)) / 4,
    );
  });
});
