import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { CachedAttentionAttrs } from '../../model/kernels/cachedAttention.js';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';
import { wantsRoom, withRoom, withoutRoom } from './valueWidth.js';

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
    const read = wantsRoom(backend, attrs) ? withRoom(backend, values, attrs) : undefined;
    const width = read === undefined ? valueDim : headDim;
    const out = backend.outputAs(backend.liesHalved(q), [n, heads * width]);
    backend
      .put(n)
      .put(rows)
      .put(heads)
      .put(kvHeads)
      .put(headDim)
      .put(width)
      .put(window)
      .put(scale)
      .put(softcap)
      .put(alibi);
    backend.optional(sinks).value(q).tensor(keys);
    backend
      .tensor(read ?? values)
      .value(out)
      .run(backend.op.cachedAttention);
    if (read === undefined) return [out];
    backend.disposeData(read.dataId, true);
    return [withoutRoom(backend, out, attrs)];
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
