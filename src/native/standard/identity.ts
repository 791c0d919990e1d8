/** Kernels that compute nothing: the same data again. */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../../tfjs.js';
import { kernel, sizeOf } from '../kernel.js';

const { ExpandDims, Identity, Reshape } = tfjs();

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

export const expandDims = kernel(ExpandDims, (backend, { input }: { input: TensorInfo }, { dim }: { dim: number }) => {
  const rank = input.shape.length;
  if (dim < -(rank + 1) || dim > rank)
    throw new Error(`axis ${dim} of ${rank} dimensions: from ${-(rank + 1)} to ${rank}`);
  const at = dim < 0 ? rank + 1 + dim : dim;
  return backend.alias(input, [...input.shape.slice(0, at), 1, ...input.shape.slice(at)]);
});
