/** Laws of stop strings: nothing after one is ever given, however the text comes in pieces. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { from, lastValueFrom, Subject, tap, toArray } from 'rxjs';
import { untilStop, untilStopText } from '../../src/train/generating/stopStrings.js';

const letters = (maxLength: number, minLength = 0) =>
  fc.string({ unit: fc.constantFrom('a', 'b', '\n'), minLength, maxLength });
const pieces = fc.array(letters(5), { maxLength: 12 });
const stopping = fc.record({
  stop: fc.array(letters(4, 1), { minLength: 1, maxLength: 3 }),
  includeStop: fc.boolean(),
});

test('a text ends with the first stop string to be complete, or before it', () => {
  fc.assert(
    fc.property(letters(30), stopping, (text, options) => {
      const { stop, includeStop } = options;
      const prefixes = Array.from({ length: text.length + 1 }, (_, n) => text.slice(0, n));
      const ends = (prefix: string): ReadonlyArray<string> => stop.filter((one) => prefix.endsWith(one));
      const first = prefixes.find((prefix) => ends(prefix).length > 0);
      const cut = first === undefined || includeStop ? 0 : Math.max(...ends(first).map(({ length }) => length));
      expect(untilStopText(text, options)).toBe((first ?? text).slice(0, (first ?? text).length - cut));
    }),
  );
});

test('in pieces it is the same text, and the source is left with the piece that completes the stop string', async () => {
  await fc.assert(
    fc.asyncProperty(pieces, stopping, async (given, options) => {
      let asked = 0;
      const source = from(given).pipe(tap(() => asked++));
      const got = await lastValueFrom(source.pipe(untilStop(options), toArray()));
      const text = given.join('');
      expect(got.join('')).toBe(untilStopText(text, options));
      const completes = given.findIndex((_, n) =>
        options.stop.some((one) =>
          given
            .slice(0, n + 1)
            .join('')
            .includes(one),
        ),
      );
      expect(asked).toBe(completes === -1 ? given.length : completes + 1);
    }),
  );
});

test('no more is held back than may yet become a stop string', () => {
  fc.assert(
    fc.property(pieces, stopping, (given, options) => {
      const source = new Subject<string>();
      let told = '';
      source.pipe(untilStop(options)).subscribe((piece) => (told += piece));
      for (const [n, piece] of given.entries()) {
        source.next(piece);
        const text = given.slice(0, n + 1).join('');
        if (options.stop.some((one) => text.includes(one))) return;
        const held = text.slice(told.length);
        expect(text.startsWith(told)).toBe(true);
        expect(held === '' || (!options.includeStop && options.stop.some((one) => one.startsWith(held)))).toBe(true);
      }
    }),
  );
});
