import type { Tensor } from '@tensorflow/tfjs-core';
import { moduleNames } from '../weights.js';
import { columnGain } from './columnGain.js';
import { compose } from './layer.js';
import type { Layer } from './layer.js';
import { bareRmsNorm, perHead, rmsNorm } from './norm.js';

/** RMS norm of each of so many groups of columns by itself, with the gains of all `<module>.weight`; [N, width] to the same. */
export const groupedRmsNorm = (
  module: string,
  { eps, groups, width }: { readonly eps: number; readonly groups: number; readonly width: number },
): Layer<Tensor, Tensor> =>
  groups === 1
    ? rmsNorm(module, { eps, offset: 0 })
    : compose(perHead(width / groups, bareRmsNorm(eps)), columnGain(moduleNames(module).weight));
