/** What experts read where what they count multiplies their input (Llama 4), not their output. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { combineRows, combineRowsGrad } from '../kernels/combineRows.js';
import { gatherRows } from '../kernels/gatherRows.js';
import { keep } from '../kernels/hold.js';
import type { Layer } from '../layers/layer.js';
import { inactive, landedOn, passed } from '../layers/layer.js';

/** [x, w] ↦ every row of x times each of its k numbers, of x [N, C] and w [N·k, 1]: [N·k, C]. */
export const weighedRows: Layer<ReadonlyArray<Tensor>, Tensor> = (_weights, input, wanted) => {
  const [x, w] = input as readonly [Tensor, Tensor];
  const [n = 0] = x.shape;
  const [rows = 0] = w.shape;
  const perRow = n === 0 ? 1 : rows / n;
  const each = { perRow: 1 };
  const own =
    perRow === 1
      ? keep(x)
      : gatherRows(
          x,
          Int32Array.from({ length: rows }, (_, i) => Math.floor(i / perRow)),
        );
  const y = combineRows(own, w, each);
  if (!wanted.input) {
    own.dispose();
    return inactive(y);
  }
  return passed(y, [own], (dy, onto) => {
    const { dx: dOwn, dWeights } = combineRowsGrad(dy, own, w, each);
    dy.dispose();
    if (perRow === 1) return [{}, landedOn<ReadonlyArray<Tensor>>([dOwn, dWeights], onto)];
    const dx = combineRows(dOwn, undefined, { perRow });
    dOwn.dispose();
    return [{}, landedOn<ReadonlyArray<Tensor>>([dx, dWeights], onto)];
  });
};
