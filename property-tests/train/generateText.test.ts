import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { from, lastValueFrom, toArray } from 'rxjs';
import { decodePieces } from '../../src/train/generating/generateText.js';

/** A tokenizer of single bytes, which may cut any character into pieces; 256 is special. */
const bytes = {
  decode: (ids: ArrayLike<number>, { skipSpecialTokens = false } = {}) =>
    Buffer.from(Array.from(ids).filter((id) => !skipSpecialTokens || id < 256)).toString('utf8'),
};

test('the pieces of a generation, joined, are its text, and no piece holds half a character', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'grapheme' }), async (text) => {
      const ids = [...Buffer.from(text), 256];
      const pieces = await lastValueFrom(from(ids).pipe(decodePieces(bytes), toArray()));
      expect(pieces.join('')).toBe(text);
      // One piece an id, and what is left at the end.
      expect(pieces).toHaveLength(ids.length + 1);
      expect(pieces.some((piece) => piece.includes('\ufffd'))).toBe(false);
    }),
  );
});

test('bytes that never become a character are told at the end', async () => {
  const pieces = await lastValueFrom(from([72, 0xe2, 0x82]).pipe(decodePieces(bytes), toArray()));
  expect(pieces).toEqual(['H', '', '', '\ufffd']);
});
