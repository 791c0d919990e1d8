/** The numbers and texts that follow the opcodes of a pickle, read one after another. */
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { strictUtf8 } from '../files/utf8.js';

/** Where a pickle is being read. Each reading moves on, and throws `E_PICKLE_TRUNCATED` where the bytes end. */
export interface PickleReader {
  /** The next byte's place in the file. */
  readonly at: () => number;
  readonly skip: (length: number) => void;
  readonly uint8: () => number;
  readonly uint16: () => number;
  readonly int32: () => number;
  readonly uint32: () => number;
  /** Big-endian, as pickle has floats alone. */
  readonly float64: () => number;
  /** Little-endian two's complement; a number where it is one exactly. */
  readonly long: (length: number) => number | bigint;
  readonly text: (length: number) => string;
  /** The text up to a line feed, which goes. */
  readonly line: () => string;
  /** What to throw of a pickle that is none: "byte 12 of its pickle …". The next byte's place, unless another is named. */
  readonly damaged: (what: string, place?: number) => FatalError;
}

export const pickleReader = (file: string, bytes: Uint8Array, start: number): PickleReader => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = start;
  const damaged = (what: string, place = at): FatalError =>
    fatal('E_PICKLE_DAMAGED', `${file}: byte ${place} of its pickle ${what}`, {
      file,
      hint: 'copy or download the file again: it is damaged',
    });
  /** Moves on by so many bytes, and says where they begin. */
  const take = (length: number): number => {
    const from = at;
    if (length > bytes.length - from) {
      throw fatal('E_PICKLE_TRUNCATED', `${file} ends in the middle of its pickle`, {
        file,
        hint: 'copy or download the file again: it is incomplete',
      });
    }
    at += length;
    return from;
  };
  const text = (length: number): string => {
    const from = take(length);
    const decoded = strictUtf8(bytes.subarray(from, at));
    if (decoded === undefined) throw damaged('begins no UTF-8');
    return decoded;
  };
  return {
    at: () => at,
    skip: take,
    uint8: () => view.getUint8(take(1)),
    uint16: () => view.getUint16(take(2), true),
    int32: () => view.getInt32(take(4), true),
    uint32: () => view.getUint32(take(4), true),
    float64: () => view.getFloat64(take(8)),
    long: (length) => {
      const from = take(length);
      let value = 0n;
      for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i] ?? 0);
      const signed = length === 0 ? 0n : BigInt.asIntN(8 * length, value);
      return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
    },
    text,
    line: () => {
      const length = bytes.subarray(at).indexOf(0x0a);
      const read = text(length === -1 ? bytes.length - at + 1 : length);
      take(1);
      return read;
    },
    damaged,
  };
};
