/** UTF-8 bytes of characters and of UTF-16 units, without a string in between. */
import { codePointAt } from './codePoints.js';

/** How many bytes a code point takes. */
export const utf8Size = (code: number): number => (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);

/** Calls back with each byte of the units [from, to). */
export const eachByte = (units: Uint16Array, from: number, to: number, take: (byte: number) => void): void => {
  for (let i = from; i < to; i++) {
    const code = codePointAt(units, i);
    if (code < 0x80) {
      take(code);
    } else if (code < 0x800) {
      take(0xc0 | (code >> 6));
      take(0x80 | (code & 63));
    } else if (code < 0x10000) {
      take(0xe0 | (code >> 12));
      take(0x80 | ((code >> 6) & 63));
      take(0x80 | (code & 63));
    } else {
      take(0xf0 | (code >> 18));
      take(0x80 | ((code >> 12) & 63));
      take(0x80 | ((code >> 6) & 63));
      take(0x80 | (code & 63));
      i++;
    }
  }
};

const known = new Map<number, ReadonlyArray<number>>();

/** The bytes of a code point. */
export const utf8Of = (code: number): ReadonlyArray<number> => {
  let bytes = known.get(code);
  if (bytes === undefined) {
    bytes = Array.from(new TextEncoder().encode(String.fromCodePoint(code)));
    known.set(code, bytes);
  }
  return bytes;
};
