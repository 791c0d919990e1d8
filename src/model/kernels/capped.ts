/** Scores and logits squeezed between ±softcap, which Gemma 2 has. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { div, mul, square, sub, tanh } from '../../tfjs.js';

/** softcap · tanh(x / softcap), or x itself where there is no softcap. */
export const capped = (x: Tensor, softcap: number | undefined): Tensor =>
  softcap === undefined ? x : mul(tanh(div(x, softcap)), softcap);

/** Gradient of x from that of y = `capped(x)`: tanh rises by 1 - tanh². */
export const cappedGrad = (dy: Tensor, y: Tensor, softcap: number | undefined): Tensor =>
  softcap === undefined ? dy : mul(dy, sub(1, square(div(y, softcap))));
