import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { AdamWAttrs } from '../../model/kernels/adamW.js';
import type { NativeBackend } from '../backend.js';
import { expectSame, kernel, sizeOf } from '../kernel.js';

export type UpdateAttrs = AdamWAttrs & { readonly n: number; readonly maxNorm?: number };

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
  const { n, maxNorm } = attrs;
  const clips = maxNorm !== undefined;
  const updated = clips ? tensors.slice(0, -1) : tensors;
  const parameters = putUpdate(backend, updated, 4, attrs);
  // An adapter has hundreds of tensors, and the card waits while they are listed.
  updated.forEach((tensor, i) => {
    const parameter = parameters[i % n];
    if (parameter !== undefined && i >= n) expectSame('a gradient or moment', parameter, tensor);
    if (i < n) backend.updated(tensor);
    else if (i < 2 * n) backend.tensor(tensor);
    else backend.written(tensor);
  });
  backend.optional(clips ? tensors.at(-1) : undefined).put(maxNorm ?? 0);
  for (const parameter of parameters) backend.keptCopy(parameter);
  backend.run(backend.op.adamW, attrs.weightDecay);
  return [];
});
