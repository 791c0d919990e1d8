/** Moments in 8 bits: how far they are from what they hold. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { dequantizeMoment, momentBlock, quantizeMoment } from '../../../src/model/kernels/adamW8bit.js';
import { dynamicMap, nearestCode, unsignedDynamicMap } from '../../../src/model/quantize/dynamicMap.js';

/** Numbers from the tiny to the large, zeros among them. */
const values = (sign: boolean): fc.Arbitrary<ReadonlyArray<number>> =>
  fc.array(
    fc
      .tuple(fc.float({ min: sign ? -1 : 0, max: 1, noNaN: true }), fc.integer({ min: -9, max: 2 }))
      .map(([x, power]) => Math.fround(x * 10 ** power)),
    { maxLength: 600 },
  );

const cases = fc
  .constantFrom(true, false)
  .chain((sign) => values(sign).map((numbers) => ({ sign, numbers, map: sign ? dynamicMap : unsignedDynamicMap })));

const topOf = (numbers: ReadonlyArray<number>, i: number): number => {
  const from = Math.floor(i / momentBlock) * momentBlock;
  return Math.max(...numbers.slice(from, from + momentBlock).map(Math.abs));
};

describe('moments in 8 bits', () => {
  test('no number of the map is nearer, but for small negative ones, which stay negative', () => {
    fc.assert(
      fc.property(cases, ({ numbers, map }) => {
        const back = dequantizeMoment(quantizeMoment(numbers, map), map);
        numbers.forEach((x, i) => {
          const top = topOf(numbers, i);
          const nearest = Math.min(...map.map((code) => Math.abs(code * top - x)));
          const off = Math.abs((back[i] ?? NaN) - x);
          if (x < 0) {
            expect(Math.sign(back[i] ?? NaN)).toBe(Math.fround(5.5e-7 * top) === 0 ? Math.sign(back[i] ?? NaN) : -1);
            expect(off).toBeLessThanOrEqual(Math.max(nearest, 5.6e-7 * top) + 1e-6 * Math.abs(x) + 1e-30);
          } else expect(off).toBeLessThanOrEqual(nearest + 1e-6 * Math.abs(x) + 1e-30);
        });
      }),
      { numRuns: 60 },
    );
  });

  test('a number at least a tenth of the largest is off by at most a fourteenth of it, a first moment; half of that a second', () => {
    fc.assert(
      fc.property(cases, ({ sign, numbers, map }) => {
        const back = dequantizeMoment(quantizeMoment(numbers, map), map);
        numbers.forEach((x, i) => {
          const top = topOf(numbers, i);
          if (top > 1e-30 && Math.abs(x) >= 0.11 * top) {
            expect(Math.abs((back[i] ?? NaN) - x)).toBeLessThanOrEqual((Math.abs(x) / 14) * (sign ? 1 : 0.5));
          }
        });
      }),
      { numRuns: 60 },
    );
  });

  test('zero stays zero, whatever lies beside it; a block of zeros holds nothing else', () => {
    fc.assert(
      fc.property(cases, fc.nat(), ({ numbers, map }, at) => {
        const withZero = [...numbers.slice(0, at % 600), 0, ...numbers.slice(at % 600)];
        const back = dequantizeMoment(quantizeMoment(withZero, map), map);
        withZero.forEach((x, i) => {
          if (x === 0) expect(Math.abs(back[i] ?? NaN)).toBe(0);
        });
        const zeros = quantizeMoment(new Float32Array(numbers.length), map);
        expect(dequantizeMoment(zeros, map).every((x) => x === 0)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test('what was taken from the map comes back as it was', () => {
    fc.assert(
      fc.property(fc.constantFrom(dynamicMap, unsignedDynamicMap), fc.nat(255), (map, code) => {
        expect(nearestCode(map, map[code] ?? NaN)).toBe(code);
      }),
    );
  });
});
