/** StarCoder2: Llama's attention, with a window, between layer norms and before a plain MLP; biases everywhere. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { boolean, optional, positive, rate } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { plainMlp } from '../layers/mlp.js';
import { layerNorm } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer, queryKeyValueSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, selfAttention, windowEverywhere } from './llama.js';
import type { LlamaConfig } from './llama.js';

export interface Starcoder2Config extends LlamaConfig {
  readonly layerNormEps: number;
  readonly bias: boolean;
  readonly embeddingDropout: number;
  readonly residualDropout: number;
}

const fields = t.type({
  norm_epsilon: optional(positive),
  use_bias: optional(boolean),
  embedding_dropout: optional(rate),
  residual_dropout: optional(rate),
});

/** What files say and transformers passes over. */
const passedOver = { norm_type: 'layer_norm', mlp_type: 'default', scale_attn_weights: true };

const layer = (config: Starcoder2Config, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const module = `model.layers.${i}`;
  const normed = (name: string): Layer<Tensor, Tensor> => layerNorm(`${module}.${name}`, config.layerNormEps);
  const dropped = (site: string): Layer<Tensor, Tensor> => dropout(pass, `${module}.${site}`, config.residualDropout);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(normed('input_layernorm'), selfAttention(config, pass, angles, i), dropped('self_attn')),
    compose(
      normed('post_attention_layernorm'),
      plainMlp(pass, config.activation, { up: `${module}.mlp.c_fc`, down: `${module}.mlp.c_proj` }),
      dropped('mlp'),
    ),
  );
};

export const starcoder2: Architecture<Starcoder2Config> = {
  ...llama,
  name: 'starcoder2',
  modelTypes: ['starcoder2'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, {
        fields,
        only: passedOver,
        family: {
          numKvHeads: 2,
          maxPositions: 4096,
          tied: true,
          windows: windowEverywhere(0),
          activation: 'gelu_new',
        },
      }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'starcoder2',
        layerNormEps: f.norm_epsilon ?? 1e-5,
        bias: f.use_bias ?? true,
        embeddingDropout: f.embedding_dropout ?? 0,
        residualDropout: f.residual_dropout ?? 0,
      })),
    ),
  tensors: (config) => {
    const { vocabSize, hiddenSize, intermediateSize, numLayers, bias } = config;
    return [
      embeddingSpec('model.embed_tokens', vocabSize, hiddenSize),
      ...perLayer(numLayers, (i) => [
        ...queryKeyValueSpec(`model.layers.${i}.self_attn`, config, bias),
        ...linearSpec(`model.layers.${i}.self_attn.o_proj`, hiddenSize, config.numHeads * config.headDim, bias),
        ...linearSpec(`model.layers.${i}.mlp.c_fc`, intermediateSize, hiddenSize, bias),
        ...linearSpec(`model.layers.${i}.mlp.c_proj`, hiddenSize, intermediateSize, bias),
        ...layerNormSpec(`model.layers.${i}.input_layernorm`, hiddenSize),
        ...layerNormSpec(`model.layers.${i}.post_attention_layernorm`, hiddenSize),
      ]),
      ...layerNormSpec('model.norm', hiddenSize),
      ...headSpec(config.tieWordEmbeddings, vocabSize, hiddenSize),
    ];
  },
  body: (config, pass) =>
    rotaryBody(
      config,
      pass,
      compose(llamaStem(config, pass), dropout(pass, 'model.embed_dropout', config.embeddingDropout)),
      (angles, i) => layer(config, pass, angles, i),
    ),
  tail: (config) => layerNorm('model.norm', config.layerNormEps),
};
