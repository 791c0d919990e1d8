import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { short, ticks } from '../../src/train/report/chart.js';
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
      const factor = text.endsWith('M') ? 1e6 : text.endsWith('k') ? 1e3 : 1;
      expect(Math.abs(parseFloat(text) * factor - value)).toBeLessThanOrEqual(size / 100);
      expect(text.length).toBeLessThanOrEqual(9);
    }),
  );
});
