import type { TensorInfo } from '@tensorflow/tfjs-core';
import { momentMaps, momentShapes } from '../../model/kernels/adamW8bit.js';
import { expectSame, expectVector, kernel, sizeOf } from '../kernel.js';

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

/** Numbers of both maps, one after the other, as the engine wants them. */
const maps = Float32Array.from(momentMaps.flatMap((map) => [...map]));

/** In place, all tensors in one pass. */
export const adamW8bit = kernel('RxAdamW8bit', (backend, tensors: ReadonlyArray<TensorInfo>, attrs: Attrs) => {
  const { n, learningRate, beta1, beta2, epsilon, weightDecay, step, gradScale } = attrs;
  if (tensors.length !== 6 * n) throw new Error(`${tensors.length} tensors for ${n} parameters, expected ${6 * n}`);
  const parameters = tensors.slice(0, n);
  parameters.forEach((parameter, i) => {
    const { codes, absmax } = momentShapes(sizeOf(parameter));
    const gradient = tensors[n + i];
    if (gradient !== undefined) expectSame('a gradient', parameter, gradient);
    for (const part of [2, 3]) expectVector('codes of a moment', tensors[part * n + i], codes);
    for (const part of [4, 5]) expectVector('scales of a moment', tensors[part * n + i], absmax);
  });
  backend.put(n).put(learningRate).put(beta1).put(beta2).put(epsilon).put(step).put(gradScale);
  for (const parameter of parameters) backend.put(sizeOf(parameter));
  tensors.forEach((tensor, i) => {
    const part = Math.floor(i / n);
    if (part === 1) backend.tensor(tensor);
    else if (part === 2 || part === 3) backend.integers(tensor);
    else backend.written(tensor);
  });
  backend.run(backend.op.adamW8bit, weightDecay, maps);
  return [];
});
