/** Cohere 2 with experts: Cohere 2 whose MLPs are experts, but for those of some first layers, with layer norms or RMS norms. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { boolean, decodeFields, nonNegativeInteger, optional, positive, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { rotaryBody, sideBySide } from '../layers/blocks.js';
import { compose, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { gatedNames } from '../layers/mlp.js';
import { layerNorm, rmsNorm } from '../layers/norm.js';
import { scaled } from '../layers/scaled.js';
import type { Pass } from '../pass.js';
import { cohereFields } from './cohere.js';
import { llamaStem, mlp, selfAttention, windowsByType } from './llama.js';
import { mixtureArchitecture, mixtureConfig, routedExperts, usualGate } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';
import { routedLayers } from './mlpKinds.js';

export interface CohereMoeConfig extends MixtureConfig {
  readonly norms: { readonly kind: 'layer' | 'rms'; readonly eps: number };
  /** What logits are multiplied by. */
  readonly logitScale: number;
  /** Factor of what the routed experts and the one that all tokens go to make together. */
  readonly mixtureScale: number;
}

const fields = t.type({
  ...cohereFields.props,
  intermediate_size: positiveInteger,
  rms_norm_eps: optional(positive),
  num_shared_experts: optional(nonNegativeInteger),
  shared_expert_combination_strategy: optional(t.keyof({ sum: null, average: null })),
  expert_selection_fn: optional(t.keyof({ softmax: null, sigmoid: null })),
  norm_topk_prob: optional(boolean),
  prefix_dense_intermediate_size: optional(positiveInteger),
  first_k_dense_replace: optional(nonNegativeInteger),
  prefix_dense_sliding_window_pattern: optional(positiveInteger),
  sliding_window_pattern: optional(positiveInteger),
});

const names: MixtureNames = {
  block: 'mlp',
  ...gatedNames,
  shared: { module: 'shared_experts', gated: false },
  norms: { beforeAttention: 'input_layernorm' },
};

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, CohereMoeConfig> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.let('dense', ({ f }) => f.first_k_dense_replace ?? 0),
    E.let('everyFew', ({ f }) => f.prefix_dense_sliding_window_pattern ?? 1),
    E.bind('mixed', ({ dense }) => routedLayers(raw, (layer) => layer >= dense)),
    E.bind('own', ({ f, dense, everyFew, mixed }) =>
      mixtureConfig({ ...raw, intermediate_size: f.prefix_dense_intermediate_size ?? f.intermediate_size }, modelType, {
        numExperts: 8,
        perToken: 2,
        // A softmax over the chosen alone, which is that over all divided by their sum.
        normalized: f.expert_selection_fn !== 'sigmoid' || (f.norm_topk_prob ?? true),
        auxLossCoef: 0,
        balanced: false,
        expertSize: () => f.intermediate_size,
        sharedSize: () => (f.num_shared_experts ?? 0) * f.intermediate_size,
        mixed,
        routing: { scores: f.expert_selection_fn ?? 'softmax' },
        llama: {
          headDim: 128,
          maxPositions: 8192,
          tied: true,
          windows: (own) =>
            // Layers without experts count for themselves.
            windowsByType(own, own.sliding_window ?? 4096, (i) =>
              i < dense ? (i + 1) % everyFew !== 0 : (i - dense + 1) % (f.sliding_window_pattern ?? 4) !== 0,
            ),
        },
        only: { use_qk_norm: false, mlp_bias: false },
      }),
    ),
    E.map(({ f, everyFew, own }) => ({
      ...own,
      architecture: 'cohere2_moe',
      raw,
      turns: own.windows.map((window, i) => window > 0 || (everyFew === 1 && own.routed[i] !== true)),
      norms:
        typeof f.rms_norm_eps === 'number'
          ? { kind: 'rms', eps: f.rms_norm_eps }
          : { kind: 'layer', eps: f.layer_norm_eps ?? 1e-5 },
      logitScale: f.logit_scale ?? 0.0625,
      mixtureScale: own.sharedSize > 0 && f.shared_expert_combination_strategy !== 'sum' ? 0.5 : 1,
    })),
  );

const normed = ({ norms: { kind, eps } }: CohereMoeConfig, module: string): Layer<Tensor, Tensor> =>
  kind === 'rms' ? rmsNorm(module, { eps, offset: 0 }) : layerNorm(module, eps);

const feedForward = (c: CohereMoeConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  if (c.routed[i] !== true) return mlp(c, pass, i);
  const scale = c.mixtureScale === 1 ? identity<Tensor> : scaled(c.mixtureScale);
  return compose(routedExperts(c, { names, gate: usualGate }, pass, i), scale);
};

export const cohere2Moe = mixtureArchitecture<CohereMoeConfig>({
  name: 'cohere2_moe',
  modelTypes: ['cohere2_moe'],
  names,
  config: (raw, modelType) =>
    raw['sliding_window'] === null
      ? E.left(unfit('sliding_window', 'a whole number > 0', null))
      : config(raw, modelType),
  body: (c, pass) =>
    rotaryBody(c, pass, llamaStem(c, pass), (angles, i) =>
      sideBySide(
        { pass, i, numLayers: c.numLayers },
        selfAttention(c, pass, angles, i, { interleaved: true }),
        feedForward(c, pass, i),
        { norm: normed(c, `model.layers.${i}.input_layernorm`) },
      ),
    ),
  tail: (c) => compose(normed(c, 'model.norm'), scaled(c.logitScale)),
});
