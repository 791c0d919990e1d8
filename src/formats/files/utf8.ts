import { isUtf8 } from 'node:buffer';
import { dataError } from '../../errors.js';
import type { DataError, Place } from '../../errors.js';

/** A view of the bytes that has Buffer's fast decoders; nothing is copied. */
export const bufferOver = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The text, or undefined when the bytes are not UTF-8. A byte-order mark is an ordinary character here. */
export const strictUtf8 = (bytes: Uint8Array): string | undefined =>
  isUtf8(bytes) ? bufferOver(bytes).toString('utf8') : undefined;

/** Index of the first byte that is no part of valid UTF-8; -1 when all are. */
export const invalidUtf8At = (bytes: Uint8Array): number => {
  if (isUtf8(bytes)) return -1;
  // The longest valid prefix ends where a longer one is neither valid nor cut inside a character.
  let start = 0;
  while (start < bytes.length) {
    const first = bytes[start] ?? 0;
    const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (!isUtf8(bytes.subarray(start, start + length))) return start;
    start += length;
  }
  return -1;
};

/** `E_NOT_UTF8`, with the offending byte. */
export const notUtf8 = (bytes: Uint8Array, place: Place): DataError => {
  const at = invalidUtf8At(bytes);
  const byte = (bytes[at] ?? 0).toString(16).padStart(2, '0');
  return dataError('E_NOT_UTF8', 'the text is not UTF-8', {
    ...place,
    expected: 'UTF-8 bytes',
    actual: `byte 0x${byte} at byte ${at + 1} of the line`,
    hint: 'convert the file, for instance: iconv -f WINDOWS-1252 -t UTF-8',
  });
};
