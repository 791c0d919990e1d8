import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { add, gather, tensor1d, unsortedSegmentSum } from '../../tfjs.js';
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

/** Kernels may write into table and return nothing; the reference returns the sum. */
export const RxAddRows = namedOp(
  'RxAddRows',
  ({ table, x }: { table: Tensor; x: Tensor }, { rows }: { rows: Int32Array }): ReadonlyArray<Tensor> => [
    add(table, unsortedSegmentSum(x as Tensor2D, tensor1d(rows, 'int32'), table.shape[0])),
  ],
);

/**
 * The tensor that now holds `table` [V, C] with the rows of x [N, C] added at distinct `rows`. Consumes table, whose data no other
 * tensor may share; borrows x.
 */
export const addRows = (table: Tensor, x: Tensor, rows: Int32Array): Tensor => {
  const [summed] = RxAddRows.run({ table, x }, { rows });
  if (summed === undefined) return table;
  table.dispose();
  return summed;
};

/** Gradient of the table, [V, C], from dy [N, C]: rows of one id add up. */
export const embeddingGrad = (dy: Tensor, ids: Int32Array, vocabSize: number): Tensor =>
  RxEmbeddingGrad.run({ dy }, { ids, vocabSize })[0];
