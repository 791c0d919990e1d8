import { add, maximum, minimum, sub, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { activationGrad } from './kernels/activation.js';
import { keep } from './kernels/hold.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';

/** x, of which nothing goes beyond ± limit. */
export const clipped =
  (limit: number): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const y = tidy(() => minimum(maximum(x, -limit), limit));
    if (!wanted.input) return inactive(y);
    const kept = keep(x);
    return passed(y, [kept], (dy, onto) => {
      // A relu's slope is 1 above 0 and 0 below: dy where -limit < x < limit.
      const dx = tidy(() => activationGrad(sub(limit, kept), activationGrad(add(kept, limit), dy, 'relu'), 'relu'));
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
