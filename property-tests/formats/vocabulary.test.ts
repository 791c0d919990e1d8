/** Laws of vocabularies: a Map of tokens to ids, in flat arrays. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { makeVocabulary, vocabularyOf } from '../../src/formats/tokenizing/vocabulary.js';
import type { Vocabulary } from '../../src/formats/tokenizing/vocabulary.js';

/** Few letters, so that tokens come twice and begin alike; a lone half of a pair among them, and the empty token. */
const tokens = fc.oneof(
  fc.array(fc.constantFrom('a', 'b', 'é', '😀', '\ud800', ''), { maxLength: 4 }).map((parts) => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 6 }),
);
const entries = fc.array(fc.tuple(tokens, fc.nat(40)), { maxLength: 60 });

const made = (pairs: ReadonlyArray<readonly [string, number]>): Vocabulary =>
  makeVocabulary(
    pairs.map(([token]) => token),
    (index) => pairs[index]?.[1] ?? -1,
  );

describe('vocabularies', () => {
  test('are what a Map of the same entries is', () => {
    fc.assert(
      fc.property(entries, fc.array(tokens), (pairs, others) => {
        const map = new Map(pairs);
        const byId = new Map([...map].map(([token, id]) => [id, token]));
        // Another thread makes its own of the same tables.
        for (const vocabulary of [made(pairs), vocabularyOf(structuredClone(made(pairs).tables))]) {
          expect(vocabulary.size).toBe(map.size);
          for (const token of [...map.keys(), ...others]) expect(vocabulary.get(token)).toBe(map.get(token));
          for (let id = -1; id <= 41; id++) expect(vocabulary.tokenAt(id)).toBe(byId.get(id));
          expect(vocabulary.largestId).toBe(Math.max(0, ...pairs.map(([, id]) => id)));
          const seen: Array<readonly [string, number]> = [];
          vocabulary.each((units, from, to, id) => {
            seen.push([String.fromCharCode(...units.subarray(from, to)), id]);
          });
          expect(seen).toEqual([...map]);
        }
      }),
      { numRuns: 400 },
    );
  });

  test('take tokens of any length', () => {
    const long = 'x'.repeat(200_000);
    const vocabulary = made([
      ['y', 0],
      [long, 1],
    ]);
    expect(vocabulary.tokenAt(1) === long).toBe(true);
    expect(vocabulary.get(long)).toBe(1);
    expect(vocabulary.get(`${long}x`)).toBeUndefined();
  });
});
