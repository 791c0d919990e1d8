import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor } from '../../tfjs.js';

/** A physical copy, float32: clones share data, which an optimizer that works in place would write through. */
export const copied = (source: Tensor): Tensor =>
  tensor(Float32Array.from(source.dataSync<'float32'>()), source.shape, 'float32');
