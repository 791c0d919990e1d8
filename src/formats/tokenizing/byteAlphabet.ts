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
