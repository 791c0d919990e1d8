import type { Tensor } from '@tensorflow/tfjs-core';
import { mul, sum, tidy } from '../tfjs.js';
import { keep } from './kernels/hold.js';
import { compose, inactive, landedOn, passed } from './layer.js';
import type { Layer } from './layer.js';
import { bareRmsNorm, perHead, rmsNorm } from './norm.js';
import { moduleNames, weightOf } from './weights.js';

/** x [N, C] times a row of gains [C], the weight of that name. */
const gains =
  (name: string): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const gain = weightOf(weights, name);
    const y = mul(x, gain);
    if (!wanted.input && !wanted.weight(name)) return inactive(y);
    const kept = keep(x);
    return passed(y, [kept], (dy, onto) => {
      const gradients = wanted.weight(name) ? { [name]: tidy(() => sum(mul(dy, kept), 0)) } : {};
      const dx = wanted.input ? mul(dy, gain) : undefined;
      dy.dispose();
      return [gradients, dx && landedOn(dx, onto)];
    });
  };

/** RMS norm of each of so many groups of columns by itself, with the gains of all `<module>.weight`; [N, width] to the same. */
export const groupedRmsNorm = (
  module: string,
  { eps, groups, width }: { readonly eps: number; readonly groups: number; readonly width: number },
): Layer<Tensor, Tensor> =>
  groups === 1
    ? rmsNorm(module, { eps, offset: 0 })
    : compose(perHead(width / groups, bareRmsNorm(eps)), gains(moduleNames(module).weight));
