import type { Tensor } from '@tensorflow/tfjs-core';
import { mul, tensor1d } from '../../tfjs.js';
import { holding, inactive, landedOn, passed } from './layer.js';
import type { Layer } from './layer.js';

/** x [N, Σ sizes], each of its parts times a factor of its own. */
export const scaledColumns = (sizes: ReadonlyArray<number>, factors: ReadonlyArray<number>): Layer<Tensor, Tensor> =>
  holding(
    () => ({ row: tensor1d(sizes.flatMap((size, i) => Array.from({ length: size }, () => factors[i] ?? 1))) }),
    ({ row }): Layer<Tensor, Tensor> =>
      (_weights, x, wanted) => {
        const y = mul(x, row);
        if (!wanted.input) return inactive(y);
        return passed(y, [], (dy, onto) => {
          const dx = mul(dy, row);
          dy.dispose();
          return [{}, landedOn(dx, onto)];
        });
      },
  );
