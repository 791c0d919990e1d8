import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { concat, defer, from, lastValueFrom, map, of, toArray, type Observable } from 'rxjs';
import { makeTokenizer, type Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { decodePieces } from '../../src/train/generating/decodePieces.js';

import { goldenTokenizer, goldenTokenizerJson, goldenTokenizers } from '../../test/formats/golden.js';

/** A tokenizer of single bytes, which may cut any character into pieces; 256 is special. */
const bytes: Pick<Tokenizer, 'decode' | 'idToToken'> = {
  decode: (ids: ArrayLike<number>, { skipSpecialTokens = false } = {}) =>
    Buffer.from(Array.from(ids).filter((id) => !skipSpecialTokens || id < 256)).toString('utf8'),
  idToToken: (id: number) => `byte ${id}`,
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

/** The same by its definition: all ids decoded for each further one. */
const decodedAnew =
  ({ decode }: Pick<Tokenizer, 'decode'>) =>
  (ids: Observable<number>): Observable<string> =>
    defer(() => {
      const seen: Array<number> = [];
      let told = '';
      const rest = (finished: boolean): string => {
        const text = decode(seen, { skipSpecialTokens: true });
        const settled = finished ? text : text.replace(/\ufffd+$/, '');
        const piece = settled.slice(told.length);
        if (piece !== '') told = settled;
        return piece;
      };
      return concat(
        ids.pipe(
          map((id) => {
            seen.push(id);
            return rest(false);
          }),
        ),
        defer(() => of(rest(true))),
      );
    });

const decoders: Readonly<Record<string, unknown>> = {
  none: null,
  metaspace: { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'always' },
  'two blanks stripped': {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 2, stop: 1 },
    ],
  },
  'replaced when joined': {
    type: 'Sequence',
    decoders: [
      { type: 'Fuse' },
      { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
      { type: 'Replace', pattern: { Regex: ' +' }, content: ' ' },
    ],
  },
  wordpiece: { type: 'WordPiece', prefix: '##', cleanup: true },
  'ends of words': { type: 'BPEDecoder', suffix: 'a' },
};

const kinds: ReadonlyArray<readonly [string, Tokenizer]> = [
  ...Object.keys(goldenTokenizers.tokenizers).map((name) => [name, goldenTokenizer(name)] as const),
  ...['llama2', 'wordpiece', 'gpt2'].flatMap((name) =>
    Object.entries(decoders).flatMap(([kind, decoder]) => {
      const made = makeTokenizer({ ...goldenTokenizerJson(name), decoder });
      return made._tag === 'Left' ? [] : [[`${name}, decoder ${kind}`, made.right] as const];
    }),
  ),
];

/** Ids of texts, of single bytes where the vocabulary has them, and any. */
const idsOf = (tokenizer: Tokenizer): fc.Arbitrary<ReadonlyArray<number>> => {
  const byteIds = Array.from({ length: 256 }, (_, byte) =>
    tokenizer.tokenToId(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
  ).filter((id) => id !== undefined);
  const ofText = fc
    .oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom(...goldenTokenizers.texts),
      fc.constantFrom('  ', " I'm , n't ."),
    )
    .map((text) => [...tokenizer.encode(text, { addSpecialTokens: false })]);
  const any = fc.array(fc.nat({ max: tokenizer.vocabSize + 1 }), { maxLength: 12 });
  const stretches = [ofText, ofText, any, ...(byteIds.length === 0 ? [] : [fc.array(fc.constantFrom(...byteIds))])];
  return fc.array(fc.oneof(...stretches), { minLength: 8, maxLength: 24 }).map((parts) => parts.flat());
};

test.each(kinds)('%s: the pieces are those of decoding all ids each time', async (_, tokenizer) => {
  await fc.assert(
    fc.asyncProperty(idsOf(tokenizer), async (ids) => {
      const [pieces, expected] = await Promise.all(
        [decodePieces, decodedAnew].map((way) => lastValueFrom(from(ids).pipe(way(tokenizer), toArray()))),
      );
      expect(pieces).toEqual(expected);
    }),
    { numRuns: 30 },
  );
});

test.each(kinds.slice(0, 16))('%s: a long text costs as much an id as a short one', async (_, tokenizer) => {
  const ids = goldenTokenizers.texts.flatMap((text) => [...tokenizer.encode(text, { addSpecialTokens: false })]);
  let decoded = 0;
  const counted: typeof bytes = {
    decode: (some, options = {}) => {
      decoded += some.length;
      return tokenizer.decode(some, options);
    },
    idToToken: (id) => tokenizer.idToToken(id) ?? '',
  };
  await lastValueFrom(from(Array.from({ length: 6 }, () => ids).flat()).pipe(decodePieces(counted), toArray()));
  expect(decoded).toBeLessThan(6 * ids.length * 64);
});
