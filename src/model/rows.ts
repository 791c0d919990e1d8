import type { Tensor } from '@tensorflow/tfjs-core';
import { gatherRows as gather, scatterRows } from './kernels/gatherRows.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';

/** Rows of x [N, C] at distinct `rows`, [M, C]: what is not supervised goes no further. */
export const gatherRows =
  (rows: Int32Array): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const y = gather(x, rows);
    const [size = 0] = x.shape;
    if (!wanted.input) return inactive(y);
    return passed(y, [], (dy, onto) => {
      const dx = scatterRows(dy, rows, size);
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
