import type { TensorInfo } from '@tensorflow/tfjs-core';
import { momentMaps, momentShapes } from '../../model/kernels/adamW8bit.js';
import { expectSame, expectVector, kernel, sizeOf } from '../kernel.js';
import { putUpdate, type UpdateAttrs } from './adamW.js';

/** Numbers of both maps, one after the other, as the engine wants them. */
const maps = Float32Array.from(momentMaps.flatMap((map) => [...map]));

/** In place, all tensors in one pass. */
export const adamW8bit = kernel('RxAdamW8bit', (backend, tensors: ReadonlyArray<TensorInfo>, attrs: UpdateAttrs) => {
  const { n } = attrs;
  const parameters = putUpdate(backend, tensors, 6, attrs);
  parameters.forEach((parameter, i) => {
    const { codes, absmax } = momentShapes(sizeOf(parameter));
    const gradient = tensors[n + i];
    if (gradient !== undefined) expectSame('a gradient', parameter, gradient);
    for (const part of [2, 3]) expectVector('codes of a moment', tensors[part * n + i], codes);
    for (const part of [4, 5]) expectVector('scales of a moment', tensors[part * n + i], absmax);
  });
  tensors.forEach((tensor, i) => {
    const part = Math.floor(i / n);
    if (part === 1) backend.tensor(tensor);
    else if (part === 2 || part === 3) backend.integers(tensor);
    else backend.written(tensor);
  });
  backend.run(backend.op.adamW8bit, attrs.weightDecay, maps);
  return [];
});
