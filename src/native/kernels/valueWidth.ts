/** Heads whose values are narrower than their keys, for a card's kernels, which take one width. */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend, NativeInfo } from '../backend.js';
import { rowsOf } from '../kernel.js';

export interface Widths {
  readonly headDim: number;
  readonly valueDim?: number | undefined;
}

/** Whether values have to be given zeros behind them. */
export const wantsRoom = ({ onCard }: NativeBackend, { headDim, valueDim = headDim }: Widths): boolean =>
  onCard && valueDim !== headDim;

const heads = (x: TensorInfo, width: number): number => {
  const [n, columns] = rowsOf('values', x);
  return (n * columns) / width;
};

/** x [N, heads · valueDim] with zeros behind each head: [N, heads · headDim]. */
export const withRoom = (
  backend: NativeBackend,
  x: TensorInfo,
  { headDim, valueDim = headDim }: Widths,
): NativeInfo => {
  const [n, columns] = rowsOf('values', x);
  const wide = backend.output([n, (columns / valueDim) * headDim]);
  backend
    .put((n * columns * headDim) / valueDim)
    .put(0)
    .tensor(wide)
    .run(backend.op.fill);
  backend.put(heads(x, valueDim)).put(valueDim).tensor(x).put(valueDim).put(0).tensor(wide).put(headDim).put(0);
  backend.run(backend.op.copyColumns);
  return wide;
};

/** The values alone; frees x. */
export const withoutRoom = (
  backend: NativeBackend,
  x: NativeInfo,
  { headDim, valueDim = headDim }: Widths,
): NativeInfo => {
  const [n, columns] = rowsOf('values', x);
  const narrow = backend.output([n, (columns / headDim) * valueDim]);
  backend.put(heads(x, headDim)).put(valueDim).tensor(x).put(headDim).put(0).tensor(narrow).put(valueDim).put(0);
  backend.run(backend.op.copyColumns);
  backend.disposeData(x.dataId, true);
  return narrow;
};
