/** Where character BPE may cut a text further. */
import { isHighSurrogate } from './codePoints.js';
import type { TokenModel } from './tokenModel.js';
import type { Vocabulary } from './vocabulary.js';

const pairBits = 22;

/**
 * Where a text may be cut without changing any id: between two units that stand side by side in no token, so that no merge
 * can reach over the border. (A hashed set of pairs: a false hit only means one cut less.) Not where unknown characters
 * could be fused over the border, and not inside a character.
 */
export const pairScan = (vocab: Vocabulary): NonNullable<TokenModel['scan']> => {
  const pairs = new Uint8Array(1 << (pairBits - 3));
  const place = (a: number, b: number): number =>
    (Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b)) >>> (32 - pairBits);
  vocab.each((units, from, to) => {
    for (let i = from; i + 1 < to; i++) {
      const bit = place(units[i] ?? 0, units[i + 1] ?? 0);
      pairs[bit >> 3] = (pairs[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
  });
  return (units, at, end) => {
    let before = units[at] ?? 0;
    for (let i = at + 1; i < end; i++) {
      const unit = units[i] ?? 0;
      const bit = place(before, unit);
      if (((pairs[bit >> 3] ?? 0) & (1 << (bit & 7))) === 0 && !isHighSurrogate(before)) return i;
      before = unit;
    }
    return end;
  };
};
