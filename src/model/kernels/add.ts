import type { Tensor } from '@tensorflow/tfjs-core';
import { add as tfAdd } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export const RxAdd = namedOp('RxAdd', ({ a, b }: { a: Tensor; b: Tensor }, _attrs: object): readonly [Tensor] => [
  tfAdd(a, b),
]);

/** a + b of one shape. */
export const add = (a: Tensor, b: Tensor): Tensor => RxAdd.run({ a, b }, {})[0];
