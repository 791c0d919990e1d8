/**
 * The smallest space that is at least a given size, in O(log capacity): a segment tree over spaces 1 … capacity whose inner nodes
 * hold the largest space present below them ("Fewer Truncations Improve Language Modeling", arXiv 2404.10830).
 */
const spaces = (
  capacity: number,
): { readonly set: (space: number, present: boolean) => void; readonly atLeast: (size: number) => number } => {
  let leaves = 1;
  while (leaves < capacity) leaves *= 2;
  const tree = new Int32Array(2 * leaves);
  const node = (i: number): number => tree[i] ?? 0;
  return {
    set: (space, present) => {
      let i = leaves + space - 1;
      tree[i] = present ? space : 0;
      for (i >>= 1; i > 0; i >>= 1) tree[i] = Math.max(node(2 * i), node(2 * i + 1));
    },
    atLeast: (size) => {
      let i = 1;
      while (i < leaves) i = node(2 * i) >= size ? 2 * i : 2 * i + 1;
      return node(i);
    },
  };
};

/**
 * Bins of indices into `lengths` (each 1 … capacity) by best fit decreasing: longest first, ties in their order; each into the
 * open bin with the smallest sufficient space, of equal spaces the bin that has had it longest, else into a new bin.
 */
export const bestFit = (lengths: ReadonlyArray<number>, capacity: number): ReadonlyArray<ReadonlyArray<number>> => {
  // No bin ever holds more than everything, so a huge capacity needs no huge tree.
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const size = Math.max(1, Math.min(capacity, total));
  const order = lengths.map((_, i) => i).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0));
  const tree = spaces(size);
  const bins: Array<Array<number>> = [];
  /** Bins by what space they have left, longest there first, with the head of each queue. */
  const bySpace = new Map<number, { readonly bins: Array<number>; head: number }>();
  for (const i of order) {
    const length = lengths[i] ?? 0;
    const space = tree.atLeast(length);
    const queue = bySpace.get(space);
    let bin: number;
    let left: number;
    if (space === 0 || queue === undefined) {
      bin = bins.push([i]) - 1;
      left = size - length;
    } else {
      bin = queue.bins[queue.head++] ?? 0;
      bins[bin]?.push(i);
      left = space - length;
      if (queue.head === queue.bins.length) {
        bySpace.delete(space);
        tree.set(space, false);
      }
    }
    if (left > 0) {
      const there = bySpace.get(left);
      if (there === undefined) {
        bySpace.set(left, { bins: [bin], head: 0 });
        tree.set(left, true);
      } else there.bins.push(bin);
    }
  }
  return bins;
};
