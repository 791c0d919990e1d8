/**
 * Words seen before → their ids, keyed by the raw UTF-16 units: no string is made, no character mapped, to look one up. Open
 * addressing; cleared when full, which is cheaper than keeping the recent ones.
 */
import { type IdBuffer, pushId } from './idBuffer.js';

/** Longer words are rare and would push out many others. */
const longestWord = 64;
const slots = 1 << 17;
const mask = slots - 1;
/** Entries are cleared before probing gets long. */
const capacity = slots >> 1;
const keyUnits = capacity * 12;
const idCells = capacity * 4;

export interface WordTable {
  readonly hash: (units: Uint16Array, from: number, to: number) => number;
  /** Pushes the word's ids; false when it is not known. */
  readonly push: (units: Uint16Array, from: number, to: number, hash: number, out: IdBuffer) => boolean;
  /** The word was not known: its ids are `ids[0 … count)`. */
  readonly store: (units: Uint16Array, from: number, to: number, hash: number, ids: Int32Array, count: number) => void;
}

export const makeWordTable = (): WordTable => {
  // Four integers a slot: hash (0 = empty), start of the key, its length with the number of ids above, id or start of ids.
  let entries = new Int32Array(0);
  let keys = new Uint16Array(0);
  let ids = new Int32Array(0);
  let count = 0;
  let keyEnd = 0;
  let idEnd = 0;
  const clear = (): void => {
    if (entries.length === 0) {
      entries = new Int32Array(slots * 4);
      keys = new Uint16Array(keyUnits);
      ids = new Int32Array(idCells);
    } else {
      entries.fill(0);
    }
    count = 0;
    keyEnd = 0;
    idEnd = 0;
  };
  clear();
  return {
    hash: (units, from, to) => {
      let h = 0x811c9dc5;
      for (let i = from; i < to; i++) h = Math.imul(h ^ (units[i] ?? 0), 0x01000193);
      h ^= h >>> 15;
      return h === 0 ? 1 : h;
    },
    push: (units, from, to, hash, out) => {
      const length = to - from;
      let slot = hash & mask;
      for (;;) {
        const at = slot * 4;
        const known = entries[at] ?? 0;
        if (known === 0) return false;
        const size = entries[at + 2] ?? 0;
        if (known === hash && (size & 0xffff) === length) {
          const key = entries[at + 1] ?? 0;
          let i = 0;
          while (i < length && keys[key + i] === units[from + i]) i++;
          if (i === length) {
            const value = entries[at + 3] ?? 0;
            const total = size >> 16;
            if (total === 1) pushId(out, value);
            else for (let k = 0; k < total; k++) pushId(out, ids[value + k] ?? 0);
            return true;
          }
        }
        slot = (slot + 1) & mask;
      }
    },
    store: (units, from, to, hash, wordIds, total) => {
      const length = to - from;
      if (length > longestWord) return;
      if (count >= capacity || keyEnd + length > keyUnits || idEnd + total > idCells) clear();
      let slot = hash & mask;
      while (entries[slot * 4] !== 0) slot = (slot + 1) & mask;
      const at = slot * 4;
      entries[at] = hash;
      entries[at + 1] = keyEnd;
      entries[at + 2] = (total << 16) | length;
      for (let i = 0; i < length; i++) keys[keyEnd + i] = units[from + i] ?? 0;
      keyEnd += length;
      if (total === 1) {
        entries[at + 3] = wordIds[0] ?? 0;
      } else {
        entries[at + 3] = idEnd;
        for (let k = 0; k < total; k++) ids[idEnd + k] = wordIds[k] ?? 0;
        idEnd += total;
      }
      count++;
    },
  };
};
