import type { Tensor } from '@tensorflow/tfjs-core';
import { scale } from '../kernels/scale.js';
import { inactive, landedOn, passed } from './layer.js';
import type { Layer } from './layer.js';

/** factor·x. */
export const scaled =
  (factor: number): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const y = scale(x, factor);
    if (!wanted.input) return inactive(y);
    return passed(y, [], (dy, onto) => {
      const dx = scale(dy, factor);
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
