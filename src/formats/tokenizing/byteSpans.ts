/** Where the tokens of byte-level BPE lie in their text. */
import { codePointAt } from './codePoints.js';
import type { TokenModel } from './tokenModel.js';
import { eachByte, utf8Size } from './utf8Bytes.js';

/** Hands runs of bytes, `lengthOf(k)` for the k-th, to the sink as ranges of units: whole characters, whatever part it is. */
const walkBytes = (
  units: Uint16Array,
  from: number,
  to: number,
  count: number,
  lengthOf: (k: number) => number,
  sink: (start: number, end: number) => void,
): void => {
  let at = from;
  /** Bytes of the character at `at` that are handed out already. */
  let used = 0;
  for (let k = 0; k < count; k++) {
    let left = lengthOf(k);
    const start = at;
    let end = at;
    while (left > 0 && at < to) {
      const code = codePointAt(units, at);
      const size = utf8Size(code);
      const next = at + (code < 0x10000 ? 1 : 2);
      end = next;
      const taken = Math.min(left, size - used);
      left -= taken;
      used += taken;
      if (used === size) {
        at = next;
        used = 0;
      }
    }
    sink(start, end);
  }
};

const isAscii = (units: Uint16Array, from: number, to: number): boolean => {
  let all = 0;
  for (let i = from; i < to; i++) all |= units[i] ?? 0;
  return all < 0x80;
};

/** How many bytes of a text each of `count` tokens covers: dropped ones belong to the token behind them, those at the end to the last. */
const lengthsWithDropped = (
  /** Of each byte, whether a token stands for it. */
  kept: ReadonlyArray<boolean>,
  count: number,
  lengthOf: (k: number) => number,
): ReadonlyArray<number> => {
  const lengths: Array<number> = [];
  let at = 0;
  for (let k = 0; k < count; k++) {
    let left = lengthOf(k);
    const start = at;
    while (at < kept.length && left > 0) if (kept[at++] === true) left--;
    lengths.push((k === count - 1 ? kept.length : at) - start);
  }
  return lengths;
};

/** Where tokens of so many bytes each (by id) lie in their text; a byte without an id has been dropped. */
export const byteSpans = (byteLength: Int32Array, idOfByte: Int32Array): TokenModel['spans'] => {
  const complete = idOfByte.every((id) => id >= 0);
  return ({ units }, from, to, out, first, sink) => {
    const count = out.length - first;
    const { data } = out;
    const lengthOf = (k: number): number => byteLength[data[first + k] ?? 0] ?? 0;
    if (!complete) {
      const kept: Array<boolean> = [];
      eachByte(units, from, to, (byte) => {
        kept.push((idOfByte[byte] ?? -1) >= 0);
      });
      const lengths = lengthsWithDropped(kept, count, lengthOf);
      walkBytes(units, from, to, count, (k) => lengths[k] ?? 0, sink);
    } else if (isAscii(units, from, to)) {
      let at = from;
      for (let k = first; k < out.length; k++) {
        const end = at + (byteLength[data[k] ?? 0] ?? 0);
        sink(at, end);
        at = end;
      }
    } else walkBytes(units, from, to, count, lengthOf, sink);
  };
};
