import type { Tensor } from '@tensorflow/tfjs-core';
import { mul, reshape, tidy } from '../../tfjs.js';
import { keep } from '../kernels/hold.js';
import { columnSum } from '../kernels/linear.js';
import { weightOf } from '../weights.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';

/** x [N, C], each column times its own number: `name` is a weight of C numbers, whatever its shape. */
export const columnGain =
  (name: string): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const gain = weightOf(weights, name);
    const inRow = reshape(gain, [1, gain.size]);
    const y = mul(x, inRow);
    const needGain = wanted.weight(name);
    if (!wanted.input && !needGain) {
      inRow.dispose();
      return inactive(y);
    }
    const kept = keep(x);
    return passed(y, [inRow, kept], (dy, onto) => {
      const gradients = needGain ? { [name]: tidy(() => reshape(columnSum(mul(dy, kept)), gain.shape)) } : {};
      const dx = wanted.input ? landedOn<Tensor>(mul(dy, inRow), onto) : undefined;
      dy.dispose();
      return [gradients, dx];
    });
  };
