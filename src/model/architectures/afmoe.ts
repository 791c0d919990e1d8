/**
 * Trinity: gated attention of which the layers that slide alone know positions, norms before and behind attention and MLP, and a mixture
 * whose routers choose by corrected sigmoids.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { boolean, decodeFields, nonNegativeInteger, optional, positive, positiveInteger, unfit } from '../config.js';
import { rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import { linears } from '../layers/linears.js';
import { gatedNames } from '../layers/mlp.js';
import { scaled } from '../layers/scaled.js';
import { linearSpec, perLayer } from '../weights.js';
import { llamaStem, windowsByType } from './llama.js';
import { mixtureArchitecture, mixtureConfig, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

export interface AfmoeConfig extends MixtureConfig {
  /** Factor of the embeddings, noise included. */
  readonly embeddingMultiplier: number;
}

const names: MixtureNames = {
  block: 'mlp',
  ...gatedNames,
  router: 'router.gate',
  shared: { module: 'shared_experts', gated: false },
  correction: { name: 'expert_bias', before: [] },
  norms: {
    beforeAttention: 'input_layernorm',
    afterAttention: 'post_attention_layernorm',
    beforeMlp: 'pre_mlp_layernorm',
    afterMlp: 'post_mlp_layernorm',
  },
};

const fields = t.type({
  num_dense_layers: optional(nonNegativeInteger),
  num_shared_experts: optional(nonNegativeInteger),
  route_scale: optional(positive),
  global_attn_every_n_layers: optional(positiveInteger),
  mup_enabled: optional(boolean),
});

const attentionAt = (i: number): string => `model.layers.${i}.self_attn`;

export const afmoe = mixtureArchitecture<AfmoeConfig>({
  name: 'afmoe',
  modelTypes: ['afmoe'],
  names,
  parts: (_config, pass, i) => ({
    gated: true,
    project: linears(
      pass,
      ['gate_proj', 'q_proj', 'k_proj', 'v_proj'].map((name) => `${attentionAt(i)}.${name}`),
    ),
  }),
  around: (config, pass, layer) =>
    rotaryBody(config, pass, compose(llamaStem(config, pass), scaled(config.embeddingMultiplier)), layer),
  config: (raw, modelType) =>
    raw['sliding_window'] === null
      ? E.left(unfit('sliding_window', 'a whole number > 0', null))
      : pipe(
          decodeFields(fields)(raw),
          E.bindTo('f'),
          E.bind('config', ({ f }) =>
            mixtureConfig(raw, modelType, {
              numExperts: 64,
              perToken: 6,
              normalized: true,
              auxLossCoef: 0,
              balanced: false,
              expertSize: ({ moe_intermediate_size: size }) => size ?? 1408,
              sharedSize: ({ moe_intermediate_size: size }) => (f.num_shared_experts ?? 2) * (size ?? 1408),
              mixed: (layer) => layer >= (f.num_dense_layers ?? 1),
              routing: { scores: 'sigmoid', factor: f.route_scale ?? 1, leastSum: 1e-20 },
              llama: {
                headDim: 128,
                maxPositions: 16_384,
                rmsNormEps: 1e-5,
                headNorm: true,
                windows: (own) =>
                  windowsByType(
                    own,
                    own.sliding_window ?? 1024,
                    (i) => (i + 1) % (f.global_attn_every_n_layers ?? 4) !== 0,
                  ),
              },
              only: { mlp_bias: false, score_func: 'sigmoid', route_norm: true, n_group: 1, topk_group: 1 },
            }),
          ),
          E.map(({ f, config }) => ({
            ...config,
            architecture: 'afmoe',
            turns: config.windows.map((window) => window > 0),
            embeddingMultiplier: f.mup_enabled === true ? Math.sqrt(config.hiddenSize) : 1,
          })),
        ),
  tensors: (config) => [
    ...mixtureTensors(config, names),
    ...perLayer(config.numLayers, (i) =>
      linearSpec(`${attentionAt(i)}.gate_proj`, config.numHeads * config.headDim, config.hiddenSize, false),
    ),
  ],
});
