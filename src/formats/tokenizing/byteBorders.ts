/**
 * Where a text may be cut before byte-level merging without changing any id: between two characters over whose border no
 * token of the vocabulary reaches. A token that reaches over it holds some last bytes of the one and some first bytes of the
 * other; all such pairs of byte strings are kept, hashed (a false hit only means one cut less).
 *
 * This is what makes text without blanks fast: Chinese falls apart into words and single characters, which are known.
 */
const bits = 22;

const hashByte = (hash: number, byte: number): number => Math.imul(hash ^ byte, 0x01000193);
const seed = 0x811c9dc5;

const place = (before: number, after: number): number => {
  const h = Math.imul(before, 0x9e3779b1) ^ Math.imul(after, 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> (32 - bits);
};

const isContinuation = (byte: number): boolean => (byte & 0xc0) === 0x80;

const sizeByLead = (lead: number): number => (lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);

export interface ByteBorders {
  /** Whether a token may reach over the border between two characters, given as UTF-8. */
  readonly joins: (before: ReadonlyArray<number>, after: ReadonlyArray<number>) => boolean;
}

/** Calls back with the bytes of each token, the first `length` of an array that is only good until it returns. */
export type EachToken = (visit: (bytes: Uint8Array, length: number) => void) => void;

export const makeByteBorders = (eachToken: EachToken): ByteBorders => {
  const known = new Uint8Array(1 << (bits - 3));
  /** Last byte and first byte of the pairs in which one side is a part of a character only. */
  const partial = new Uint8Array(0x10000 >> 3);
  const has = (set: Uint8Array, bit: number): boolean => ((set[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  const add = (set: Uint8Array, bit: number): void => {
    set[bit >> 3] = (set[bit >> 3] ?? 0) | (1 << (bit & 7));
  };
  eachToken((bytes, length) => {
    for (let border = 1; border < length; border++) {
      if (isContinuation(bytes[border] ?? 0)) continue;
      let from = border - 1;
      while (from > 0 && isContinuation(bytes[from] ?? 0)) from--;
      let to = border + 1;
      while (to < length && isContinuation(bytes[to] ?? 0)) to++;
      let before = seed;
      for (let i = border - 1; i >= from; i--) before = hashByte(before, bytes[i] ?? 0);
      let after = seed;
      for (let i = border; i < to; i++) after = hashByte(after, bytes[i] ?? 0);
      add(known, place(before, after));
      const lead = bytes[from] ?? 0;
      const whole =
        !isContinuation(lead) && sizeByLead(lead) === border - from && sizeByLead(bytes[border] ?? 0) === to - border;
      if (!whole) add(partial, ((bytes[border - 1] ?? 0) << 8) | (bytes[border] ?? 0));
    }
  });
  return {
    joins: (before, after) => {
      const parts = has(partial, ((before.at(-1) ?? 0) << 8) | (after[0] ?? 0));
      let left = seed;
      for (let i = before.length - 1; i >= 0; i--) {
        left = hashByte(left, before[i] ?? 0);
        if (i > 0 && !parts) continue;
        let right = seed;
        for (let k = 0; k < after.length; k++) {
          right = hashByte(right, after[k] ?? 0);
          if ((k === after.length - 1 || parts) && has(known, place(left, right))) return true;
        }
      }
      return false;
    },
  };
};
