/** Granite: Llama whose embeddings, attention scores, branches and logits are multiplied by numbers of their own. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../architecture.js';
import { inTurn, rotaryBody } from '../blocks.js';
import { optional, positive } from '../config.js';
import { scaled } from '../embedding.js';
import { compose } from '../layer.js';
import type { Layer } from '../layer.js';
import { llama, llamaConfigWith, llamaStem, mlp, norm, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';
import type { Pass } from '../pass.js';
import type { RotaryAngles } from '../rope.js';

export interface GraniteConfig extends LlamaConfig {
  /** Factor of the embeddings, noise included. */
  readonly embeddingMultiplier: number;
  /** Factor of what attention and MLP add. */
  readonly residualMultiplier: number;
  /** What logits are divided by. */
  readonly logitsScaling: number;
}

const fields = t.type({
  embedding_multiplier: optional(positive),
  attention_multiplier: optional(positive),
  residual_multiplier: optional(positive),
  logits_scaling: optional(positive),
});

const layer = (config: GraniteConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const normed = (name: string): Layer<Tensor, Tensor> => norm(config, `model.layers.${i}.${name}`);
  const smaller = scaled(config.residualMultiplier);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(normed('input_layernorm'), selfAttention(config, pass, angles, i), smaller),
    compose(normed('post_attention_layernorm'), mlp(config, pass, i), smaller),
  );
};

export const granite: Architecture<GraniteConfig> = {
  ...llama,
  name: 'granite',
  modelTypes: ['granite'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, { fields }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'granite',
        attentionScale: f.attention_multiplier ?? 1,
        embeddingMultiplier: f.embedding_multiplier ?? 1,
        residualMultiplier: f.residual_multiplier ?? 1,
        logitsScaling: f.logits_scaling ?? 1,
      })),
    ),
  body: (config, pass) =>
    rotaryBody(config, pass, compose(llamaStem(config, pass), scaled(config.embeddingMultiplier)), (angles, i) =>
      layer(config, pass, angles, i),
    ),
  tail: (config) => compose(norm(config, 'model.norm'), scaled(1 / config.logitsScaling)),
};
