import { tensor2d } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { linear, linearGradWeight } from './kernels/linear.js';

/** B·A in the layout of the weight it is for: [O, I], or [I, O] for Conv1D. From a [r, I] and b [O, r]; a new tensor. */
export const loraDelta = (a: Tensor, b: Tensor, transposed: boolean): Tensor => {
  if (!transposed) return linear(b, a, undefined, { transposed: true });
  const [rank = 0] = a.shape;
  const unit = tensor2d(
    Float32Array.from({ length: rank * rank }, (_, i) => (i % (rank + 1) === 0 ? 1 : 0)),
    [rank, rank],
  );
  const bT = linear(unit, b, undefined, { transposed: false }); // [r, O]
  const product = linearGradWeight(a, bT, { transposed: true });
  unit.dispose();
  bT.dispose();
  return product;
};
