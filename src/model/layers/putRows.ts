import type { Tensor } from '@tensorflow/tfjs-core';
import { reshape, tidy } from '../../tfjs.js';
import { concatColumns, splitColumns } from '../kernels/columns.js';
import { gatherRows } from '../kernels/gatherRows.js';

/** Matrices of one width, [n, C], [m, C], …, one below the other: a new tensor. */
export const joinRows = (parts: ReadonlyArray<Tensor>): Tensor =>
  tidy(() => {
    const width = parts[0]?.shape[1] ?? 0;
    return reshape(concatColumns(parts.map((part) => reshape(part, [1, -1]))), [-1, width]);
  });

/** [Σ rows, C] as its parts, one below the other; consumes it. */
export const cutRows = (x: Tensor, sizes: ReadonlyArray<number>): ReadonlyArray<Tensor> =>
  tidy(() => {
    const [, width = 0] = x.shape;
    const parts = splitColumns(
      reshape(x, [1, -1]),
      sizes.map((size) => size * width),
    ).map((part) => reshape(part, [-1, width]));
    x.dispose();
    return parts;
  });

/** x [N, C] with `rows` [m, C] in the place of those at `places`, which are distinct: a new tensor. */
export const putRows = (x: Tensor, rows: Tensor, places: ReadonlyArray<number>): Tensor =>
  tidy(() => {
    const [n = 0] = x.shape;
    const joined = joinRows([x, rows]);
    const from = Int32Array.from({ length: n }, (_, i) => i);
    places.forEach((place, i) => {
      from[place] = n + i;
    });
    return gatherRows(joined, from);
  });
