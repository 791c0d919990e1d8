import type { Tensor } from '@tensorflow/tfjs-core';
import { linear, linearGradWeight } from '../kernels/linear.js';
import { transposeMatrix } from '../layers/transposeMatrix.js';

/** B·A in the layout of the weight it is for: [O, I], or [I, O] for Conv1D. From a [r, I] and b [O, r]; a new tensor. */
export const loraDelta = (a: Tensor, b: Tensor, transposed: boolean): Tensor => {
  if (!transposed) return linear(b, a, undefined, { transposed: true });
  const bT = transposeMatrix(b); // [r, O]
  const product = linearGradWeight(a, bT, { transposed: true });
  bT.dispose();
  return product;
};
