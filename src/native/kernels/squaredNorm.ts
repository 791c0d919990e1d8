import type { TensorInfo } from '@tensorflow/tfjs-core';
import { kernel, sizeOf } from '../kernel.js';

export const squaredNorm = kernel('RxSquaredNorm', (backend, tensors: ReadonlyArray<TensorInfo>, _attrs: object) => {
  const sum = backend.output([]);
  backend.put(tensors.length);
  for (const tensor of tensors) backend.put(sizeOf(tensor)).tensor(tensor);
  backend.tensor(sum).run(backend.op.squaredNorm);
  return [sum];
});
