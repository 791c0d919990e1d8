import { mul } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { namedOp } from './namedOp.js';

export const RxScale = namedOp('RxScale', ({ x }: { x: Tensor }, { factor }: { factor: number }): readonly [Tensor] => [
  mul(x, factor),
]);

/** factor·x. */
export const scale = (x: Tensor, factor: number): Tensor => RxScale.run({ x }, { factor })[0];
