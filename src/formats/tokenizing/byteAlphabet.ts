/**
 * The byte ↔ character table of byte-level BPE (GPT-2's `bytes_to_unicode`): printable Latin-1 stands for itself, the other
 * 68 bytes take the characters from U+0100 on.
 */
const printable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);

/** The character of each byte. */
export const characterOfByte: ReadonlyArray<string> = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();

/** The byte of each character code; -1 where a character stands for none. Length 0x144. */
export const byteOfCharacter: Int16Array = (() => {
  const table = new Int16Array(0x144).fill(-1);
  characterOfByte.forEach((character, byte) => {
    table[character.charCodeAt(0)] = byte;
  });
  return table;
})();

/** UTF-8 bytes that one UTF-16 unit adds: a surrogate pair's four bytes are counted two a half. */
const bytesOfUnit = (unit: number): number =>
  unit < 0x80 ? 1 : unit < 0x800 ? 2 : unit >= 0xd800 && unit <= 0xdfff ? 2 : 3;

/** Length in UTF-8 of a well-formed text. */
export const utf8Length = (text: string): number => {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) bytes += bytesOfUnit(text.charCodeAt(i));
  return bytes;
};

/** Writes the UTF-8 bytes of a well-formed text into `out`, which is long enough; returns how many. */
export const writeUtf8 = (text: string, out: Uint8Array): number => {
  let n = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) {
      out[n++] = unit;
    } else if (unit < 0x800) {
      out[n++] = 0xc0 | (unit >> 6);
      out[n++] = 0x80 | (unit & 63);
    } else if (unit >= 0xd800 && unit <= 0xdbff) {
      const code = 0x10000 + ((unit - 0xd800) << 10) + (text.charCodeAt(++i) - 0xdc00);
      out[n++] = 0xf0 | (code >> 18);
      out[n++] = 0x80 | ((code >> 12) & 63);
      out[n++] = 0x80 | ((code >> 6) & 63);
      out[n++] = 0x80 | (code & 63);
    } else {
      out[n++] = 0xe0 | (unit >> 12);
      out[n++] = 0x80 | ((unit >> 6) & 63);
      out[n++] = 0x80 | (unit & 63);
    }
  }
  return n;
};
