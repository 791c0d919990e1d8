/** NEFTune (Jain et al. 2023, arXiv 2310.05914): uniform noise on the token embeddings while training. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { random } from '../../seed.js';
import { tensor2d } from '../../tfjs.js';
import { add } from '../kernels/add.js';
import type { Pass } from '../pass.js';
import type { Sequence } from '../sequence.js';
import type { Layer } from './layer.js';
import { identity, inactive, landedOn, passed } from './layer.js';

/** Length of the longest document: what a batch padded to its longest row would have. */
const longest = ({ cuSeqlens }: Sequence): number =>
  cuSeqlens.reduce((length, end, d) => (d === 0 ? 0 : Math.max(length, end - (cuSeqlens[d - 1] ?? 0))), 0);

/** Bound of the noise: alpha / √(length · width). */
export const neftuneMagnitude = (alpha: number, length: number, width: number): number =>
  alpha / Math.sqrt(length * width);

/**
 * Embeddings [N, C] plus noise uniform in ± alpha / √(L·C), L the longest document's length (Jain et al. 2023). New noise every
 * pass; none unless the pass trains.
 */
export const neftune = ({ training, sequence }: Pass): Layer<Tensor, Tensor> => {
  const alpha = training?.neftuneNoiseAlpha;
  const given = training?.neftuneNoise;
  if (training === undefined || ((alpha === undefined || alpha === 0) && given === undefined)) return identity;
  return (_weights, x, wanted) => {
    const [n = 0, width = 0] = x.shape;
    const bound = neftuneMagnitude(alpha ?? 0, longest(sequence), width);
    const { uniform } = random(training.seed, 'neftune', training.step);
    const noise =
      given ??
      tensor2d(
        Float32Array.from({ length: n * width }, () => (2 * uniform() - 1) * bound),
        [n, width],
      );
    const y = add(x, noise);
    if (noise !== given) noise.dispose();
    return wanted.input ? passed(y, [], (dy, onto) => [{}, landedOn(dy, onto)]) : inactive(y);
  };
};
