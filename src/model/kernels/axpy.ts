import type { Tensor } from '@tensorflow/tfjs-core';
import { add, mul } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

/** Kernels may write into y and return nothing; the reference returns the sum. */
export const RxAxpy = namedOp(
  'RxAxpy',
  ({ y, x }: { y: Tensor; x: Tensor }, { alpha }: { alpha: number }): ReadonlyArray<Tensor> => [
    add(y, alpha === 1 ? x : mul(x, alpha)),
  ],
);

/** The tensor that now holds y + alpha·x. Consumes y, whose data no other tensor may share; borrows x. */
export const axpy = (y: Tensor, x: Tensor, alpha: number): Tensor => {
  const [summed] = RxAxpy.run({ y, x }, { alpha });
  if (summed === undefined) return y;
  y.dispose();
  return summed;
};
