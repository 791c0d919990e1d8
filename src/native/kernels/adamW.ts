import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectSame, kernel, sizeOf } from '../kernel.js';

interface Attrs {
  readonly n: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: Float32Array;
  readonly step: number;
  readonly gradScale: number;
}

/** In place, all tensors in one pass. */
export const adamW = kernel('RxAdamW', (backend, tensors: ReadonlyArray<TensorInfo>, attrs: Attrs) => {
  const { n, learningRate, beta1, beta2, epsilon, weightDecay, step, gradScale } = attrs;
  if (tensors.length !== 4 * n) throw new Error(`${tensors.length} tensors for ${n} parameters, expected ${4 * n}`);
  const parameters = tensors.slice(0, n);
  tensors.forEach((tensor, i) => {
    const parameter = parameters[i % n];
    if (parameter !== undefined) expectSame('a gradient or moment', parameter, tensor);
  });
  backend.put(n).put(learningRate).put(beta1).put(beta2).put(epsilon).put(step).put(gradScale);
  for (const parameter of parameters) backend.put(sizeOf(parameter));
  tensors.forEach((tensor, i) => (i >= n && i < 2 * n ? backend.tensor(tensor) : backend.written(tensor)));
  backend.run(backend.op.adamW, weightDecay);
  return [];
});
