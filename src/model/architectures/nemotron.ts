/**
 * Nemotron (Minitron) and Jais 2: Arcee with layer norms. Files of Nemotron hold what the gains of its norms are above 1, and a half of
 * each head turns.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { boolean, optional, positive } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { layerNorm } from '../layers/norm.js';
import { layerNormSpec, perLayer } from '../weights.js';
import { ungatedMlp, ungatedTensors } from './arcee.js';
import { llama, llamaConfigWith, llamaStem, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';

export interface NemotronConfig extends LlamaConfig {
  readonly layerNormEps: number;
}

const normed = ({ layerNormEps, normOffset: offset }: NemotronConfig, module: string): Layer<Tensor, Tensor> =>
  layerNorm(module, layerNormEps, { offset });

export const nemotron: Architecture<NemotronConfig> = {
  ...llama,
  name: 'nemotron',
  modelTypes: ['nemotron'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, {
        fields: t.type({ norm_eps: optional(positive) }),
        family: { maxPositions: 4096, activation: 'relu2', rope: { partial: 0.5 }, partial: true },
      }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'nemotron',
        layerNormEps: f.norm_eps ?? 1e-5,
        normOffset: 1,
      })),
    ),
  tensors: (config) => [
    ...ungatedTensors(config).filter(({ kind }) => kind !== 'norm'),
    ...perLayer(config.numLayers, (i) => [
      ...layerNormSpec(`model.layers.${i}.input_layernorm`, config.hiddenSize),
      ...layerNormSpec(`model.layers.${i}.post_attention_layernorm`, config.hiddenSize),
    ]),
    ...layerNormSpec('model.norm', config.hiddenSize),
  ],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) =>
      inTurn(
        { pass, i, numLayers: config.numLayers },
        compose(normed(config, `model.layers.${i}.input_layernorm`), selfAttention(config, pass, angles, i)),
        compose(normed(config, `model.layers.${i}.post_attention_layernorm`), ungatedMlp(config, pass, i)),
      ),
    ),
  tail: (config) => normed(config, 'model.norm'),
};

export const jais2: Architecture<NemotronConfig> = {
  ...nemotron,
  name: 'jais2',
  modelTypes: ['jais2'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, {
        fields: t.type({
          layer_norm_eps: optional(positive),
          attention_bias: optional(boolean),
          mlp_bias: optional(boolean),
        }),
        family: { maxPositions: 8192, activation: 'relu2' },
      }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'jais2',
        layerNormEps: f.layer_norm_eps ?? 1e-5,
        qkvBias: f.attention_bias ?? true,
        outputBias: f.attention_bias ?? true,
        mlpBias: f.mlp_bias ?? true,
      })),
    ),
};
