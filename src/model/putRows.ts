import { reshape, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { concatColumns } from './kernels/columns.js';
import { gatherRows } from './kernels/gatherRows.js';

/** x [N, C] with `rows` [m, C] in the place of those at `places`, which are distinct: a new tensor. */
export const putRows = (x: Tensor, rows: Tensor, places: ReadonlyArray<number>): Tensor =>
  tidy(() => {
    const [n = 0, width = 0] = x.shape;
    const joined = reshape(concatColumns([reshape(x, [1, -1]), reshape(rows, [1, -1])]), [n + places.length, width]);
    const from = Int32Array.from({ length: n }, (_, i) => i);
    places.forEach((place, i) => {
      from[place] = n + i;
    });
    return gatherRows(joined, from);
  });
