import type { Tensor } from '@tensorflow/tfjs-core';
import { addN, scalar, square, sum } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export const RxSquaredNorm = namedOp(
  'RxSquaredNorm',
  (tensors: ReadonlyArray<Tensor>, _attrs: object): readonly [Tensor] => [
    addN(tensors.map((tensor) => sum(square(tensor)))),
  ],
);

/** Sum of squares over all entries of all tensors, a scalar. */
export const squaredNorm = (tensors: ReadonlyArray<Tensor>): Tensor =>
  tensors.length === 0 ? scalar(0) : RxSquaredNorm.run(tensors, {})[0];
