import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor2d } from '../../tfjs.js';
import type { Sequence } from '../sequence.js';
import { inactive } from './layer.js';
import type { Layer } from './layer.js';

/** Positions that no weight tells. */
export interface Sinusoids {
  readonly width: number;
  /** Added to positions. */
  readonly offset: number;
  /** Position, with that added, of which nothing is told. Default: there is none. */
  readonly blank?: number | undefined;
}

/** Angles of the first half of the columns; what follows an even width is 0. */
const frequenciesOf = (width: number): Float64Array => {
  const half = Math.floor(width / 2);
  return Float64Array.from({ length: half }, (_, i) => 10_000 ** (-i / (half - 1)));
};

/**
 * [N, width]: sines and then cosines of each token's position (Vaswani et al. 2017), by frequencies from 1 to 1 / 10,000, as tensor2tensor
 * has them.
 */
export const sinusoids = ({ width, offset, blank }: Sinusoids): Layer<Sequence, Tensor> => {
  const frequencies = frequenciesOf(width);
  return (_weights, { positionIds }) => {
    const values = new Float32Array(positionIds.length * width);
    positionIds.forEach((position, row) => {
      if (position + offset === blank) return;
      frequencies.forEach((frequency, i) => {
        const angle = (position + offset) * frequency;
        values[row * width + i] = Math.sin(angle);
        values[row * width + frequencies.length + i] = Math.cos(angle);
      });
    });
    return inactive<Sequence, Tensor>(tensor2d(values, [positionIds.length, width]));
  };
};
