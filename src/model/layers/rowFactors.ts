/** One number a row: factors, and what is the same all along a row. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { ones, tidy } from '../../tfjs.js';
import { combineRows } from '../kernels/combineRows.js';
import { linear } from '../kernels/linear.js';

/** Every row of x [N, C] times its own of factors [N, 1]. */
export const timesRows = (x: Tensor, factors: Tensor): Tensor => combineRows(x, factors, { perRow: 1 });

/** Numbers [N, 1], each as a row of so many, [N, width]. */
export const alongRows = (numbers: Tensor, width: number): Tensor =>
  tidy(() => linear(numbers, ones([width, 1]), undefined, { transposed: false }));
