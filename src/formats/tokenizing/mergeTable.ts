/** Merges of a BPE vocabulary by pair of ids: (left, right) → (rank, merged id). Open addressing over one Int32Array. */
import { sharedMemory } from './sharedMemory.js';
import type { Vocabulary } from './vocabulary.js';

export interface MergeTable {
  /** Four integers a slot: left + 1 (0 = empty), right, rank, merged. */
  readonly slots: Int32Array;
  /** Slots - 1; the number of slots is a power of two at least twice the number of merges. */
  readonly mask: number;
}

const hash = (left: number, right: number): number => {
  const h = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return h ^ (h >>> 15);
};

/** `merges` holds left, right and merged id of each, in order of rank. */
const makeMergeTable = (merges: Int32Array): MergeTable => {
  const count = merges.length / 3;
  let size = 16;
  while (size < count * 2) size *= 2;
  const slots = new Int32Array(sharedMemory(size * 16));
  const mask = size - 1;
  for (let rank = 0; rank < count; rank++) {
    const left = merges[rank * 3] ?? 0;
    const right = merges[rank * 3 + 1] ?? 0;
    let slot = hash(left, right) & mask;
    while (slots[slot * 4] !== 0 && !(slots[slot * 4] === left + 1 && slots[slot * 4 + 1] === right)) {
      slot = (slot + 1) & mask;
    }
    // A pair listed twice has the rank of its last line, as in the reference.
    slots[slot * 4] = left + 1;
    slots[slot * 4 + 1] = right;
    slots[slot * 4 + 2] = rank;
    slots[slot * 4 + 3] = merges[rank * 3 + 2] ?? 0;
  }
  return { slots, mask };
};

/** The table of merges as pairs of tokens, or the first merge whose parts or result the vocabulary lacks. */
export const mergesOf = (
  vocab: Vocabulary,
  merges: ReadonlyArray<readonly [string, string]>,
): MergeTable | { readonly missing: string } => {
  const parts = new Int32Array(merges.length * 3);
  let at = 0;
  for (const [a, b] of merges) {
    const left = vocab.get(a);
    const right = vocab.get(b);
    const merged = vocab.get(a + b);
    if (left === undefined || right === undefined || merged === undefined) return { missing: `${a} ${b}` };
    parts[at++] = left;
    parts[at++] = right;
    parts[at++] = merged;
  }
  return makeMergeTable(parts);
};

/** Index into `slots` of the pair's entry, or -1. */
export const findMerge = ({ slots, mask }: MergeTable, left: number, right: number): number => {
  let slot = hash(left, right) & mask;
  for (;;) {
    const at = slot * 4;
    const key = slots[at];
    if (key === 0) return -1;
    if (key === left + 1 && slots[at + 1] === right) return at;
    slot = (slot + 1) & mask;
  }
};
