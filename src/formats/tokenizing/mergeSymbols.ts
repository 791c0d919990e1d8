import { findMerge, type MergeTable } from './mergeTable.js';

const none = 0x7fffffff;

/** Above this many symbols a heap is faster than looking for the smallest rank again and again. */
const scanLimit = 64;

const ranks = new Int32Array(scanLimit + 1);
const mergedIds = new Int32Array(scanLimit + 1);

const lookUp = (table: MergeTable, left: number, right: number, at: number): void => {
  const found = findMerge(table, left, right);
  if (found < 0) {
    ranks[at] = none;
  } else {
    ranks[at] = table.slots[found + 2] ?? none;
    mergedIds[at] = table.slots[found + 3] ?? 0;
  }
};

const mergeByScan = (table: MergeTable, symbols: Int32Array, count: number): number => {
  let n = count;
  for (let i = 0; i < n - 1; i++) lookUp(table, symbols[i] ?? 0, symbols[i + 1] ?? 0, i);
  while (n > 1) {
    let best = none;
    let at = -1;
    for (let i = 0; i < n - 1; i++) {
      const rank = ranks[i] ?? none;
      if (rank < best) {
        best = rank;
        at = i;
      }
    }
    if (at < 0) break;
    symbols[at] = mergedIds[at] ?? 0;
    for (let i = at + 1; i < n - 1; i++) {
      symbols[i] = symbols[i + 1] ?? 0;
      ranks[i] = ranks[i + 1] ?? none;
      mergedIds[i] = mergedIds[i + 1] ?? 0;
    }
    n--;
    if (at > 0) lookUp(table, symbols[at - 1] ?? 0, symbols[at] ?? 0, at - 1);
    if (at < n - 1) lookUp(table, symbols[at] ?? 0, symbols[at + 1] ?? 0, at);
  }
  return n;
};

/** Places of a heap's entries: rank * 2^31 + position, exact in a double up to rank 2^21. */
const positions = 0x8000_0000;

/** A binary heap of (rank, position) over linked symbols: O(n log n), for pieces without a border, which can be very long. */
const mergeByHeap = (table: MergeTable, symbols: Int32Array, count: number): number => {
  const next = new Int32Array(count);
  const previous = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    next[i] = i + 1 < count ? i + 1 : -1;
    previous[i] = i - 1;
  }
  // Each of at most count - 1 merges adds at most two entries to the count - 1 there at first.
  const heap = new Float64Array(count * 3);
  let size = 0;
  const push = (at: number): void => {
    const following = next[at] ?? -1;
    if (following < 0) return;
    const found = findMerge(table, symbols[at] ?? 0, symbols[following] ?? 0);
    if (found < 0) return;
    const key = (table.slots[found + 2] ?? none) * positions + at;
    let i = size++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent] ?? 0;
      if (above <= key) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = key;
  };
  const pop = (): number => {
    const least = heap[0] ?? 0;
    const key = heap[--size] ?? 0;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      if (child + 1 < size && (heap[child + 1] ?? 0) < (heap[child] ?? 0)) child++;
      const below = heap[child] ?? 0;
      if (below >= key) break;
      heap[i] = below;
      i = child;
    }
    heap[i] = key;
    return least;
  };
  for (let i = 0; i < count - 1; i++) push(i);
  const gone = -1;
  while (size > 0) {
    const key = pop();
    const rank = Math.floor(key / positions);
    const at = key - rank * positions;
    const following = next[at] ?? -1;
    // An entry is stale unless the symbols at its place still merge at its rank.
    if (symbols[at] === gone || following < 0) continue;
    const found = findMerge(table, symbols[at] ?? 0, symbols[following] ?? 0);
    if (found < 0 || table.slots[found + 2] !== rank) continue;
    symbols[at] = table.slots[found + 3] ?? 0;
    symbols[following] = gone;
    const after = next[following] ?? -1;
    next[at] = after;
    if (after >= 0) previous[after] = at;
    const ahead = previous[at] ?? -1;
    if (ahead >= 0) push(ahead);
    push(at);
  }
  let n = 0;
  for (let i = 0; i >= 0; i = next[i] ?? -1) symbols[n++] = symbols[i] ?? 0;
  return n;
};

/**
 * Byte-pair merging in place: again and again the pair of smallest rank, the leftmost of several. The first `count` entries of
 * `symbols` are ids; returns how many are left.
 */
export const mergeSymbols = (table: MergeTable, symbols: Int32Array, count: number): number =>
  count < 2 ? count : count > scanLimit ? mergeByHeap(table, symbols, count) : mergeByScan(table, symbols, count);
