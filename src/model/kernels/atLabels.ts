/** Entries of rows at one label each: what a loss looks up. On the engine where tfjs's own ways would leave it. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { ones, reshape, tfjs, tidy } from '../../tfjs.js';
import { gatherRows, scatterRows } from './gatherRows.js';

/** Where entry labels[i] of row i lies among all of [m, columns]. */
const places = (labels: Int32Array, columns: number): Int32Array =>
  labels.map((label, row) => {
    if (label < 0 || label >= columns) throw new RangeError(`label ${label} of ${columns}`);
    return row * columns + label;
  });

/** x [m, V] ↦ x[i, labels[i]], [m]; has a gradient on tfjs's tape. A RangeError for a label outside. */
export const atLabels = (x: Tensor, labels: Int32Array): Tensor => {
  const [m = 0, columns = 0] = x.shape;
  if (m !== labels.length) throw new RangeError(`${labels.length} labels for ${m} rows`);
  const where = places(labels, columns);
  const looked = tfjs().customGrad((given: unknown) => ({
    value: reshape(gatherRows(reshape(given as Tensor, [-1, 1]), where), [-1]),
    gradFunc: (dy: Tensor) => reshape(scatterRows(reshape(dy, [-1, 1]), where, m * columns), [m, columns]),
  }));
  return looked(x);
};

/** [m, vocabSize]: 1 at the label of each row, 0 elsewhere. A RangeError for a label outside. */
export const oneHotLabels = (labels: Int32Array, vocabSize: number): Tensor =>
  tidy(() =>
    reshape(scatterRows(ones([labels.length, 1]), places(labels, vocabSize), labels.length * vocabSize), [
      labels.length,
      vocabSize,
    ]),
  );
