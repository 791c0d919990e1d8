import type { Tensor } from '@tensorflow/tfjs-core';
import { add, maximum, minimum, sub, tidy } from '../../tfjs.js';
import { activationGrad } from '../kernels/activation.js';
import { clone } from '../kernels/clone.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';

/** x, of which nothing goes beyond ± limit. */
export const clipped =
  (limit: number): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const y = tidy(() => minimum(maximum(x, -limit), limit));
    if (!wanted.input) return inactive(y);
    // Its value alone tells what was clipped, and may be kept by others already. Exact: a rounded limit is another number.
    const kept = clone(y);
    return passed(y, [kept], (dy, onto) => {
      // A relu's slope is 1 above 0, else 0: dy where -limit < y < limit.
      const dx = tidy(() => activationGrad(sub(limit, kept), activationGrad(add(kept, limit), dy, 'relu'), 'relu'));
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
