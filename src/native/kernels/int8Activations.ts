import type { TensorInfo } from '@tensorflow/tfjs-core';
import { kernel, rowsOf } from '../kernel.js';

export const int8Activations = kernel(
  'RxInt8Activations',
  (backend, { x }: { x: TensorInfo }, { threshold }: { threshold: number }) => {
    const [rows, columns] = rowsOf('x', x);
    const y = backend.output([rows, columns]);
    backend.put(rows).put(columns).put(threshold).tensor(x).tensor(y).run(backend.op.int8Activations);
    return [y];
  },
);
