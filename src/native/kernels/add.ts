import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectSame, kernel } from '../kernel.js';

export const add = kernel('RxAdd', (backend, { a, b }: { a: TensorInfo; b: TensorInfo }, _attrs: object) => {
  expectSame('b', a, b);
  return [backend.sumLater(a, b)];
});
