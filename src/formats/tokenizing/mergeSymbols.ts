import { findMerge, type MergeTable } from './mergeTable.js';

const none = 0x7fffffff;

/** Above this many symbols a heap is faster than looking for the smallest rank again and again. */
const scanLimit = 96;

let ranks = new Int32Array(scanLimit + 1);
let mergedIds = new Int32Array(scanLimit + 1);

const lookUp = (table: MergeTable, symbols: Int32Array, i: number, at: number): void => {
  const found = findMerge(table, symbols[i] ?? 0, symbols[i + 1] ?? 0);
  if (found < 0) {
    ranks[at] = none;
  } else {
    ranks[at] = table.slots[found + 2] ?? none;
    mergedIds[at] = table.slots[found + 3] ?? 0;
  }
};

const mergeByScan = (table: MergeTable, symbols: Int32Array, count: number): number => {
  let n = count;
  for (let i = 0; i < n - 1; i++) lookUp(table, symbols, i, i);
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
    if (at > 0) lookUp(table, symbols, at - 1, at - 1);
    if (at < n - 1) lookUp(table, symbols, at, at);
  }
  return n;
};

/** A binary heap of (rank, position) with linked symbols: O(n log n) for pieces without blanks, which can be very long. */
const mergeByHeap = (table: MergeTable, symbols: Int32Array, count: number): number => {
  const next = new Int32Array(count);
  const previous = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    next[i] = i + 1 < count ? i + 1 : -1;
    previous[i] = i - 1;
  }
  // An entry is stale unless both its symbols are still those it was made for.
  let heapRank = new Int32Array(count);
  let heapAt = new Int32Array(count);
  let heapLeft = new Int32Array(count);
  let heapRight = new Int32Array(count);
  let heapMerged = new Int32Array(count);
  let size = 0;
  const before = (a: number, b: number): boolean => {
    const rankA = heapRank[a] ?? 0;
    const rankB = heapRank[b] ?? 0;
    return rankA < rankB || (rankA === rankB && (heapAt[a] ?? 0) < (heapAt[b] ?? 0));
  };
  const columns = (): ReadonlyArray<Int32Array> => [heapRank, heapAt, heapLeft, heapRight, heapMerged];
  const swap = (a: number, b: number): void => {
    for (const column of columns()) {
      const kept = column[a] ?? 0;
      column[a] = column[b] ?? 0;
      column[b] = kept;
    }
  };
  const push = (at: number): void => {
    const following = next[at] ?? -1;
    if (following < 0) return;
    const left = symbols[at] ?? 0;
    const right = symbols[following] ?? 0;
    const found = findMerge(table, left, right);
    if (found < 0) return;
    if (size === heapRank.length) {
      const grow = (column: Int32Array): Int32Array<ArrayBuffer> => {
        const grown = new Int32Array(column.length * 2);
        grown.set(column);
        return grown;
      };
      heapRank = grow(heapRank);
      heapAt = grow(heapAt);
      heapLeft = grow(heapLeft);
      heapRight = grow(heapRight);
      heapMerged = grow(heapMerged);
    }
    let i = size++;
    heapRank[i] = table.slots[found + 2] ?? none;
    heapAt[i] = at;
    heapLeft[i] = left;
    heapRight[i] = right;
    heapMerged[i] = table.slots[found + 3] ?? 0;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(i, parent)) break;
      swap(i, parent);
      i = parent;
    }
  };
  const pop = (): void => {
    swap(0, --size);
    let i = 0;
    for (;;) {
      const child = 2 * i + 1;
      if (child >= size) return;
      const least = child + 1 < size && before(child + 1, child) ? child + 1 : child;
      if (!before(least, i)) return;
      swap(least, i);
      i = least;
    }
  };
  for (let i = 0; i < count - 1; i++) push(i);
  const gone = -1;
  while (size > 0) {
    const at = heapAt[0] ?? 0;
    const left = heapLeft[0] ?? 0;
    const right = heapRight[0] ?? 0;
    const merged = heapMerged[0] ?? 0;
    pop();
    const following = next[at] ?? -1;
    if (symbols[at] !== left || following < 0 || symbols[following] !== right) continue;
    symbols[at] = merged;
    symbols[following] = gone;
    const after = next[following] ?? -1;
    next[at] = after;
    next[following] = -1;
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
export const mergeSymbols = (table: MergeTable, symbols: Int32Array, count: number): number => {
  if (count < 2) return count;
  if (count > scanLimit) return mergeByHeap(table, symbols, count);
  if (ranks.length < count) {
    ranks = new Int32Array(count);
    mergedIds = new Int32Array(count);
  }
  return mergeByScan(table, symbols, count);
};
