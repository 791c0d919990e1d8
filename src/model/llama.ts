/** Llama and what is built like it: Mistral (sliding window), Qwen2 (biases on q, k, v), Qwen3 (norms on q and k). */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { FatalError } from '../errors.js';
import type { Architecture } from './architecture.js';
import { attention } from './attention.js';
import {
  activation,
  boolean,
  decodeFields,
  headsOf,
  layerCount,
  namedTokenIds,
  nonNegativeInteger,
  optional,
  positive,
  positiveInteger,
  rate,
  tokenIds,
} from './config.js';
import type { ModelConfig, RawConfig } from './config.js';
import { scaled, tokenEmbedding } from './embedding.js';
import type { ActivationKind } from './kernels/activation.js';
import { compose, each, fanOut, holding, identity, mapLayers, residual } from './layer.js';
import type { Layer } from './layer.js';
import { linear } from './linear.js';
import { gated } from './mlp.js';
import { neftune } from './neftune.js';
import { perHead, rmsNorm } from './norm.js';
import type { Pass } from './pass.js';
import { block } from './pass.js';
import { ropeConfig, rotary, rotaryAngles } from './rope.js';
import type { RopeConfig } from './rope.js';
import { narrowing } from './rows.js';
import type { Sequence } from './sequence.js';
import { embeddingSpec, headSpec, linearSpec, perLayer, rmsNormSpec } from './weights.js';
import type { TensorSpec } from './weights.js';

export interface LlamaConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly activation: ActivationKind;
  readonly rmsNormEps: number;
  /** Added to every norm's gain. */
  readonly normOffset: number;
  /** Factor of the embeddings; 1 but for Gemma. */
  readonly embeddingScale: number;
  readonly rope: RopeConfig;
  /** One a layer: how many tokens back it sees, itself included; 0 sees all. */
  readonly windows: ReadonlyArray<number>;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Qwen3: queries and keys are normed, each head by itself, before they turn. */
  readonly headNorm: boolean;
}

const fields = t.type({
  vocab_size: positiveInteger,
  hidden_size: positiveInteger,
  intermediate_size: positiveInteger,
  num_hidden_layers: layerCount,
  num_attention_heads: positiveInteger,
  num_key_value_heads: optional(positiveInteger),
  head_dim: optional(positiveInteger),
  hidden_act: optional(activation),
  max_position_embeddings: optional(positiveInteger),
  rms_norm_eps: optional(positive),
  attention_dropout: optional(rate),
  attention_bias: optional(boolean),
  mlp_bias: optional(boolean),
  tie_word_embeddings: optional(boolean),
  sliding_window: optional(positiveInteger),
  use_sliding_window: optional(boolean),
  max_window_layers: optional(nonNegativeInteger),
  layer_types: optional(t.array(t.string)),
  ...tokenIds,
});
export type LlamaFields = t.TypeOf<typeof fields>;

/** What differs between the model types where config.json says nothing. */
interface Family {
  readonly headDim?: number;
  readonly qkvBias?: boolean;
  readonly headNorm?: boolean;
  readonly windows: (fields: LlamaFields, raw: RawConfig) => ReadonlyArray<number>;
}

const everywhere = ({ num_hidden_layers: layers }: LlamaFields, window: number): ReadonlyArray<number> =>
  Array.from({ length: layers }, () => window);

/** Qwen: layers from max_window_layers on slide, if sliding is switched on at all. */
const qwenWindows = (config: LlamaFields): ReadonlyArray<number> => {
  const window = config.use_sliding_window === true ? (config.sliding_window ?? 0) : 0;
  return everywhere(config, window).map((width, i) => {
    const type = config.layer_types?.[i];
    const slides = type === undefined ? i >= (config.max_window_layers ?? 28) : type === 'sliding_attention';
    return slides ? width : 0;
  });
};

const families: Readonly<Record<string, Family>> = {
  llama: { windows: (config) => everywhere(config, 0) },
  // A file that says nothing of it means 4096, one that says null means none.
  mistral: {
    windows: (config, raw) => everywhere(config, 'sliding_window' in raw ? (config.sliding_window ?? 0) : 4096),
  },
  qwen2: { qkvBias: true, windows: qwenWindows },
  qwen3: { headDim: 128, headNorm: true, windows: qwenWindows },
};

/** The fields that all Llama-like models share; `family` fills in what the type implies. */
export const llamaConfig = (
  raw: RawConfig,
  modelType: string,
  family: Family,
  changes: (fields: LlamaFields) => Partial<LlamaConfig> = () => ({}),
): E.Either<FatalError, LlamaConfig> =>
  pipe(
    E.Do,
    E.bind('f', () => decodeFields(fields)(raw)),
    E.bind('heads', ({ f }) =>
      headsOf({
        hiddenSize: f.hidden_size,
        numHeads: f.num_attention_heads,
        numKvHeads: f.num_key_value_heads ?? f.num_attention_heads,
        headDim: f.head_dim ?? family.headDim,
      }),
    ),
    E.bind('rope', ({ f, heads: { headDim } }) =>
      ropeConfig(raw, { headDim, maxPositions: f.max_position_embeddings ?? 2048 }),
    ),
    E.map(
      ({ f, heads, rope }): LlamaConfig => ({
        architecture: 'llama',
        modelType,
        vocabSize: f.vocab_size,
        hiddenSize: f.hidden_size,
        numLayers: f.num_hidden_layers,
        ...heads,
        maxPositions: f.max_position_embeddings ?? 2048,
        tieWordEmbeddings: f.tie_word_embeddings ?? false,
        ...namedTokenIds(f),
        raw,
        intermediateSize: f.intermediate_size,
        activation: f.hidden_act ?? 'silu',
        rmsNormEps: f.rms_norm_eps ?? 1e-6,
        attentionDropout: f.attention_dropout ?? 0,
        normOffset: 0,
        embeddingScale: 1,
        rope,
        windows: family.windows(f, raw),
        qkvBias: family.qkvBias ?? f.attention_bias ?? false,
        outputBias: family.qkvBias === true ? false : (f.attention_bias ?? false),
        mlpBias: f.mlp_bias ?? false,
        headNorm: family.headNorm ?? false,
        ...changes(f),
      }),
    ),
  );

const layerTensors = (config: LlamaConfig, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, intermediateSize, numHeads, numKvHeads, headDim, qkvBias, outputBias, mlpBias } = config;
  const attn = `model.layers.${i}.self_attn`;
  const mlp = `model.layers.${i}.mlp`;
  return [
    ...linearSpec(`${attn}.q_proj`, numHeads * headDim, hiddenSize, qkvBias),
    ...linearSpec(`${attn}.k_proj`, numKvHeads * headDim, hiddenSize, qkvBias),
    ...linearSpec(`${attn}.v_proj`, numKvHeads * headDim, hiddenSize, qkvBias),
    ...linearSpec(`${attn}.o_proj`, hiddenSize, numHeads * headDim, outputBias),
    ...(config.headNorm ? [rmsNormSpec(`${attn}.q_norm`, headDim), rmsNormSpec(`${attn}.k_norm`, headDim)] : []),
    ...linearSpec(`${mlp}.gate_proj`, intermediateSize, hiddenSize, mlpBias),
    ...linearSpec(`${mlp}.up_proj`, intermediateSize, hiddenSize, mlpBias),
    ...linearSpec(`${mlp}.down_proj`, hiddenSize, intermediateSize, mlpBias),
    rmsNormSpec(`model.layers.${i}.input_layernorm`, hiddenSize),
    rmsNormSpec(`model.layers.${i}.post_attention_layernorm`, hiddenSize),
  ];
};

export const llamaTensors = (config: LlamaConfig): ReadonlyArray<TensorSpec> => [
  embeddingSpec('model.embed_tokens', config.vocabSize, config.hiddenSize),
  ...perLayer(config.numLayers, (i) => layerTensors(config, i)),
  rmsNormSpec('model.norm', config.hiddenSize),
  ...headSpec(config.tieWordEmbeddings, config.vocabSize, config.hiddenSize),
];

type Angles = ReturnType<typeof rotaryAngles>;

const selfAttention = (config: LlamaConfig, pass: Pass, angles: Angles, i: number): Layer<Tensor, Tensor> => {
  const { numHeads, numKvHeads, headDim, rope, rmsNormEps: eps, normOffset: offset, windows } = config;
  const module = `model.layers.${i}.self_attn`;
  const turned = (heads: number, normed: string): Layer<Tensor, Tensor> => {
    const turn = rotary(angles, { heads, headDim, rotaryDim: rope.rotaryDim });
    return config.headNorm ? compose(perHead(headDim, rmsNorm(`${module}.${normed}`, { eps, offset })), turn) : turn;
  };
  return compose(
    fanOut(
      linear(pass, { module: `${module}.q_proj` }),
      linear(pass, { module: `${module}.k_proj` }),
      linear(pass, { module: `${module}.v_proj` }),
    ),
    each(turned(numHeads, 'q_norm'), turned(numKvHeads, 'k_norm'), identity),
    attention(pass, {
      layer: i,
      heads: numHeads,
      kvHeads: numKvHeads,
      headDim,
      scale: 1 / Math.sqrt(headDim),
      window: windows[i] ?? 0,
    }),
    compose(narrowing(pass, i, config.numLayers), linear(pass, { module: `${module}.o_proj` })),
  );
};

const mlp = (config: LlamaConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const module = `model.layers.${i}.mlp`;
  return compose(
    fanOut(linear(pass, { module: `${module}.gate_proj` }), linear(pass, { module: `${module}.up_proj` })),
    gated(config.activation),
    linear(pass, { module: `${module}.down_proj` }),
  );
};

const norm = ({ rmsNormEps: eps, normOffset: offset }: LlamaConfig, module: string): Layer<Tensor, Tensor> =>
  rmsNorm(module, { eps, offset });

export const llamaBody = (config: LlamaConfig, pass: Pass): Layer<Sequence, Tensor> =>
  holding(
    (sequence) => rotaryAngles(config.rope, sequence),
    (angles) =>
      compose(
        tokenEmbedding(pass, 'model.embed_tokens'),
        neftune(pass),
        config.embeddingScale === 1 ? identity : scaled(config.embeddingScale),
        mapLayers(config.numLayers, (i) =>
          block(
            pass,
            compose(
              residual(
                compose(norm(config, `model.layers.${i}.input_layernorm`), selfAttention(config, pass, angles, i)),
                narrowing(pass, i, config.numLayers),
              ),
              residual(compose(norm(config, `model.layers.${i}.post_attention_layernorm`), mlp(config, pass, i))),
            ),
          ),
        ),
      ),
  );

export const llama: Architecture<LlamaConfig> = {
  name: 'llama',
  modelTypes: Object.keys(families),
  config: (raw, modelType) => {
    const family = families[modelType] ?? { windows: (config) => everywhere(config, 0) };
    return llamaConfig(raw, modelType, family);
  },
  tensors: llamaTensors,
  basePrefix: 'model.',
  buffers: /\.rotary_emb\.inv_freq$/,
  embedding: 'model.embed_tokens',
  body: llamaBody,
  narrows: true,
  tail: (config) => norm(config, 'model.norm'),
  loraTargets: () => ['q_proj', 'v_proj'],
};
