import type { Tensor } from '@tensorflow/tfjs-core';
import { mul } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export const RxScale = namedOp('RxScale', ({ x }: { x: Tensor }, { factor }: { factor: number }): readonly [Tensor] => [
  mul(x, factor),
]);

/** factor·x. */
export const scale = (x: Tensor, factor: number): Tensor => RxScale.run({ x }, { factor })[0];
