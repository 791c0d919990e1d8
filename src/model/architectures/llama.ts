/**
 * Llama and what is built like it: Mistral, Ministral and CWM (sliding windows), Ministral 3 (queries that grow with their positions), Qwen2 (biases on q,
 * k, v), Qwen3 (norms on q and k), SmolLM3 (layers without positions).
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { ropeConfig, turnsOtherwiseBeyond } from '../attention/ropeConfig.js';
import type { RotaryAngles } from '../attention/rope.js';
import type { RopeConfig, RopeDefaults } from '../attention/ropeConfig.js';
import { rotaryAttention } from '../attention/rotaryAttention.js';
import type { RotaryParts } from '../attention/rotaryAttention.js';
import {
  activation,
  boolean,
  decodeFields,
  decoderConfig,
  decoderFields,
  headsOf,
  nonNegativeInteger,
  onlyAs,
  optional,
  positive,
  positiveInteger,
  unfit,
} from '../config.js';
import type { ModelConfig, RawConfig } from '../config.js';
import type { ActivationKind } from '../kernels/activation.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { tokenEmbedding } from '../layers/embedding.js';
import { compose, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { queryKeyValue } from '../layers/linears.js';
import { gatedMlp } from '../layers/mlp.js';
import { neftune } from '../layers/neftune.js';
import { perHead, rmsNorm } from '../layers/norm.js';
import { scaled } from '../layers/scaled.js';
import type { Pass } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { embeddingSpec, headSpec, linearSpec, perLayer, queryKeyValueSpec, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';

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
  /** One a layer: whether its queries and keys turn by their positions. */
  readonly turns: ReadonlyArray<boolean>;
  /** What products of queries and keys are multiplied by. */
  readonly attentionScale: number;
  /** What scores are capped at. Absent: they are not. */
  readonly attentionSoftcap?: number | undefined;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Qwen3: queries and keys are normed, each head by itself, before they turn. */
  readonly headNorm: boolean;
}

const fields = t.type({
  ...decoderFields,
  intermediate_size: positiveInteger,
  num_key_value_heads: optional(positiveInteger),
  head_dim: optional(positiveInteger),
  hidden_act: optional(activation),
  rms_norm_eps: optional(positive),
  attention_bias: optional(boolean),
  mlp_bias: optional(boolean),
  sliding_window: optional(positiveInteger),
  use_sliding_window: optional(boolean),
  max_window_layers: optional(nonNegativeInteger),
  layer_types: optional(t.array(t.keyof({ full_attention: null, sliding_attention: null }))),
  no_rope_layers: optional(t.array(t.union([t.literal(0), t.literal(1)], '0 or 1'))),
  no_rope_layer_interval: optional(positiveInteger),
});
export type LlamaFields = t.TypeOf<typeof fields>;

type PerLayer<A> = E.Either<FatalError, ReadonlyArray<A>>;

/** What differs between the model types where config.json says nothing. */
export interface Family {
  readonly headDim?: number;
  /** Where the field is missing: null stands for as many as there are heads. */
  readonly numKvHeads?: number;
  /** Default 2048. */
  readonly maxPositions?: number;
  readonly rope?: Omit<RopeDefaults, 'headDim' | 'maxPositions'>;
  /** Default: silu. */
  readonly activation?: ActivationKind;
  /** Heads may turn in part. */
  readonly partial?: boolean;
  readonly rmsNormEps?: number;
  readonly tied?: boolean;
  /** Whatever `attention_bias` says, which stands for the output's too. Default: as it says. */
  readonly qkvBias?: boolean;
  readonly headNorm?: boolean;
  /** Default: none. */
  readonly windows?: (fields: LlamaFields, raw: RawConfig) => PerLayer<number>;
  /** Default: all layers turn. */
  readonly turns?: (fields: LlamaFields) => PerLayer<boolean>;
}

export const everywhere = <A>({ num_hidden_layers: layers }: LlamaFields, value: A): ReadonlyArray<A> =>
  Array.from({ length: layers }, () => value);

/** A list with one entry a layer, or what stands for it. */
const perLayerOf = <A>(
  { num_hidden_layers: layers }: LlamaFields,
  field: string,
  given: ReadonlyArray<A> | null | undefined,
  otherwise: (layer: number) => A,
): PerLayer<A> => {
  if (given === null || given === undefined) return E.right(Array.from({ length: layers }, (_, i) => otherwise(i)));
  return given.length === layers ? E.right(given) : E.left(unfit(field, `${layers} entries, one a layer`, given));
};

/** `window` in layers of the kind `sliding_attention`. */
export const windowsByType = (
  fields: LlamaFields,
  window: number,
  slides: (layer: number) => boolean,
): PerLayer<number> =>
  E.Functor.map(
    perLayerOf(fields, 'layer_types', fields.layer_types, (i) => (slides(i) ? 'sliding_attention' : 'full_attention')),
    (types) => types.map((type) => (type === 'sliding_attention' ? window : 0)),
  );

/** Qwen's window: 0 unless sliding is switched on. */
export const qwenWindow = (fields: LlamaFields, raw: RawConfig): number => {
  const given = 'sliding_window' in raw ? (fields.sliding_window ?? 0) : 4096;
  return fields.use_sliding_window === true ? given : 0;
};

/** Qwen's window in the layers that slide, told by their number and `max_window_layers`. */
export const qwenWindows =
  (slides: (layer: number, maxWindowLayers: number) => boolean, most = 28) =>
  (fields: LlamaFields, raw: RawConfig): PerLayer<number> =>
    windowsByType(fields, qwenWindow(fields, raw), (i) => slides(i, fields.max_window_layers ?? most));

/** SmolLM3, Llama 4: every fourth layer knows no positions. */
export const everyFewTurn = (fields: LlamaFields): PerLayer<boolean> =>
  E.Functor.map(
    // Longer lists are read as far as there are layers.
    perLayerOf(fields, 'no_rope_layers', fields.no_rope_layers?.slice(0, fields.num_hidden_layers), (i) =>
      (i + 1) % (fields.no_rope_layer_interval ?? 4) === 0 ? 0 : 1,
    ),
    (flags) => flags.map((flag) => flag === 1),
  );

/** SmolLM3: if sliding is switched on, layers without positions slide. */
const smolWindows = (fields: LlamaFields): PerLayer<number> =>
  E.Monad.chain(everyFewTurn(fields), (turns) =>
    windowsByType(
      fields,
      fields.use_sliding_window === true ? (fields.sliding_window ?? 0) : 0,
      (i) => turns[i] === false,
    ),
  );

/** One window for all layers: of the file, none where it says null, or the default where it says nothing. */
export const windowEverywhere =
  (otherwise: number) =>
  (fields: LlamaFields, raw: RawConfig): PerLayer<number> =>
    E.right(everywhere(fields, 'sliding_window' in raw ? (fields.sliding_window ?? 0) : otherwise));

const qwen: Family = { numKvHeads: 32, maxPositions: 32_768, windows: qwenWindows((i, most) => i >= most) };

/** Without images the positions of all three kinds that Qwen's models for images count are those of the text. */
export const textPositions: RopeDefaults['scalingNames'] = { mrope: 'default' };

const qwen2Vl: Family = {
  numKvHeads: 8,
  maxPositions: 32_768,
  rmsNormEps: 1e-5,
  qkvBias: true,
  rope: { theta: 1e6, scalingNames: textPositions },
  windows: qwenWindows((i, most) => i >= most, 80),
};

const families: Readonly<Record<string, Family>> = {
  llama: {},
  // A file that says nothing of a window means 4096, one that says null means none.
  mistral: { numKvHeads: 8, maxPositions: 131_072, windows: windowEverywhere(4096) },
  qwen2: { ...qwen, qkvBias: true },
  qwen3: { ...qwen, headDim: 128, headNorm: true },
  ministral3: {
    numKvHeads: 8,
    headDim: 128,
    maxPositions: 262_144,
    rmsNormEps: 1e-5,
    rope: {
      theta: 1e6,
      grows: true,
      parameters: {
        rope_type: 'yarn',
        factor: 16,
        original_max_position_embeddings: 16_384,
        mscale: 1,
        mscale_all_dim: 1,
        llama_4_scaling_beta: 0.1,
      },
    },
    windows: windowEverywhere(0),
  },
  ministral: {
    numKvHeads: 8,
    maxPositions: 131_072,
    qkvBias: false,
    windows: (f, raw) => {
      const window = 'sliding_window' in raw ? (f.sliding_window ?? 0) : 4096;
      return windowsByType(f, window, () => window > 0);
    },
  },
  cwm: {
    numKvHeads: 8,
    headDim: 128,
    maxPositions: 131_072,
    rmsNormEps: 1e-5,
    qkvBias: false,
    rope: {
      theta: 1e6,
      parameters: {
        rope_type: 'llama3',
        factor: 16,
        high_freq_factor: 4,
        low_freq_factor: 1,
        original_max_position_embeddings: 8192,
      },
    },
    windows: (f, raw) => windowsByType(f, 'sliding_window' in raw ? (f.sliding_window ?? 0) : 8192, (i) => i % 4 !== 0),
  },
  smollm3: {
    numKvHeads: 4,
    maxPositions: 32_768,
    rope: { theta: 2e6 },
    tied: true,
    windows: smolWindows,
    turns: everyFewTurn,
  },
};

/** Text models of models that see images. */
const textFamilies: Readonly<Record<string, Family>> = {
  qwen2_vl_text: qwen2Vl,
  qwen2_5_vl_text: qwen2Vl,
  qwen3_vl_text: {
    numKvHeads: 32,
    headDim: 128,
    maxPositions: 128_000,
    rope: { theta: 500_000, scalingNames: textPositions },
    headNorm: true,
  },
};

/** Their types, which stand in `text_config` alone. */
export const llamaTextTypes: ReadonlyArray<string> = Object.keys(textFamilies);

/** The fields that all Llama-like models share; `family` fills in what the type implies. */
export const llamaConfig = (raw: RawConfig, modelType: string, family: Family): E.Either<FatalError, LlamaConfig> =>
  pipe(
    E.Do,
    E.bind('f', () => decodeFields(fields)(raw)),
    E.bind('heads', ({ f }) =>
      headsOf({
        hiddenSize: f.hidden_size,
        numHeads: f.num_attention_heads,
        numKvHeads: f.num_key_value_heads === undefined ? family.numKvHeads : f.num_key_value_heads,
        headDim: f.head_dim ?? family.headDim,
      }),
    ),
    E.let('maxPositions', ({ f }) => f.max_position_embeddings ?? family.maxPositions ?? 2048),
    E.bind('rope', ({ maxPositions, heads: { headDim } }) =>
      ropeConfig(raw, { headDim, maxPositions, ...family.rope }),
    ),
    E.filterOrElse(
      ({ rope, heads: { headDim } }) => family.partial === true || rope.rotaryDim === headDim,
      ({ rope, heads: { headDim } }) =>
        unfit('partial_rotary_factor', `1: heads of "${modelType}" turn as a whole`, rope.rotaryDim / headDim),
    ),
    E.bind('windows', ({ f }) => family.windows?.(f, raw) ?? E.right(everywhere(f, 0))),
    E.bind('turns', ({ f }) => family.turns?.(f) ?? E.right(everywhere(f, true))),
    E.map(
      ({ f, heads, maxPositions, rope, windows, turns }): LlamaConfig => ({
        architecture: 'llama',
        modelType,
        ...decoderConfig(f, family.tied ?? false),
        ...heads,
        maxPositions,
        raw,
        intermediateSize: f.intermediate_size,
        activation: f.hidden_act ?? family.activation ?? 'silu',
        rmsNormEps: f.rms_norm_eps ?? family.rmsNormEps ?? 1e-6,
        normOffset: 0,
        embeddingScale: 1,
        rope,
        windows,
        turns,
        attentionScale: 1 / Math.sqrt(heads.headDim),
        qkvBias: family.qkvBias ?? f.attention_bias ?? false,
        outputBias: family.qkvBias === undefined ? (f.attention_bias ?? false) : false,
        mlpBias: f.mlp_bias ?? false,
        headNorm: family.headNorm ?? false,
      }),
    ),
  );

/** What else an architecture of Llama's fields reads. */
interface Own<A> {
  readonly fields: t.Decoder<unknown, A>;
  /** See `onlyAs`. */
  readonly only?: Parameters<typeof onlyAs>[0];
  readonly family?: Family;
}

/** Llama's fields, and an architecture's own beside them. */
export const llamaConfigWith = <A>(
  raw: RawConfig,
  modelType: string,
  { fields: own, only = {}, family = {} }: Own<A>,
): E.Either<FatalError, { readonly f: A; readonly config: LlamaConfig }> =>
  pipe(
    onlyAs(only)(raw),
    E.flatMap(decodeFields(own)),
    E.bindTo('f'),
    E.bind('config', () => llamaConfig(raw, modelType, family)),
  );

const layerTensors = (config: LlamaConfig, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, intermediateSize, numHeads, headDim, qkvBias, outputBias, mlpBias } = config;
  const attn = `model.layers.${i}.self_attn`;
  const mlp = `model.layers.${i}.mlp`;
  return [
    ...queryKeyValueSpec(attn, config, qkvBias),
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

/** What of a layer an architecture makes otherwise than Llama. */
export type LlamaParts = Partial<
  Pick<
    RotaryParts,
    | 'interleaved'
    | 'project'
    | 'gated'
    | 'queries'
    | 'keys'
    | 'values'
    | 'keysOf'
    | 'turnedQueries'
    | 'turnedKeys'
    | 'output'
    | 'sinks'
  >
>;

/** What attention of layer `i` is made of. */
export const attentionParts = (
  config: LlamaConfig,
  pass: Pass,
  angles: RotaryAngles | undefined,
  i: number,
  parts: LlamaParts = {},
): RotaryParts => {
  const module = `model.layers.${i}.self_attn`;
  const headNorm = (name: string): Layer<Tensor, Tensor> | undefined =>
    config.headNorm ? perHead(config.headDim, norm(config, `${module}.${name}`)) : undefined;
  return {
    layer: i,
    angles: config.turns[i] === false ? undefined : angles,
    project: queryKeyValue(pass, module),
    queries: headNorm('q_norm'),
    keys: headNorm('k_norm'),
    output: linear(pass, { module: `${module}.o_proj` }),
    ...parts,
  };
};

/** Attention of layer `i`, [N, hiddenSize] to the same, queries and keys turned by `angles`, if there are any. */
export const selfAttention = (
  config: LlamaConfig,
  pass: Pass,
  angles: RotaryAngles | undefined,
  i: number,
  parts: LlamaParts = {},
): Layer<Tensor, Tensor> => rotaryAttention(config, pass, attentionParts(config, pass, angles, i, parts));

/** The gated MLP of layer `i`, [N, hiddenSize] to the same. */
export const mlp = (config: LlamaConfig, pass: Pass, i: number): Layer<Tensor, Tensor> =>
  gatedMlp(pass, config.activation, `model.layers.${i}.mlp`);

/** The RMS norm of a module, as the model's norms are. */
export const norm = ({ rmsNormEps: eps, normOffset: offset }: LlamaConfig, module: string): Layer<Tensor, Tensor> =>
  rmsNorm(module, { eps, offset });

/** Token embeddings as the layers read them, noise included. */
export const llamaStem = ({ embeddingScale }: LlamaConfig, pass: Pass): Layer<Sequence, Tensor> =>
  compose(
    tokenEmbedding(pass, 'model.embed_tokens'),
    // Gemma's factor is a part of its embedding, so the noise comes after it.
    embeddingScale === 1 ? identity : scaled(embeddingScale),
    neftune(pass),
  );

export const llamaLayer = (
  config: LlamaConfig,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
  parts: LlamaParts = {},
): Layer<Tensor, Tensor> =>
  inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(norm(config, `model.layers.${i}.input_layernorm`), selfAttention(config, pass, angles, i, parts)),
    compose(norm(config, `model.layers.${i}.post_attention_layernorm`), mlp(config, pass, i)),
  );

export const llama: Architecture<LlamaConfig> = {
  name: 'llama',
  modelTypes: Object.keys(families),
  config: (raw, modelType) => llamaConfig(raw, modelType, families[modelType] ?? textFamilies[modelType] ?? {}),
  tensors: llamaTensors,
  basePrefix: 'model.',
  buffers: /\.rotary_emb\.inv_freq$/,
  embedding: 'model.embed_tokens',
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => llamaLayer(config, pass, angles, i)),
  narrows: true,
  tail: (config) => norm(config, 'model.norm'),
  turnsOtherwiseBeyond: ({ rope }) => turnsOtherwiseBeyond(rope),
  loraTargets: () => ['q_proj', 'v_proj'],
};
