import { gather, tensor1d, unsortedSegmentSum } from '@tensorflow/tfjs-core';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { namedOp } from './namedOp.js';

export const RxEmbedding = namedOp(
  'RxEmbedding',
  ({ table }: { table: Tensor }, { ids }: { ids: Int32Array }): readonly [Tensor] => [
    gather(table, tensor1d(ids, 'int32')),
  ],
);

/** Rows `ids` of `table` [V, C]: [N, C]. */
export const embedding = (table: Tensor, ids: Int32Array): Tensor => RxEmbedding.run({ table }, { ids })[0];

export const RxEmbeddingGrad = namedOp(
  'RxEmbeddingGrad',
  ({ dy }: { dy: Tensor }, { ids, vocabSize }: { ids: Int32Array; vocabSize: number }): readonly [Tensor] => [
    unsortedSegmentSum(dy as Tensor2D, tensor1d(ids, 'int32'), vocabSize),
  ],
);

/** Gradient of the table, [V, C], from dy [N, C]: rows of one id add up. */
export const embeddingGrad = (dy: Tensor, ids: Int32Array, vocabSize: number): Tensor =>
  RxEmbeddingGrad.run({ dy }, { ids, vocabSize })[0];
