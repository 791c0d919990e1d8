import type { Tensor } from '@tensorflow/tfjs-core';
import { dropout as drop } from '../kernels/dropout.js';
import type { Pass } from '../pass.js';
import { dropoutSeed } from '../pass.js';
import type { Layer } from './layer.js';
import { identity, inactive, landedOn, passed } from './layer.js';

/** The model's own dropout at a named site; the identity unless the pass trains with dropout. */
export const dropout = ({ training }: Pass, site: string, rate: number): Layer<Tensor, Tensor> => {
  if (training?.dropout !== true || rate === 0) return identity;
  return (_weights, x, wanted) => {
    const attrs = { rate, seed: dropoutSeed(training, site), offset: 0 };
    const y = drop(x, attrs);
    if (!wanted.input) return inactive(y);
    return passed(y, [], (dy, onto) => {
      const dx = drop(dy, attrs);
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
};

/** An adapter's dropout, which stays on where the model's own is switched off. */
export const adapterDropout = (pass: Pass, site: string, rate: number): Layer<Tensor, Tensor> =>
  dropout(pass.training === undefined ? pass : { ...pass, training: { ...pass.training, dropout: true } }, site, rate);
