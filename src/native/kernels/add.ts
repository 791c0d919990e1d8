import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectSame, kernel, sizeOf } from '../kernel.js';

export const add = kernel('RxAdd', (backend, { a, b }: { a: TensorInfo; b: TensorInfo }, _attrs: object) => {
  expectSame('b', a, b);
  const out = backend.output(a.shape);
  backend.put(sizeOf(a)).tensor(a).tensor(b).tensor(out).run(backend.op.add);
  return [out];
});
