import type { Tensor } from '@tensorflow/tfjs-core';
import { add, concat, gather, matMul, mul, reshape, slice, softmax, tensor1d, transpose, zeros } from '../../tfjs.js';
import { leaning } from './alibi.js';
import type { AttentionAttrs } from './attention.js';
import { capped } from './capped.js';
import { causalMask } from './causalMask.js';
import { namedOp } from './namedOp.js';

export interface CachedAttentionInputs {
  /** [N, heads · headDim]: the last N of the rows that are kept. */
  readonly q: Tensor;
  /** [room, kvHeads · headDim]; rows from `rows` on are not looked at. */
  readonly keys: Tensor;
  /** [room, kvHeads · valueDim] */
  readonly values: Tensor;
  /** [heads] As in `AttentionInputs`. */
  readonly sinks?: Tensor | undefined;
}

export interface CachedAttentionAttrs extends Omit<AttentionAttrs, 'cuSeqlens'> {
  /** Tokens whose keys and values are kept, those of q among them. */
  readonly rows: number;
}

export const RxCachedAttention = namedOp(
  'RxCachedAttention',
  (
    { q, keys, values, sinks }: CachedAttentionInputs,
    { rows, heads, kvHeads, headDim, valueDim = headDim, scale, window, softcap, alibi }: CachedAttentionAttrs,
  ): readonly [Tensor] => {
    const [n = 0] = q.shape;
    const keyHeads = tensor1d(
      Array.from({ length: heads }, (_, h) => Math.floor((h * kvHeads) / heads)),
      'int32',
    );
    // [heads, rows, width]
    const kept = (x: Tensor, width: number): Tensor =>
      gather(
        transpose(reshape(slice(x, [0, 0], [rows, kvHeads * width]), [rows, kvHeads, width]), [1, 0, 2]),
        keyHeads,
      );
    const queries = transpose(reshape(q, [n, heads, headDim]), [1, 0, 2]);
    const scores = add(
      leaning(capped(mul(matMul(queries, kept(keys, headDim), false, true), scale), softcap), rows, { heads, alibi }),
      causalMask(n, rows, window),
    );
    const beside =
      sinks === undefined ? scores : concat([scores, add(zeros([heads, n, 1]), reshape(sinks, [heads, 1, 1]))], 2);
    const weights = slice(softmax(beside), [0, 0, 0], [heads, n, rows]);
    return [reshape(transpose(matMul(weights, kept(values, valueDim)), [1, 0, 2]), [n, heads * valueDim])];
  },
);

/** Attention of q over the keys and values that are kept, each query with those up to its own token: [N, heads · valueDim]. */
export const cachedAttention = (inputs: CachedAttentionInputs, attrs: CachedAttentionAttrs): Tensor =>
  RxCachedAttention.run(inputs, attrs)[0];

/** Kernels may write into table and return nothing; the reference returns what table should hold. */
export const RxWriteRows = namedOp(
  'RxWriteRows',
  ({ table, x }: { table: Tensor; x: Tensor }, { at }: { at: number }): ReadonlyArray<Tensor> => {
    const [size = 0, columns = 0] = table.shape;
    const [n = 0] = x.shape;
    const part = (from: number, to: number): Tensor[] =>
      to > from ? [slice(table, [from, 0], [to - from, columns])] : [];
    return [concat([...part(0, at), x, ...part(at + n, size)], 0)];
  },
);

/**
 * The tensor that now holds `table` [V, C] with x [N, C] in rows at … at + N - 1. Consumes table, whose data no other tensor may share;
 * borrows x.
 */
export const writeRows = (table: Tensor, x: Tensor, at: number): Tensor => {
  const [written] = RxWriteRows.run({ table, x }, { at });
  if (written === undefined) return table;
  table.dispose();
  return written;
};
