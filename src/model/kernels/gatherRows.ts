import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { gather, tensor1d, unsortedSegmentSum } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export const RxGatherRows = namedOp(
  'RxGatherRows',
  ({ x }: { x: Tensor }, { rows }: { rows: Int32Array }): readonly [Tensor] => [gather(x, tensor1d(rows, 'int32'))],
);

export const RxGatherRowsAt = namedOp(
  'RxGatherRowsAt',
  ({ x, rows }: { x: Tensor; rows: Tensor }): readonly [Tensor] => [gather(x, rows as Tensor1D)],
);

/** Rows of x [N, C] at `rows`, a tensor of int32 where the engine has found them: [M, C]. */
export const gatherRows = (x: Tensor, rows: Int32Array | Tensor): Tensor =>
  rows instanceof Int32Array ? RxGatherRows.run({ x }, { rows })[0] : RxGatherRowsAt.run({ x, rows }, {})[0];

export const RxScatterRows = namedOp(
  'RxScatterRows',
  ({ dy }: { dy: Tensor }, { rows, size }: { rows: Int32Array; size: number }): readonly [Tensor] => [
    unsortedSegmentSum(dy as Tensor2D, tensor1d(rows, 'int32'), size),
  ],
);

/** dy [M, C] laid at distinct `rows` of [size, C], zeros elsewhere: the pullback of `gatherRows`. */
export const scatterRows = (dy: Tensor, rows: Int32Array, size: number): Tensor =>
  RxScatterRows.run({ dy }, { rows, size })[0];
