import type { Tensor } from '@tensorflow/tfjs-core';
import { tidy } from '../../tfjs.js';
import { capped, cappedGrad } from '../kernels/capped.js';
import { clone } from '../kernels/clone.js';
import { inactive, landedOn, passed } from './layer.js';
import type { Layer } from './layer.js';

/** softcap · tanh(x / softcap). */
export const softcapped =
  (softcap: number): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const y = tidy(() => capped(x, softcap));
    if (!wanted.input) return inactive(y);
    const kept = clone(y);
    return passed(y, [kept], (dy, onto) => {
      const dx = tidy(() => cappedGrad(dy, kept, softcap));
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
