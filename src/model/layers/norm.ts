import type { Tensor } from '@tensorflow/tfjs-core';
import { add, ones, reshape } from '../../tfjs.js';
import { layerNorm as normLayer, layerNormGrad } from '../kernels/layerNorm.js';
import type { NormGrads } from '../kernels/layerNorm.js';
import { rmsNorm as normRms, rmsNormGrad } from '../kernels/rmsNorm.js';
import type { RmsNormAttrs } from '../kernels/rmsNorm.js';
import { moduleNames, weightOf } from '../weights.js';
import type { Gradients, Layer, Wanted } from './layer.js';
import { frozen, holding, inactive, onlyWanted, passed } from './layer.js';

/** Names of a norm's tensors. */
interface NormNames {
  readonly weight: string;
  readonly bias?: string;
}

/** What a norm's pullback hands on: gradients that are wanted. The others are freed. */
const handedOn = (
  { dx, dGain, dBias }: NormGrads,
  names: NormNames,
  wanted: Wanted,
): readonly [Gradients, Tensor | undefined] => {
  if (!wanted.input) dx.dispose();
  const gradients = onlyWanted(
    [[names.weight, dGain], ...(names.bias === undefined ? [] : [[names.bias, dBias] as const])],
    wanted.weight,
  );
  return [gradients, wanted.input ? dx : undefined];
};

/** What a norm puts out. */
export interface NormOptions {
  /** False: the value is the stream that branches are added to, which stays float32 on every engine. Default: true. */
  readonly flows?: boolean;
}

/** What a layer norm puts out, and how its gain is stored. */
export interface LayerNormOptions extends NormOptions {
  /** Added to the gain: 1 where files hold what it is above 1. Default: 0. */
  readonly offset?: number;
}

/**
 * Layer norm, [N, C] to the same: (x - mean) / √(variance + eps) of each row, times the gain `<module>.weight` and, where the checkpoint has
 * one, plus the bias `<module>.bias` (Ba et al. 2016).
 */
export const layerNorm =
  (module: string, eps: number, { flows = true, offset = 0 }: LayerNormOptions = {}): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const names = moduleNames(module);
    const stored = weightOf(weights, names.weight);
    const gain = offset === 0 ? stored : add(stored, offset);
    const own = offset === 0 ? [] : [gain];
    const bias = weights[names.bias];
    const needWeights = wanted.weight(names.weight) || (bias !== undefined && wanted.weight(names.bias));
    const keeps = wanted.input || needWeights;
    const { y, mean, rstd, kept } = normLayer(x, gain, bias, { eps, flows, keeps });
    if (kept === undefined) {
      for (const tensor of [mean, rstd, ...own]) tensor.dispose();
      return inactive(y);
    }
    return passed(y, [kept, mean, rstd, ...own], (dy, dResidual) => {
      const grads = layerNormGrad(
        { dy, x: kept, gain, mean, rstd, dResidual },
        { hasBias: bias !== undefined, needWeights },
      );
      dy.dispose();
      dResidual?.dispose();
      return handedOn(grads, names, wanted);
    });
  };

/** A norm of the module `norm`, all of whose gains are 1. */
const bare = (norm: Layer<Tensor, Tensor>): Layer<Tensor, Tensor> =>
  holding(
    ({ shape: [, width = 0] }: Tensor) => ({ 'norm.weight': ones([width]) }),
    (gain) => (_weights, x, wanted) => frozen(norm)(gain, x, wanted),
  );

/** Layer norm without gain or bias, [N, C] to the same. */
export const bareLayerNorm = (eps: number, options: NormOptions = {}): Layer<Tensor, Tensor> =>
  bare(layerNorm('norm', eps, options));

/**
 * RMS norm, [N, C] to the same: x / √(mean of x² + eps) of each row, times the gain `<module>.weight` + `offset` (Zhang & Sennrich 2019).
 */
export const rmsNorm = (module: string, attrs: RmsNormAttrs): Layer<Tensor, Tensor> =>
  rmsNormBy(moduleNames(module), attrs);

/** The same, its gain by its whole name. */
export const rmsNormBy =
  (names: NormNames, { eps, offset, flows = true }: RmsNormAttrs): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const gain = weightOf(weights, names.weight);
    const needWeights = wanted.weight(names.weight);
    const asked = { keeps: wanted.input || needWeights, mayKeepValue: !needWeights };
    const { y, rstd, kept, byValue } = normRms(x, gain, { eps, offset, flows, ...asked });
    if (kept === undefined) {
      rstd.dispose();
      return inactive(y);
    }
    return passed(y, [kept, rstd], (dy, dResidual) => {
      const grads = rmsNormGrad({ dy, x: kept, gain, rstd, dResidual }, { offset, needWeights, byValue });
      dy.dispose();
      dResidual?.dispose();
      return handedOn(grads, names, wanted);
    });
  };

/** RMS norm without a gain. */
export const bareRmsNorm = (eps: number, options: NormOptions = {}): Layer<Tensor, Tensor> =>
  bare(rmsNorm('norm', { eps, offset: 0, ...options }));

/** The layer on every head by itself: [N, heads · headDim] seen as [N · heads, headDim]. */
export const perHead =
  (headDim: number, layer: Layer<Tensor, Tensor>): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const { shape } = x;
    const heads = (tensor: Tensor): Tensor => reshape(tensor, [tensor.size / headDim, headDim]);
    const joined = (tensor: Tensor): Tensor => reshape(tensor, shape);
    const moved = (tensor: Tensor, change: (tensor: Tensor) => Tensor): Tensor => {
      const changed = change(tensor);
      tensor.dispose();
      return changed;
    };
    const split = heads(x);
    const inner = layer(weights, split, wanted);
    split.dispose();
    const value = moved(inner.value, joined);
    if (!inner.active) return inactive(value);
    return {
      value,
      active: true,
      pullback: (dOutput, onto) => {
        const [gradients, dx] = inner.pullback(moved(dOutput, heads), onto && moved(onto, heads));
        return [gradients, dx && moved(dx, joined)];
      },
      drop: inner.drop,
    };
  };
