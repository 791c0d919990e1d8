import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { AdamWAttrs } from '../../model/kernels/adamW.js';
import type { NativeBackend } from '../backend.js';
import { expectSame, kernel, sizeOf } from '../kernel.js';

export type UpdateAttrs = AdamWAttrs & { readonly n: number };

/** The n parameters of an update whose inputs are `each` times as many, after the numbers that lead its arguments. */
export const putUpdate = (
  backend: NativeBackend,
  tensors: ReadonlyArray<TensorInfo>,
  each: number,
  attrs: UpdateAttrs,
): ReadonlyArray<TensorInfo> => {
  const { n, learningRate, beta1, beta2, epsilon, step, gradScale } = attrs;
  if (tensors.length !== each * n)
    throw new Error(`${tensors.length} tensors for ${n} parameters, expected ${each * n}`);
  const parameters = tensors.slice(0, n);
  backend.put(n).put(learningRate).put(beta1).put(beta2).put(epsilon).put(step).put(gradScale);
  for (const parameter of parameters) backend.put(sizeOf(parameter));
  return parameters;
};

/** In place, all tensors in one pass. */
export const adamW = kernel('RxAdamW', (backend, tensors: ReadonlyArray<TensorInfo>, attrs: UpdateAttrs) => {
  const { n } = attrs;
  const parameters = putUpdate(backend, tensors, 4, attrs);
  // An adapter has hundreds of tensors, and the card waits while they are listed.
  tensors.forEach((tensor, i) => {
    const parameter = parameters[i % n];
    if (parameter !== undefined && i >= n) expectSame('a gradient or moment', parameter, tensor);
    if (i >= n && i < 2 * n) backend.tensor(tensor);
    else backend.written(tensor);
  });
  backend.run(backend.op.adamW, attrs.weightDecay);
  return [];
});
