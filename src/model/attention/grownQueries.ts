import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor2d } from '../../tfjs.js';
import { holding, identity, inactive, landedOn, passed } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import { growthAt } from './rope.js';
import type { QueryGrowth } from './ropeConfig.js';
import { timesRows } from '../layers/rowFactors.js';

/** Queries, [N, heads · headDim], times what each counts at its position; without growth as they are. */
export const grownQueries = ({ sequence: { positionIds } }: Pass, growth?: QueryGrowth): Layer<Tensor, Tensor> => {
  const factors = growth && Float32Array.from(positionIds, (position) => growthAt(growth, position));
  if (factors === undefined || factors.every((factor) => factor === 1)) return identity;
  return holding(
    () => ({ factors: tensor2d(factors, [factors.length, 1]) }),
    ({ factors: own }) =>
      (_weights, x, wanted) => {
        const y = timesRows(x, own);
        if (!wanted.input) return inactive(y);
        return passed(y, [], (dy, onto) => {
          const dx = timesRows(dy, own);
          dy.dispose();
          return [{}, landedOn(dx, onto)];
        });
      },
  );
};
