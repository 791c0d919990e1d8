/** LFM2: blocks of a short convolution between two gates, and blocks of Llama's attention with norms on queries and keys, by turns. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import {
  boolean,
  decodeFields,
  layerCount,
  nonNegativeInteger,
  nonNegative,
  optional,
  positive,
  positiveInteger,
  unfit,
} from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { gatedMlp } from '../layers/mlp.js';
import type { GatedNames } from '../layers/mlp.js';
import { perHead } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { causalConv, causalConvSpec } from '../recurrent/causalConv.js';
import { embeddingSpec, headSpec, linearSpec, perLayer, queryKeyValueSpec, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { llama, llamaConfig, llamaStem, norm, selfAttention } from './llama.js';
import type { Family, LlamaConfig } from './llama.js';

type Map = Layer<Tensor, Tensor>;

export interface Lfm2Config extends LlamaConfig {
  /** One a layer: whether it convolves; else it attends. */
  readonly convolves: ReadonlyArray<boolean>;
  /** Tokens that a convolution reads, its own among them. */
  readonly taps: number;
  /** The convolution and its two maps have biases. */
  readonly convBias: boolean;
}

const layerFields = {
  num_hidden_layers: layerCount,
  layer_types: optional(t.array(t.keyof({ full_attention: null, conv: null }))),
  full_attn_idxs: optional(t.array(nonNegativeInteger)),
} as const;
const fields = t.type({
  ...layerFields,
  norm_eps: optional(positive),
  conv_bias: optional(boolean),
  conv_L_cache: optional(positiveInteger),
  tie_word_embeddings: optional(boolean),
  tie_embedding: optional(boolean),
});
type Fields = t.TypeOf<typeof fields>;

/** The width of the MLPs that files give is not yet that of LFM2's, but by a rule that they carry. */
const widthFields = t.type({
  intermediate_size: optional(positiveInteger),
  block_ff_dim: optional(positiveInteger),
  block_auto_adjust_ff_dim: optional(boolean),
  block_ffn_dim_multiplier: optional(nonNegative),
  block_multiple_of: optional(positiveInteger),
});

const widthOf = (f: t.TypeOf<typeof widthFields>): number | undefined => {
  const given = f.block_ff_dim ?? f.intermediate_size ?? undefined;
  if (given === undefined || f.block_auto_adjust_ff_dim === false) return given;
  const smaller = Math.floor((2 * given) / 3);
  if (f.block_ffn_dim_multiplier === null) return smaller;
  const multiple = f.block_multiple_of ?? 256;
  return multiple * Math.ceil(Math.floor((f.block_ffn_dim_multiplier ?? 1) * smaller) / multiple);
};

const convolvingLayers = (f: Fields): E.Either<FatalError, ReadonlyArray<boolean>> => {
  const { num_hidden_layers: layers, layer_types: types, full_attn_idxs: attending } = f;
  if (types === undefined || types === null)
    return E.right(Array.from({ length: layers }, (_, i) => attending?.includes(i) === false));
  return types.length === layers
    ? E.right(types.map((type) => type === 'conv'))
    : E.left(unfit('layer_types', `${layers} entries, one a layer`, types));
};

const family: Family = { numKvHeads: 8, maxPositions: 128_000, rope: { theta: 1e6 }, headNorm: true };

/** What both kinds of LFM2 say alike; `width` is that of their plain MLPs. */
export const lfm2Config = (
  raw: RawConfig,
  modelType: string,
  width: number | undefined,
): E.Either<FatalError, Lfm2Config> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.bind('convolves', ({ f }) => convolvingLayers(f)),
    E.bind('config', ({ f }) =>
      llamaConfig(
        {
          ...raw,
          intermediate_size: width,
          rms_norm_eps: f.norm_eps ?? 1e-5,
          layer_types: null,
          hidden_act: null,
          attention_bias: null,
          mlp_bias: null,
          tie_word_embeddings: f.tie_embedding ?? f.tie_word_embeddings ?? true,
        },
        modelType,
        family,
      ),
    ),
    E.map(({ f, convolves, config }) => ({
      ...config,
      architecture: 'lfm2',
      raw,
      convolves,
      taps: f.conv_L_cache ?? 3,
      convBias: f.conv_bias ?? false,
    })),
  );

export const mlpNames: GatedNames = { gate: 'w1', up: 'w3', down: 'w2' };

const layerAt = (i: number): string => `model.layers.${i}`;

const attentionSpecs = (config: Lfm2Config, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, numHeads, headDim } = config;
  const module = `${layerAt(i)}.self_attn`;
  return [
    ...queryKeyValueSpec(module, config, false),
    ...linearSpec(`${module}.out_proj`, hiddenSize, numHeads * headDim, false),
    rmsNormSpec(`${module}.q_layernorm`, headDim),
    rmsNormSpec(`${module}.k_layernorm`, headDim),
  ];
};

const convSpecs = ({ hiddenSize, taps, convBias }: Lfm2Config, i: number): ReadonlyArray<TensorSpec> => {
  const module = `${layerAt(i)}.conv`;
  return [
    ...causalConvSpec(`${module}.conv`, hiddenSize, taps, convBias),
    ...linearSpec(`${module}.in_proj`, 3 * hiddenSize, hiddenSize, convBias),
    ...linearSpec(`${module}.out_proj`, hiddenSize, hiddenSize, convBias),
  ];
};

export const mlpSpecs = ({ hiddenSize, intermediateSize }: Lfm2Config, i: number): ReadonlyArray<TensorSpec> => [
  ...linearSpec(`${layerAt(i)}.feed_forward.w1`, intermediateSize, hiddenSize, false),
  ...linearSpec(`${layerAt(i)}.feed_forward.w3`, intermediateSize, hiddenSize, false),
  ...linearSpec(`${layerAt(i)}.feed_forward.w2`, hiddenSize, intermediateSize, false),
];

/** LFM2's tensors, with what stands for the MLP of each layer. */
export const lfm2Tensors = <C extends Lfm2Config>(
  config: C,
  feedForward: (config: C, i: number) => ReadonlyArray<TensorSpec>,
): ReadonlyArray<TensorSpec> => [
  embeddingSpec('model.embed_tokens', config.vocabSize, config.hiddenSize),
  ...perLayer(config.numLayers, (i) => [
    ...(config.convolves[i] === true ? convSpecs(config, i) : attentionSpecs(config, i)),
    ...feedForward(config, i),
    rmsNormSpec(`${layerAt(i)}.operator_norm`, config.hiddenSize),
    rmsNormSpec(`${layerAt(i)}.ffn_norm`, config.hiddenSize),
  ]),
  rmsNormSpec('model.embedding_norm', config.hiddenSize),
  ...headSpec(config.tieWordEmbeddings, config.vocabSize, config.hiddenSize),
];

/** out(C ⊙ conv(B ⊙ x)) of B, C and x, which come out of one map. */
const shortConv = (config: Lfm2Config, pass: Pass, i: number): Map => {
  const module = `${layerAt(i)}.conv`;
  return compose(
    linear(pass, { module: `${module}.in_proj` }),
    causalConv(pass, { module: `${module}.conv`, gated: true }),
    narrowing(pass, i, config.numLayers),
    linear(pass, { module: `${module}.out_proj` }),
  );
};

const attention = (config: Lfm2Config, pass: Pass, angles: RotaryAngles, i: number): Map => {
  const module = `${layerAt(i)}.self_attn`;
  const headNorm = (name: string): Map => perHead(config.headDim, norm(config, `${module}.${name}`));
  return selfAttention(config, pass, angles, i, {
    queries: headNorm('q_layernorm'),
    keys: headNorm('k_layernorm'),
    output: linear(pass, { module: `${module}.out_proj` }),
  });
};

export const mlp = (config: Lfm2Config, pass: Pass, i: number): Map =>
  gatedMlp(pass, config.activation, `${layerAt(i)}.feed_forward`, mlpNames);

/** LFM2's body, with what stands for the MLP of each layer. */
export const lfm2Body = (config: Lfm2Config, pass: Pass, feedForward: (i: number) => Map) =>
  rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => {
    const mixer = config.convolves[i] === true ? shortConv(config, pass, i) : attention(config, pass, angles, i);
    return inTurn(
      { pass, i, numLayers: config.numLayers },
      compose(norm(config, `${layerAt(i)}.operator_norm`), mixer),
      compose(norm(config, `${layerAt(i)}.ffn_norm`), feedForward(i)),
    );
  });

export const lfm2: Architecture<Lfm2Config> = {
  ...llama,
  name: 'lfm2',
  modelTypes: ['lfm2'],
  config: (raw, modelType) =>
    pipe(
      decodeFields(widthFields)(raw),
      E.flatMap((f) => lfm2Config(raw, modelType, widthOf(f))),
    ),
  tensors: (config) => lfm2Tensors(config, mlpSpecs),
  body: (config, pass) => lfm2Body(config, pass, (i) => mlp(config, pass, i)),
  tail: (config) => norm(config, 'model.embedding_norm'),
};
