import fc from 'fast-check';

/** Characters that JSON escapes, brackets, separators and characters of several bytes are common in the strings. */
const unit = fc.constantFrom(
  'a',
  'b',
  '"',
  '\\',
  '\n',
  '\u0001',
  'é',
  '\u2028',
  '😀',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  ' ',
  '0',
);

/** A value that JSON can say, and says back the same. */
export const jsonValues = (): fc.Arbitrary<unknown> =>
  fc.jsonValue({ maxDepth: 3, stringUnit: unit }).map((value): unknown => JSON.parse(JSON.stringify(value)));

/** Where to cut: fractions, so that they mean something for bytes of any length. A few places, or about every byte. */
export const cuts = (): fc.Arbitrary<ReadonlyArray<number>> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 }) },
    { weight: 1, arbitrary: fc.constant(Array.from({ length: 200 }, (_, i) => i / 200)) },
  );

/** The bytes in pieces (some of them empty), as a file or a pipe would hand them over; the buffer is overwritten afterwards. */
export async function* inPieces(
  bytes: Uint8Array,
  at: ReadonlyArray<number>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const borders = [
    0,
    ...at.map((fraction) => Math.round(fraction * bytes.length)).toSorted((a, b) => a - b),
    bytes.length,
  ];
  for (const [i, start] of borders.slice(0, -1).entries()) {
    const piece = Uint8Array.from(bytes.subarray(start, borders[i + 1]));
    yield await Promise.resolve(piece);
    piece.fill(0x21);
  }
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Overwrites, inserts or deletes single bytes. */
export const damages = (): fc.Arbitrary<(bytes: Uint8Array) => Uint8Array> =>
  fc
    .array(
      fc.record({
        at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
        byte: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(...utf8('"\\{}[],:\n \r0-'))),
        kind: fc.constantFrom('overwrite', 'insert', 'delete'),
      }),
      { minLength: 1, maxLength: 4 },
    )
    .map((steps) => (bytes: Uint8Array) => {
      let all = Array.from(bytes);
      for (const { at, byte, kind } of steps) {
        const i = Math.floor(at * all.length);
        if (kind === 'overwrite' && all.length > 0) all[i] = byte;
        else if (kind === 'delete') all = [...all.slice(0, i), ...all.slice(i + 1)];
        else all = [...all.slice(0, i), byte, ...all.slice(i)];
      }
      return Uint8Array.from(all);
    });
