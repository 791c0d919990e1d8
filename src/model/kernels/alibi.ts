/** Attention with linear biases (Press et al. 2022): keys lose by the distance of their query, in each head at a rate of its own. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, tensor } from '../../tfjs.js';

/** Powers of 2^(-8/n), n being heads or the power of two below, then every second of those of 2n. */
const alibiSlope = (head: number, heads: number): number => {
  const n = 2 ** Math.floor(Math.log2(heads));
  return 2 ** (head < n ? (-8 * (head + 1)) / n : (-4 * (2 * (head - n) + 1)) / n);
};

/** Scores [heads, n, rows] of the last n of `rows` queries with alibi · slope · (j - i) added to those of query i and key j. */
export const leaning = (
  scores: Tensor,
  rows: number,
  { heads, alibi = 0 }: { readonly heads: number; readonly alibi?: number | undefined },
): Tensor => {
  if (alibi === 0) return scores;
  const n = scores.size / (heads * rows);
  const biases = Float32Array.from({ length: scores.size }, (_, at) => {
    const [head, i, j] = [Math.floor(at / (n * rows)), Math.floor(at / rows) % n, at % rows];
    return alibi * alibiSlope(head, heads) * (j - (rows - n + i));
  });
  return add(scores, tensor(biases, [heads, n, rows]));
};
