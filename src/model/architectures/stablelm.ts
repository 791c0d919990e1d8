/** StableLM: Llama with layer norms, of which a part of each head turns; norms for each head, and MLPs beside attention, in some. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { boolean, optional, positive, rate } from '../config.js';
import { inTurn, rotaryBody, sideBySide } from '../layers/blocks.js';
import { joinColumns, splitColumns } from '../layers/columns.js';
import { dropout } from '../layers/dropout.js';
import { compose, each } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { layerNorm } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import { layerNormSpec, perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, mlp, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';

export interface StableLmConfig extends LlamaConfig {
  readonly layerNormEps: number;
  readonly hiddenDropout: number;
  /** Every head of queries and keys has a norm of its own. */
  readonly ownHeadNorms: boolean;
  /** MLPs stand beside attention, and read the same norm. */
  readonly parallel: boolean;
}

const fields = t.type({
  layer_norm_eps: optional(positive),
  use_qkv_bias: optional(boolean),
  qk_layernorm: optional(boolean),
  use_parallel_residual: optional(boolean),
  hidden_dropout: optional(rate),
});

/** What transformers passes over. */
const passedOver = { attention_bias: false, mlp_bias: false, head_dim: null };

const layer = (config: StableLmConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const module = `model.layers.${i}`;
  const { numLayers, numHeads, numKvHeads, headDim, layerNormEps: eps } = config;
  const ownNorms = (name: string, heads: number): Layer<Tensor, Tensor> | undefined => {
    if (!config.ownHeadNorms) return undefined;
    const norms = Array.from({ length: heads }, (_, h) => layerNorm(`${module}.self_attn.${name}.norms.${h}`, eps));
    return compose(splitColumns(norms.map(() => headDim)), each(...norms), joinColumns);
  };
  const attention = selfAttention(config, pass, angles, i, {
    queries: ownNorms('q_layernorm', numHeads),
    keys: ownNorms('k_layernorm', numKvHeads),
  });
  const mlpDropped = compose(mlp(config, pass, i), dropout(pass, `${module}.dropout`, config.hiddenDropout));
  const norm = layerNorm(`${module}.input_layernorm`, eps);
  const place = { pass, i, numLayers };
  return config.parallel
    ? sideBySide(place, attention, mlpDropped, { norm })
    : inTurn(
        place,
        compose(norm, attention),
        compose(layerNorm(`${module}.post_attention_layernorm`, eps), mlpDropped),
      );
};

const layerTensors = (config: StableLmConfig, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, numHeads, numKvHeads, headDim, parallel, ownHeadNorms } = config;
  const normsOf = (name: string, heads: number): ReadonlyArray<TensorSpec> =>
    perLayer(ownHeadNorms ? heads : 0, (h) =>
      layerNormSpec(`model.layers.${i}.self_attn.${name}.norms.${h}`, headDim, false),
    );
  return [
    ...layerNormSpec(`model.layers.${i}.input_layernorm`, hiddenSize),
    ...(parallel ? [] : layerNormSpec(`model.layers.${i}.post_attention_layernorm`, hiddenSize)),
    ...normsOf('q_layernorm', numHeads),
    ...normsOf('k_layernorm', numKvHeads),
  ];
};

export const stablelm: Architecture<StableLmConfig> = {
  ...llama,
  name: 'stablelm',
  modelTypes: ['stablelm'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, {
        fields,
        only: passedOver,
        family: {
          numKvHeads: 32,
          maxPositions: 4096,
          partial: true,
          rope: { partial: 0.25 },
        },
      }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'stablelm',
        qkvBias: f.use_qkv_bias ?? false,
        outputBias: false,
        layerNormEps: f.layer_norm_eps ?? 1e-5,
        hiddenDropout: f.hidden_dropout ?? 0,
        ownHeadNorms: f.qk_layernorm ?? false,
        parallel: f.use_parallel_residual ?? false,
      })),
    ),
  tensors: (config) => [
    ...llamaTensors(config).filter(({ kind }) => kind !== 'norm'),
    ...perLayer(config.numLayers, (i) => layerTensors(config, i)),
    ...layerNormSpec('model.norm', config.hiddenSize),
  ],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => layer(config, pass, angles, i)),
  tail: (config) => layerNorm('model.norm', config.layerNormEps),
};
