import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, kernel, rowsOf } from '../kernel.js';

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
    let from = 0;
    return sizes.map((size) => {
      const part = backend.output([n, size]);
      backend.put(n).put(size).tensor(x).put(columns).put(from).tensor(part).put(size).put(0);
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
  const whole = backend.output([n, columns]);
  let to = 0;
  parts.forEach((part, i) => {
    const size = sizes[i] ?? 0;
    expectMatrix('a part', part, n, size);
    backend.put(n).put(size).tensor(part).put(size).put(0).tensor(whole).put(columns).put(to);
    backend.run(backend.op.copyColumns);
    to += size;
  });
  return [whole];
});
