import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, kernel, rowsOf } from '../kernel.js';

/** A matrix as bfloat16, as it lies, or as float32. */
const putLying = (backend: NativeBackend, matrix: TensorInfo, half: boolean): NativeBackend =>
  half ? backend.halved(matrix) : backend.tensor(matrix);

export const splitColumns = kernel(
  'RxSplitColumns',
  (backend, { x }: { x: TensorInfo }, { sizes }: { sizes: ReadonlyArray<number> }) => {
    const [n, columns] = rowsOf('x', x);
    expectMatrix(
      'x',
      x,
      n,
      sizes.reduce((sum, size) => sum + size, 0),
    );
    const half = backend.liesHalved(x);
    let from = 0;
    return sizes.map((size) => {
      const part = backend.outputAs(half, [n, size]);
      backend.put(n).put(size).put(Number(half));
      putLying(backend, x, half).put(columns).put(from);
      putLying(backend, part, half).put(size).put(0);
      backend.run(backend.op.copyColumns);
      from += size;
      return part;
    });
  },
);

export const concatColumns = kernel('RxConcatColumns', (backend, parts: ReadonlyArray<TensorInfo>, _attrs: object) => {
  const [n] = rowsOf('the first part', parts[0] ?? { dataId: {}, shape: [], dtype: 'float32' });
  const sizes = parts.map((part) => rowsOf('a part', part)[1]);
  const columns = sizes.reduce((sum, size) => sum + size, 0);
  const half = parts.every((part) => backend.liesHalved(part));
  const whole = backend.outputAs(half, [n, columns]);
  let to = 0;
  parts.forEach((part, i) => {
    const size = sizes[i] ?? 0;
    expectMatrix('a part', part, n, size);
    backend.put(n).put(size).put(Number(half));
    putLying(backend, part, half).put(size).put(0);
    putLying(backend, whole, half).put(columns).put(to);
    backend.run(backend.op.copyColumns);
    to += size;
  });
  return [whole];
});
