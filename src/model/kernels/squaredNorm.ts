import { addN, square, sum } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { namedOp } from './namedOp.js';

export const RxSquaredNorm = namedOp(
  'RxSquaredNorm',
  (tensors: ReadonlyArray<Tensor>, _attrs: object): readonly [Tensor] => [
    addN(tensors.map((tensor) => sum(square(tensor)))),
  ],
);

/** Sum of squares over all entries of all tensors (at least one), a scalar. */
export const squaredNorm = (tensors: ReadonlyArray<Tensor>): Tensor => RxSquaredNorm.run(tensors, {})[0];
