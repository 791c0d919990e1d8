import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { nearest, short, smooth, thinned, ticks } from '../../src/train/report/numbers.js';
import { escape } from '../../src/train/report/markup.js';

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
const read = (text: string): string =>
  text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => entities[name] ?? '');

test('escaped text holds no markup and reads back as it was', () => {
  const marks = fc.constantFrom('&', '<', '>', '"', "'", ';', 'lt', 'é', '😀');
  const printable = fc
    .string({ unit: fc.oneof(marks, fc.string({ unit: 'binary', maxLength: 1 })) })
    .map((text) => text.replace(/\p{Cc}/gu, ' '));
  fc.assert(
    fc.property(printable, (text) => {
      expect(escape(text)).not.toMatch(/[<>"']/);
      expect(read(escape(text))).toBe(text);
    }),
  );
});

test('ticks reach from at or below the low end to at or above the high end, evenly, and are few', () => {
  const bound = fc.double({ min: -1e6, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(bound, bound, fc.integer({ min: 2, max: 8 }), (a, b, count) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b)];
      fc.pre(high - low > 1e-6 * Math.max(1, Math.abs(low), Math.abs(high)));
      const found = ticks(low, high, count);
      const slack = (high - low) * 1e-6;
      expect(found[0]).toBeLessThanOrEqual(low + slack);
      expect(found[found.length - 1]).toBeGreaterThanOrEqual(high - slack);
      expect(found.length).toBeLessThanOrEqual(count + 2);
      const gaps = found.slice(1).map((tick, i) => tick - (found[i] ?? 0));
      for (const gap of gaps) expect(gap).toBeCloseTo(gaps[0] ?? 0, 5);
    }),
  );
});

test('a shortened number is within a hundredth of the number', () => {
  fc.assert(
    fc.property(fc.double({ min: 1e-9, max: 1e9, noNaN: true }), fc.boolean(), (size, negative) => {
      const value = negative ? -size : size;
      const text = short(value);
      const factor = text.endsWith('B') ? 1e9 : text.endsWith('M') ? 1e6 : text.endsWith('k') ? 1e3 : 1;
      expect(Math.abs(parseFloat(text) * factor - value)).toBeLessThanOrEqual(size / 100);
      expect(text.length).toBeLessThanOrEqual(9);
    }),
  );
});

// The sign of zero is nothing to smoothing.
const holes = fc.array(fc.option(fc.double({ min: -100, max: 100, noNaN: true }).map((x) => x + 0)), {
  maxLength: 200,
});

test('smoothing stays between the least and the greatest seen so far, and leaves holes where they are', () => {
  fc.assert(
    fc.property(holes, fc.double({ min: 0, max: 0.99, noNaN: true }), (values, decay) => {
      const smoothed = smooth(values, decay);
      expect(smoothed.map((value) => value === null)).toEqual(values.map((value) => value === null));
      let [least, most] = [Infinity, -Infinity];
      smoothed.forEach((value, i) => {
        const own = values[i];
        if (value === null || own === null || own === undefined) return;
        [least, most] = [Math.min(least, own), Math.max(most, own)];
        expect(value).toBeGreaterThanOrEqual(least - 1e-6);
        expect(value).toBeLessThanOrEqual(most + 1e-6);
      });
      expect(smooth(values, 0)).toEqual(values);
    }),
  );
});

test('thinned values are in order, few, and keep first, last, least and greatest', () => {
  fc.assert(
    fc.property(holes, fc.integer({ min: 1, max: 30 }), (values, columns) => {
      const kept = thinned(values, columns);
      const there = values.flatMap((value, i) => (value === null ? [] : [i]));
      expect(kept).toEqual([...new Set(kept)].sort((a, b) => a - b));
      expect(kept.length).toBeLessThanOrEqual(2 * columns + 2);
      if (there.length === 0) return;
      const numbers = (places: ReadonlyArray<number>): ReadonlyArray<number> => places.map((i) => values[i] ?? NaN);
      expect([kept[0], kept.at(-1)]).toEqual([there[0], there.at(-1)]);
      expect(Math.min(...numbers(kept))).toBe(Math.min(...numbers(there)));
      expect(Math.max(...numbers(kept))).toBe(Math.max(...numbers(there)));
    }),
  );
});

test('no value is nearer than the nearest', () => {
  const sorted = fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 1 }).map((all) => all.sort((a, b) => a - b));
  fc.assert(
    fc.property(sorted, fc.double({ min: -60, max: 60, noNaN: true }), (values, x) => {
      const found = values[nearest(values, x)] ?? NaN;
      for (const value of values) expect(Math.abs(found - x)).toBeLessThanOrEqual(Math.abs(value - x));
    }),
  );
  expect(nearest([], 3)).toBe(-1);
});
