/** The largest of normally distributed numbers, told by their mean and deviation (Gemma 3n's sparse activations). */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, div, mean, mul, relu, sqrt, square, sub, tidy } from '../../tfjs.js';
import { activationGrad } from '../kernels/activation.js';
import { keep } from '../kernels/hold.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';
import { alongRows, timesRows } from './rowFactors.js';

/** Share of a standard normal distribution below x (Marsaglia 2004). */
const below = (x: number): { readonly share: number; readonly density: number } => {
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  let term = x;
  let series = x;
  for (let i = 3; Math.abs(term) > 1e-17; i += 2) {
    term *= (x * x) / i;
    series += term;
  }
  return { share: 0.5 + density * series, density };
};

/** Where a standard normal distribution has such a share below, of 0 < share < 1. */
export const normalQuantile = (share: number): number => {
  if (share < 0.5) return -normalQuantile(1 - share);
  // From the middle outwards Newton's steps never go too far.
  let x = 0;
  for (let i = 0; i < 100; i++) {
    const { share: there, density } = below(x);
    const step = (share - there) / density;
    x += step;
    if (Math.abs(step) < 1e-12) break;
  }
  return x;
};

/**
 * x [N, C] less what about `share` of a row's numbers lie below, mean + quantile · deviation of the row, and 0 for those: a gradient
 * flows through mean and deviation, too.
 */
export const gaussianTopK = (share: number): Layer<Tensor, Tensor> => {
  const quantile = normalQuantile(share);
  return (_weights, x, wanted) => {
    const [, width = 0] = x.shape;
    const [centred, deviation, y] = tidy<[Tensor, Tensor, Tensor]>(() => {
      const apart = sub(x, alongRows(mean(x, 1, true), width));
      const spread = sqrt(mean(square(apart), 1, true));
      return [apart, spread, relu(sub(apart, alongRows(mul(spread, quantile), width)))];
    });
    if (!wanted.input) {
      centred.dispose();
      deviation.dispose();
      return inactive(y);
    }
    const kept = keep(y);
    return passed(y, [centred, deviation, kept], (dy, onto) => {
      const dx = tidy(() => {
        const through = activationGrad(kept, dy, 'relu');
        // What the bound moves by is as much for all of a row, and in proportion to how far each lies from the mean.
        const dBound = mul(mean(through, 1, true), -1);
        const bySpread = timesRows(centred, mul(div(dBound, deviation), quantile));
        return add(through, add(alongRows(dBound, width), bySpread));
      });
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
};
