/**
 * Cohere (Command R and R+, Aya) and Cohere 2 (Command R7B, Command A): attention and MLP side by side from one layer norm, pairs that
 * turn beside each other, scaled logits; in R+ every head of queries and keys has a norm of its own. Cohere 2: layers that slide, and among them such that see all and know no positions.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { boolean, decodeFields, optional, positive, positiveInteger, unfit } from '../config.js';
import { rotaryBody, sideBySide } from '../layers/blocks.js';
import { columnGain } from '../layers/columnGain.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { bareLayerNorm, layerNorm, perHead } from '../layers/norm.js';
import { scaled } from '../layers/scaled.js';
import { perLayer } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, mlp, selfAttention, windowsByType } from './llama.js';
import type { LlamaConfig, LlamaParts } from './llama.js';

export interface CohereConfig extends LlamaConfig {
  readonly layerNormEps: number;
  /** What logits are multiplied by. */
  readonly logitScale: number;
  /** Every head of queries and keys has a norm with gains of its own. */
  readonly ownHeadNorms: boolean;
}

export const cohereFields = t.type({
  layer_norm_eps: optional(positive),
  logit_scale: optional(positive),
  use_qk_norm: optional(boolean),
});

const parts = ({ headDim, layerNormEps, ownHeadNorms }: CohereConfig, i: number): LlamaParts => {
  if (!ownHeadNorms) return {};
  const normed = (name: string): Layer<Tensor, Tensor> =>
    compose(
      perHead(headDim, bareLayerNorm(layerNormEps, { flows: false })),
      columnGain(`model.layers.${i}.self_attn.${name}.weight`),
    );
  return { queries: normed('q_norm'), keys: normed('k_norm') };
};

export const cohere: Architecture<CohereConfig> = {
  ...llama,
  name: 'cohere',
  modelTypes: ['cohere'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, {
        fields: cohereFields,
        only: { mlp_bias: false },
        family: { maxPositions: 8192, tied: true, rope: { theta: 500_000 } },
      }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'cohere',
        layerNormEps: f.layer_norm_eps ?? 1e-5,
        logitScale: f.logit_scale ?? 0.0625,
        ownHeadNorms: f.use_qk_norm ?? false,
      })),
    ),
  tensors: (config) => [
    ...llamaTensors(config).filter(({ name }) => !name.endsWith('.post_attention_layernorm.weight')),
    ...perLayer(config.ownHeadNorms ? config.numLayers : 0, (i) => [
      { name: `model.layers.${i}.self_attn.q_norm.weight`, shape: [config.numHeads, config.headDim], kind: 'norm' },
      { name: `model.layers.${i}.self_attn.k_norm.weight`, shape: [config.numKvHeads, config.headDim], kind: 'norm' },
    ]),
  ],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) =>
      sideBySide(
        { pass, i, numLayers: config.numLayers },
        selfAttention(config, pass, angles, i, { interleaved: true, ...parts(config, i) }),
        mlp(config, pass, i),
        { norm: layerNorm(`model.layers.${i}.input_layernorm`, config.layerNormEps) },
      ),
    ),
  tail: (config) => compose(layerNorm('model.norm', config.layerNormEps), scaled(config.logitScale)),
};

const slidingFields = t.type({ ...cohereFields.props, sliding_window_pattern: optional(positiveInteger) });

export const cohere2: Architecture<CohereConfig> = {
  ...cohere,
  name: 'cohere2',
  modelTypes: ['cohere2'],
  config: (raw, modelType) =>
    raw['sliding_window'] === null
      ? E.left(unfit('sliding_window', 'a whole number > 0', null))
      : pipe(
          decodeFields(slidingFields)(raw),
          E.bindTo('f'),
          E.bind('own', ({ f }) =>
            llamaConfigWith(raw, modelType, {
              fields: cohereFields,
              only: { use_qk_norm: false, mlp_bias: false },
              family: {
                maxPositions: 8192,
                tied: true,
                windows: (llamaFields) =>
                  windowsByType(
                    llamaFields,
                    llamaFields.sliding_window ?? 4096,
                    (i) => (i + 1) % (f.sliding_window_pattern ?? 4) !== 0,
                  ),
              },
            }),
          ),
          E.map(({ f, own: { config } }) => ({
            ...config,
            architecture: 'cohere2',
            layerNormEps: f.layer_norm_eps ?? 1e-5,
            logitScale: f.logit_scale ?? 0.0625,
            ownHeadNorms: false,
            turns: config.windows.map((window) => window > 0),
          })),
        ),
};
