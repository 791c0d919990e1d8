import type { TensorInfo } from '@tensorflow/tfjs-core';
import { kernel, sizeOf } from '../kernel.js';

export const scale = kernel('RxScale', (backend, { x }: { x: TensorInfo }, { factor }: { factor: number }) => {
  const y = backend.output(x.shape);
  backend.put(sizeOf(x)).put(factor).tensor(x).tensor(y).run(backend.op.scale);
  return [y];
});
