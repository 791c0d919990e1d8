/** Lengths in tokens: how they are spread. */
export interface Histogram {
  readonly count: number;
  readonly shortest: number;
  readonly longest: number;
  readonly mean: number;
  readonly median: number;
  /** 95 of 100 are at most this long. */
  readonly p95: number;
  /** From `from` to below `to`, end to end. */
  readonly bins: ReadonlyArray<{ readonly from: number; readonly to: number; readonly count: number }>;
}

/** 1, 2 or 5 times a power of ten, so that at most `bins` of them reach over the range. */
const widthOf = (range: number, bins: number): number => {
  const least = Math.max(1, range / bins);
  const power = 10 ** Math.floor(Math.log10(least));
  return (least <= power ? 1 : least <= 2 * power ? 2 : least <= 5 * power ? 5 : 10) * power;
};

/** Lengths counted in bins of a round width; at most `most` bins. */
export const histogramOf = (lengths: ReadonlyArray<number>, most = 40): Histogram => {
  const sorted = [...lengths].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const shortest = sorted[0] ?? 0;
  const longest = sorted.at(-1) ?? 0;
  const width = widthOf(longest + 1, most);
  const counts = new Array<number>(sorted.length === 0 ? 0 : Math.floor(longest / width) + 1).fill(0);
  for (const length of sorted) {
    const bin = Math.floor(length / width);
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return {
    count: sorted.length,
    shortest,
    longest,
    mean: sorted.length === 0 ? 0 : sorted.reduce((sum, length) => sum + length, 0) / sorted.length,
    median: at(0.5),
    p95: at(0.95),
    bins: counts.map((count, i) => ({ from: i * width, to: (i + 1) * width, count })),
  };
};
