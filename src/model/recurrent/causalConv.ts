import type { Tensor } from '@tensorflow/tfjs-core';
import { zeros } from '../../tfjs.js';
import { keepState } from '../attention/cachedAttention.js';
import type { KvCache } from '../attention/cachedAttention.js';
import { eachText } from '../attention/eachText.js';
import type { Text } from '../attention/eachText.js';
import { writeRows } from '../kernels/cachedAttention.js';
import { causalConv as convolve, causalConvGrad } from '../kernels/causalConv.js';
import { gatherRows } from '../kernels/gatherRows.js';
import { keep } from '../kernels/hold.js';
import type { Layer, Weights } from '../layers/layer.js';
import { inactive, landedOn, onlyWanted, passed } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import { moduleNames, weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';

/** Which convolution over tokens it is. */
export interface Convolution {
  /** Path of the module: its weight [C, 1, K] is `<module>.weight`, its bias, where the checkpoint has one, `<module>.bias`. */
  readonly module: string;
  /** The sum passes SiLU. Default: false. */
  readonly silu?: boolean;
  /** x has gates, [N, 3C]; see `ConvAttrs`. Default: false. */
  readonly gated?: boolean;
}

/** Weight and, where there is one, bias of `causalConv`: torch's depthwise Conv1d of `taps` tokens. */
export const causalConvSpec = (
  module: string,
  channels: number,
  taps: number,
  bias: boolean,
): ReadonlyArray<TensorSpec> => [
  { name: `${module}.weight`, shape: [channels, 1, taps], kind: 'convolution' },
  ...(bias ? [{ name: `${module}.bias`, shape: [channels], kind: 'bias' } as const] : []),
];

const rowsFrom = (first: number, count: number): Int32Array => Int32Array.from({ length: count }, (_, i) => first + i);

/** x behind the rows that the cache holds, those before the text being zeros, of which it holds the last from here on. */
const behindKept = (cache: KvCache, module: string, x: Tensor, before: number): Tensor => {
  const [n = 0, channels = 0] = x.shape;
  const kept = cache.states.get(module);
  const empty = zeros([before + n, channels]);
  const all = writeRows(kept === undefined ? empty : writeRows(empty, kept, 0), x, before);
  keepState(cache, module, gatherRows(all, rowsFrom(n, before)));
  return all;
};

/** The convolution of what follows the tokens that the cache knows of. */
const generating = (
  cache: KvCache,
  { module, silu = false, gated = false }: Convolution,
  weights: Weights,
  x: Tensor,
): Tensor => {
  const names = moduleNames(module);
  const weight = weightOf(weights, names.weight);
  const [n = 0] = x.shape;
  const before = (weight.shape[2] ?? 1) - 1;
  if (before === 0)
    return convolve({ x, weight, bias: weights[names.bias] }, { cuSeqlens: Int32Array.of(0, n), silu, gated });
  const all = behindKept(cache, module, x, before);
  const attrs = { cuSeqlens: Int32Array.of(0, before + n), silu, gated };
  const y = convolve({ x: all, weight, bias: weights[names.bias] }, attrs);
  all.dispose();
  const last = gatherRows(y, rowsFrom(before, n));
  y.dispose();
  return last;
};

const convolving =
  ({ cuSeqlens, cache }: Text, convolution: Convolution): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    if (cache !== undefined) return inactive(generating(cache, convolution, weights, x));
    const { module, silu = false, gated = false } = convolution;
    const names = moduleNames(module);
    const weight = weightOf(weights, names.weight);
    const bias = weights[names.bias];
    const needWeights = wanted.weight(names.weight) || (bias !== undefined && wanted.weight(names.bias));
    const y = convolve({ x, weight, bias }, { cuSeqlens, silu, gated });
    if (!wanted.input && !needWeights) return inactive(y);
    const kept = keep(x);
    return passed(y, [kept], (dy, onto) => {
      const { dx, dWeight, dBias } = causalConvGrad(
        { dy, x: kept, weight, bias },
        { cuSeqlens, silu, gated, needWeights },
      );
      dy.dispose();
      const gradients = onlyWanted(
        [
          [names.weight, dWeight],
          [names.bias, dBias],
        ],
        wanted.weight,
      );
      if (wanted.input) return [gradients, landedOn(dx, onto)];
      dx.dispose();
      return [gradients, undefined];
    });
  };

/**
 * Each channel of x [N, C] convolved by itself over the tokens of a document, a token with the K - 1 before it: [N, C]. While generating,
 * the cache keeps the last K - 1 rows of x.
 */
export const causalConv = (pass: Pass, convolution: Convolution): Layer<Tensor, Tensor> =>
  eachText(pass, (text) => convolving(text, convolution));
