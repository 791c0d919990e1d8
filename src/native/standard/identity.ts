/** Kernels that compute nothing: the same data again. */
import { Identity, Reshape } from '@tensorflow/tfjs-core';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { kernel, sizeOf } from '../kernel.js';

export const identity = kernel(Identity, (backend, { x }: { x: TensorInfo }, _attrs: object) =>
  backend.alias(x, x.shape),
);

export const reshape = kernel(Reshape, (backend, { x }: { x: TensorInfo }, { shape }: { shape: number[] }) => {
  const size = sizeOf(x);
  const known = shape.reduce((product, length) => (length < 0 ? product : product * length), 1);
  const full = shape.map((length) => (length < 0 ? size / known : length));
  if (full.reduce((product, length) => product * length, 1) !== size)
    throw new Error(`${size} elements do not fill [${shape.join(', ')}]`);
  return backend.alias(x, full);
});
