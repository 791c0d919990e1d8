import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectSame, kernel, sizeOf } from '../kernel.js';

/** In place: y += alpha·x. */
export const axpy = kernel(
  'RxAxpy',
  (backend, { y, x }: { y: TensorInfo; x: TensorInfo }, { alpha }: { alpha: number }) => {
    expectSame('x', y, x);
    backend.put(sizeOf(y)).put(alpha).written(y).tensor(x).run(backend.op.axpy);
    return [];
  },
);
