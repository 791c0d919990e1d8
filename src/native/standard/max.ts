import type { KernelConfig, TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../../tfjs.js';
import type { NativeBackend } from '../backend.js';
import { kernel, sizeOf } from '../kernel.js';
import type { NativeInfo } from '../nativeData.js';
import { drop } from './spread.js';
import { viaCpu } from './viaCpu.js';

const { Max, util } = tfjs();

/** The greatest number of each row, [rows]; undefined where a number is none, which the engine passes over. Waits for them. */
export const rowMax = (
  backend: NativeBackend,
  x: TensorInfo,
  rows: number,
  columns: number,
): NativeInfo | undefined => {
  const [at, sums] = [backend.output([rows], 'int32'), backend.output([rows])];
  backend.put(rows).put(columns).tensor(x).integers(at).run(backend.op.rowArgMax);
  backend.put(rows).put(columns).tensor(x).tensor(sums).run(backend.op.rowSum);
  const found = Int32Array.from(backend.readSync(at.dataId) as Int32Array, (column, row) => row * columns + column);
  const all = (backend.readSync(sums.dataId) as Float32Array).every((sum) => !Number.isNaN(sum));
  drop(backend, at, sums);
  if (!all) return undefined;
  const out = backend.output([rows]);
  backend
    .put(rows * columns)
    .put(1)
    .put(0)
    .tensor(x)
    .put(0)
    .tensor(out)
    .run(backend.op.gatherRows, found);
  return out;
};

/** Along the last axis. Anything else is handed on, and rows in which a number is none. */
export const max = (): KernelConfig => {
  const other = viaCpu(Max);
  return kernel(
    Max,
    (
      backend,
      inputs: { x: TensorInfo },
      attrs: { readonly reductionIndices: number | number[]; readonly keepDims: boolean },
    ) => {
      const { x } = inputs;
      const last = x.shape.length - 1;
      const columns = x.shape[last] ?? 0;
      const axes = util.parseAxisParam(attrs.reductionIndices, x.shape);
      const size = sizeOf(x);
      const top =
        x.dtype === 'float32' && axes.length === 1 && axes[0] === last && size > 0
          ? rowMax(backend, x, size / columns, columns)
          : undefined;
      if (top === undefined) return other(backend, inputs, attrs);
      return { ...top, shape: attrs.keepDims ? [...x.shape.slice(0, last), 1] : x.shape.slice(0, last) };
    },
  );
};
