/** Phi (1, 1.5, 2): attention and MLP side by side from one layer norm, rotary on part of each head, biases everywhere. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { ropeConfig } from '../attention/ropeConfig.js';
import type { RotaryAngles } from '../attention/rope.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import { rotaryAttention } from '../attention/rotaryAttention.js';
import {
  activation as activationField,
  boolean,
  decodeFields,
  decoderConfig,
  decoderFields,
  headsOf,
  optional,
  positive,
  positiveInteger,
  rate,
} from '../config.js';
import type { ModelConfig } from '../config.js';
import type { ActivationKind } from '../kernels/activation.js';
import { rotaryBody, sideBySide, stem } from '../layers/blocks.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { queryKeyValue } from '../layers/linears.js';
import { plainMlp } from '../layers/mlp.js';
import { layerNorm, perHead } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer, queryKeyValueSpec } from '../weights.js';

export interface PhiConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly activation: ActivationKind;
  readonly layerNormEps: number;
  readonly embeddingDropout: number;
  readonly residualDropout: number;
  readonly rope: RopeConfig;
  /** Queries and keys are normed, each head by itself, before they turn. */
  readonly headNorm: boolean;
}

const fields = t.type({
  ...decoderFields,
  intermediate_size: positiveInteger,
  num_key_value_heads: optional(positiveInteger),
  head_dim: optional(positiveInteger),
  hidden_act: optional(activationField),
  layer_norm_eps: optional(positive),
  embd_pdrop: optional(rate),
  resid_pdrop: optional(rate),
  qk_layernorm: optional(boolean),
});

const selfAttention = (config: PhiConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const module = `model.layers.${i}.self_attn`;
  const headNorm = (name: string): Layer<Tensor, Tensor> | undefined =>
    config.headNorm ? perHead(config.headDim, layerNorm(`${module}.${name}`, config.layerNormEps)) : undefined;
  return rotaryAttention(config, pass, {
    layer: i,
    angles,
    project: queryKeyValue(pass, module),
    queries: headNorm('q_layernorm'),
    keys: headNorm('k_layernorm'),
    output: compose(
      linear(pass, { module: `${module}.dense` }),
      dropout(pass, `${module}.resid_dropout`, config.residualDropout),
    ),
  });
};

const mlp = (config: PhiConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const module = `model.layers.${i}.mlp`;
  return compose(
    plainMlp(pass, config.activation, { up: `${module}.fc1`, down: `${module}.fc2` }),
    dropout(pass, `${module}.resid_dropout`, config.residualDropout),
  );
};

export const phi: Architecture<PhiConfig> = {
  name: 'phi',
  modelTypes: ['phi'],
  config: (raw, modelType) =>
    pipe(
      E.Do,
      E.bind('f', () => decodeFields(fields)(raw)),
      E.bind('heads', ({ f }) =>
        headsOf({
          hiddenSize: f.hidden_size,
          numHeads: f.num_attention_heads,
          numKvHeads: f.num_key_value_heads,
          headDim: f.head_dim,
        }),
      ),
      E.bind('rope', ({ f, heads: { headDim } }) =>
        ropeConfig(raw, { headDim, maxPositions: f.max_position_embeddings ?? 2048, partial: 0.5 }),
      ),
      E.map(({ f, heads, rope }) => ({
        architecture: 'phi',
        modelType,
        ...decoderConfig(f, false),
        ...heads,
        maxPositions: f.max_position_embeddings ?? 2048,
        raw,
        intermediateSize: f.intermediate_size,
        activation: f.hidden_act ?? 'gelu_new',
        layerNormEps: f.layer_norm_eps ?? 1e-5,
        embeddingDropout: f.embd_pdrop ?? 0,
        residualDropout: f.resid_pdrop ?? 0,
        rope,
        headNorm: f.qk_layernorm ?? false,
      })),
    ),
  tensors: (config) => {
    const { vocabSize, hiddenSize, intermediateSize, numLayers, numHeads, headDim, headNorm } = config;
    return [
      embeddingSpec('model.embed_tokens', vocabSize, hiddenSize),
      ...perLayer(numLayers, (i) => [
        ...queryKeyValueSpec(`model.layers.${i}.self_attn`, config, true),
        ...linearSpec(`model.layers.${i}.self_attn.dense`, hiddenSize, numHeads * headDim, true),
        ...(headNorm
          ? [
              ...layerNormSpec(`model.layers.${i}.self_attn.q_layernorm`, headDim),
              ...layerNormSpec(`model.layers.${i}.self_attn.k_layernorm`, headDim),
            ]
          : []),
        ...linearSpec(`model.layers.${i}.mlp.fc1`, intermediateSize, hiddenSize, true),
        ...linearSpec(`model.layers.${i}.mlp.fc2`, hiddenSize, intermediateSize, true),
        ...layerNormSpec(`model.layers.${i}.input_layernorm`, hiddenSize),
      ]),
      ...layerNormSpec('model.final_layernorm', hiddenSize),
      ...headSpec(config.tieWordEmbeddings, vocabSize, hiddenSize, true),
    ];
  },
  basePrefix: 'model.',
  buffers: /\.rotary_emb\.inv_freq$/,
  embedding: 'model.embed_tokens',
  body: (config, pass) =>
    rotaryBody(
      config,
      pass,
      stem(pass, 'model.embed_tokens', { site: 'model.embed_dropout', rate: config.embeddingDropout }),
      (angles, i) =>
        sideBySide(
          { pass, i, numLayers: config.numLayers },
          selfAttention(config, pass, angles, i),
          mlp(config, pass, i),
          { norm: layerNorm(`model.layers.${i}.input_layernorm`, config.layerNormEps) },
        ),
    ),
  narrows: true,
  tail: (config) => layerNorm('model.final_layernorm', config.layerNormEps),
  loraTargets: () => ['q_proj', 'v_proj', 'fc1', 'fc2'],
};
