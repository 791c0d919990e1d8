import type { Tensor } from '@tensorflow/tfjs-core';
import { weightOf } from '../weights.js';
import { identity } from './layer.js';
import type { Layer } from './layer.js';
import { scaled } from './scaled.js';

/** Numbers that stay what they are: read back once, since every reading waits for the engine. */
const known = new WeakMap<Tensor, number>();

const factorOf = (weight: Tensor): number => {
  const before = known.get(weight);
  if (before !== undefined) return before;
  const [factor = NaN] = weight.dataSync<'float32'>();
  known.set(weight, factor);
  return factor;
};

/** x times the one number of a weight that never trains. */
export const timesFixed =
  (name: string): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const factor = factorOf(weightOf(weights, name));
    return (factor === 1 ? identity<Tensor> : scaled(factor))(weights, x, wanted);
  };
