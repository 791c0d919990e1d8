/**
 * Granite: Llama whose embeddings, attention scores, branches and logits are multiplied by numbers of their own. HyperCLOVA X: the same,
 * with norms behind attention and MLP too.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { boolean, decodeFields, optional, positive } from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { scaled } from '../layers/scaled.js';
import type { Pass } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { perLayer, rmsNormSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, mlp, norm, selfAttention } from './llama.js';
import type { Family, LlamaConfig, LlamaParts } from './llama.js';

export interface GraniteConfig extends LlamaConfig {
  /** Factor of the embeddings, noise included. */
  readonly embeddingMultiplier: number;
  /** Factor of what attention and MLP add. */
  readonly residualMultiplier: number;
  /** What logits are divided by. */
  readonly logitsScaling: number;
  /** Names of the norms behind attention and MLP. Absent: there are none. */
  readonly behind?: { readonly attention: string; readonly mlp: string };
}

const fields = t.type({
  embedding_multiplier: optional(positive),
  attention_multiplier: optional(positive),
  residual_multiplier: optional(positive),
  logits_scaling: optional(positive),
});

/** The fields that all models of the family share. */
export const graniteConfig = (
  raw: RawConfig,
  modelType: string,
  family: Family = {},
): E.Either<FatalError, GraniteConfig> =>
  pipe(
    llamaConfigWith(raw, modelType, { fields, family }),
    E.map(({ f, config }) => ({
      ...config,
      architecture: modelType,
      attentionScale: f.attention_multiplier ?? 1,
      embeddingMultiplier: f.embedding_multiplier ?? 1,
      residualMultiplier: f.residual_multiplier ?? 1,
      logitsScaling: f.logits_scaling ?? 1,
    })),
  );

/** Token embeddings as the layers read them. */
export const graniteStem = (config: GraniteConfig, pass: Pass): Layer<Sequence, Tensor> =>
  compose(llamaStem(config, pass), scaled(config.embeddingMultiplier));

export const graniteLayer = (
  config: GraniteConfig,
  pass: Pass,
  angles: RotaryAngles | undefined,
  i: number,
  parts: LlamaParts = {},
): Layer<Tensor, Tensor> => {
  const normed = (name: string): Layer<Tensor, Tensor> => norm(config, `model.layers.${i}.${name}`);
  const after = (name: string | undefined): Layer<Tensor, Tensor> => (name === undefined ? identity : normed(name));
  const smaller = scaled(config.residualMultiplier);
  const attention = selfAttention(config, pass, angles, i, parts);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(normed('input_layernorm'), attention, after(config.behind?.attention), smaller),
    compose(normed('post_attention_layernorm'), mlp(config, pass, i), after(config.behind?.mlp), smaller),
  );
};

/** The text model of Granite Vision 4, which stands in `text_config` alone. */
export const graniteTextTypes: ReadonlyArray<string> = ['granite4_vision_text'];

export const granite: Architecture<GraniteConfig> = {
  ...llama,
  name: 'granite',
  modelTypes: ['granite'],
  config: (raw, modelType) =>
    E.Functor.map(graniteConfig(raw, modelType), (config) => ({ ...config, architecture: 'granite' })),
  body: (config, pass) =>
    rotaryBody(config, pass, graniteStem(config, pass), (angles, i) => graniteLayer(config, pass, angles, i)),
  tail: (config) => compose(norm(config, 'model.norm'), scaled(1 / config.logitsScaling)),
};

const hyperClovaFields = t.type({ use_post_norm: optional(boolean), attention_multiplier: optional(positive) });

export const hyperClovaX: Architecture<GraniteConfig> = {
  ...granite,
  name: 'hyperclovax',
  modelTypes: ['hyperclovax'],
  config: (raw, modelType) =>
    pipe(
      decodeFields(hyperClovaFields)(raw),
      E.bindTo('f'),
      E.bind('config', () => graniteConfig(raw, modelType)),
      E.map(({ f, config }) => ({
        ...config,
        attentionScale: f.attention_multiplier ?? 1 / Math.sqrt(config.headDim),
        // Here logits are multiplied by it.
        logitsScaling: 1 / config.logitsScaling,
        ...(f.use_post_norm === false ? {} : { behind: { attention: 'post_norm1', mlp: 'post_norm2' } }),
      })),
    ),
  tensors: (config) => [
    ...llamaTensors(config),
    ...perLayer(config.numLayers, (i) =>
      Object.values(config.behind ?? {}).map((name) => rmsNormSpec(`model.layers.${i}.${name}`, config.hiddenSize)),
    ),
  ],
};
