import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor2d } from '../../tfjs.js';

/**
 * What is added to the scores of the last n of `rows` tokens, [n, rows]: 0 where query i, token rows - n + i, sees key j; else so low that
 * its exponential is 0. window 0: it sees all keys up to its own; else the last `window` of them.
 */
export const causalMask = (n: number, rows: number, window: number): Tensor => {
  const mask = new Float32Array(n * rows).fill(-1e30);
  for (let i = 0; i < n; i++) {
    const last = rows - n + i;
    const first = window === 0 ? 0 : Math.max(0, last - window + 1);
    mask.fill(0, i * rows + first, i * rows + last + 1);
  }
  return tensor2d(mask, [n, rows]);
};
