import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { tensor2d } from '../../tfjs.js';
import { linear, linearGradWeight } from '../kernels/linear.js';

/** The r × r matrix of ones on the diagonal. */
const unitMatrix = (r: number): Tensor2D =>
  tensor2d(
    Float32Array.from({ length: r * r }, (_, i) => (i % (r + 1) === 0 ? 1 : 0)),
    [r, r],
  );

/** xᵀ [n, m] of x [m, n], by a product with the unit matrix of the smaller side: every engine has a fast kernel for that. */
export const transposeMatrix = (x: Tensor): Tensor => {
  const [m = 0, n = 0] = x.shape;
  const unit = unitMatrix(Math.min(m, n));
  const turned =
    m <= n ? linearGradWeight(x, unit, { transposed: true }) : linear(unit, x, undefined, { transposed: false });
  unit.dispose();
  return turned;
};
