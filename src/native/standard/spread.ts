/** Values that repeat along rows: the engine's operations take operands that repeat as a whole only. */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { sizeOf } from '../kernel.js';
import type { NativeInfo } from '../nativeData.js';

/** Frees what a kernel made for itself. */
export const drop = (backend: NativeBackend, ...made: ReadonlyArray<TensorInfo>): void => {
  for (const { dataId } of made) backend.disposeData(dataId, true);
};

/** Each number of `x` `columns` times: a product with a row of ones, which is exact. A new tensor of this shape. */
export const spread = (
  backend: NativeBackend,
  x: TensorInfo,
  columns: number,
  shape: ReadonlyArray<number>,
): NativeInfo => {
  const ones = backend.output([columns]);
  const out = backend.output(shape);
  backend.put(columns).put(1).tensor(ones).run(backend.op.fill);
  for (const value of [1, sizeOf(x), columns, 1, 0, 0, 0, 0]) backend.put(value);
  backend.tensor(x).tensor(ones).tensor(out).run(backend.op.matMul);
  drop(backend, ones);
  return out;
};
