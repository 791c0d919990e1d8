import type { Tensor } from '@tensorflow/tfjs-core';
import { gatherRows as gather, scatterRows } from '../kernels/gatherRows.js';
import type { Pass } from '../pass.js';
import type { Layer } from './layer.js';
import { identity, inactive, landedOn, passed } from './layer.js';

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

/**
 * What layer `i` of `numLayers` does right after attention, and on its straight path: the identity, but in the last layer a choice of
 * the rows that the head reads. Keys and values are made of all rows; what follows treats each row by itself, so the others need
 * no output projection, no norm and no MLP, forward or backward.
 */
export const narrowing = ({ rows }: Pass, i: number, numLayers: number): Layer<Tensor, Tensor> =>
  rows === undefined || i < numLayers - 1 ? identity : gatherRows(rows);
