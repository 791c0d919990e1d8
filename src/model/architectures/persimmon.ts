/** Persimmon: GPT-NeoX with MLPs behind attention, and layer norms on each head of queries and keys. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { turnsOtherwiseBeyond } from '../attention/ropeConfig.js';
import { boolean, decodeFields, optional } from '../config.js';
import { rotaryBody, stem } from '../layers/blocks.js';
import type { Layer } from '../layers/layer.js';
import { layerNorm, perHead } from '../layers/norm.js';
import { embeddingSpec, headSpec, layerNormSpec, perLayer } from '../weights.js';
import { neoxConfig, neoxLayer, neoxLayerSpecs } from './gptNeox.js';
import type { GptNeoxConfig } from './gptNeox.js';

interface PersimmonConfig extends GptNeoxConfig {
  readonly headNorm: boolean;
}

const fields = t.type({ qk_layernorm: optional(boolean) });

const layerAt = (i: number) => ({ module: `model.layers.${i}`, attention: 'self_attn' });

const headNorms = ({ headDim, headNorm, layerNormEps }: PersimmonConfig, i: number) => {
  if (!headNorm) return {};
  const normed = (name: string): Layer<Tensor, Tensor> =>
    perHead(headDim, layerNorm(`model.layers.${i}.self_attn.${name}`, layerNormEps));
  return { queries: normed('q_layernorm'), keys: normed('k_layernorm') };
};

export const persimmon: Architecture<PersimmonConfig> = {
  name: 'persimmon',
  modelTypes: ['persimmon'],
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.bindTo('f'),
      E.bind('own', () =>
        neoxConfig({ ...raw, max_position_embeddings: raw['max_position_embeddings'] ?? 16_384 }, modelType, {
          architecture: 'persimmon',
          partial: 0.5,
          activation: 'relu2',
          attentionBias: true,
          parallel: false,
        }),
      ),
      E.map(({ f, own }) => ({ ...own, raw, headNorm: f.qk_layernorm ?? true })),
    ),
  tensors: (config) => [
    embeddingSpec('model.embed_tokens', config.vocabSize, config.hiddenSize),
    ...perLayer(config.numLayers, (i) => [
      ...neoxLayerSpecs(config, layerAt(i)),
      ...(config.headNorm
        ? ['q_layernorm', 'k_layernorm'].flatMap((name) =>
            layerNormSpec(`model.layers.${i}.self_attn.${name}`, config.headDim),
          )
        : []),
    ]),
    ...layerNormSpec('model.final_layernorm', config.hiddenSize),
    ...headSpec(config.tieWordEmbeddings, config.vocabSize, config.hiddenSize),
  ],
  basePrefix: 'model.',
  buffers: /\.rotary_emb\.inv_freq$/,
  embedding: 'model.embed_tokens',
  body: (config, pass) =>
    rotaryBody(config, pass, stem(pass, 'model.embed_tokens'), (angles, i) =>
      neoxLayer(config, pass, angles, i, { ...layerAt(i), ...headNorms(config, i), drops: false }),
    ),
  narrows: true,
  tail: (config) => layerNorm('model.final_layernorm', config.layerNormEps),
  turnsOtherwiseBeyond: ({ rope }) => turnsOtherwiseBeyond(rope),
  loraTargets: () => ['query_key_value'],
};
