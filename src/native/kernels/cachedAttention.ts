import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { CachedAttentionAttrs } from '../../model/kernels/cachedAttention.js';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

export const cachedAttention = kernel(
  'RxCachedAttention',
  (
    backend,
    { q, keys, values, sinks }: { q: TensorInfo; keys: TensorInfo; values: TensorInfo; sinks?: TensorInfo | undefined },
    attrs: CachedAttentionAttrs,
  ) => {
    const { rows, heads, kvHeads, headDim, valueDim = headDim, scale, window, softcap = 0, alibi = 0 } = attrs;
    const [n] = rowsOf('q', q);
    const [room] = rowsOf('keys', keys);
    expectMatrix('q', q, n, heads * headDim);
    expectMatrix('keys', keys, room, kvHeads * headDim);
    expectMatrix('values', values, room, kvHeads * valueDim);
    expectVector('sinks', sinks, heads);
    const out = backend.outputAs(backend.liesHalved(q), [n, heads * valueDim]);
    backend
      .put(n)
      .put(rows)
      .put(heads)
      .put(kvHeads)
      .put(headDim)
      .put(valueDim)
      .put(window)
      .put(scale)
      .put(softcap)
      .put(alibi);
    backend.optional(sinks).value(q).tensor(keys).tensor(values).value(out).run(backend.op.cachedAttention);
    return [out];
  },
);

/** In place. */
export const writeRows = kernel(
  'RxWriteRows',
  (backend, { table, x }: { table: TensorInfo; x: TensorInfo }, { at }: { at: number }) => {
    const [, columns] = rowsOf('table', table);
    const [n] = rowsOf('x', x);
    expectMatrix('x', x, n, columns);
    backend.put(at).put(n).put(columns).tensor(x).written(table).run(backend.op.writeRows);
    return [];
  },
);
