/** GPT-NeoX (Pythia): queries, keys and values of one matrix head by head, part of each head turns, MLPs beside attention. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { ropeConfig, turnsOtherwiseBeyond } from '../attention/ropeConfig.js';
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
  onlyAs,
  optional,
  positive,
  positiveInteger,
  rate,
} from '../config.js';
import type { ModelConfig, RawConfig } from '../config.js';
import type { ActivationKind } from '../kernels/activation.js';
import { inTurn, rotaryBody, sideBySide, stem } from '../layers/blocks.js';
import { splitGroups } from '../layers/columns.js';
import { dropout } from '../layers/dropout.js';
import { compose, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { plainMlp } from '../layers/mlp.js';
import { layerNorm } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';

export interface GptNeoxConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly activation: ActivationKind;
  readonly layerNormEps: number;
  readonly hiddenDropout: number;
  readonly attentionBias: boolean;
  /** MLPs stand beside attention; else behind it. */
  readonly parallel: boolean;
  readonly rope: RopeConfig;
}

const fields = t.type({
  ...decoderFields,
  intermediate_size: positiveInteger,
  hidden_act: optional(activationField),
  layer_norm_eps: optional(positive),
  hidden_dropout: optional(rate),
  attention_bias: optional(boolean),
  use_parallel_residual: optional(boolean),
  rotary_pct: optional(positive),
  rotary_emb_base: optional(positive),
});

/** The rotary fields by the names that other models have for them. */
const usualRope = (raw: RawConfig, f: t.TypeOf<typeof fields>): RawConfig => ({
  ...raw,
  rope_theta: f.rotary_emb_base,
  partial_rotary_factor: f.rotary_pct,
});

/** What differs between model types. */
interface NeoxFamily extends Pick<GptNeoxConfig, 'architecture' | 'activation' | 'attentionBias' | 'parallel'> {
  /** Share of a head that turns where nothing is said. */
  readonly partial: number;
}

/** The configuration of a file whose rotary fields have the names of most. `E_MODEL_CONFIG`. */
export const neoxConfig = (
  raw: RawConfig,
  modelType: string,
  { partial, activation, ...own }: NeoxFamily,
): E.Either<FatalError, GptNeoxConfig> =>
  pipe(
    onlyAs({ head_dim: null })(raw),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.bind('heads', ({ f: { hidden_size: hiddenSize, num_attention_heads: numHeads } }) =>
      headsOf({ hiddenSize, numHeads }),
    ),
    E.let('maxPositions', ({ f }) => f.max_position_embeddings ?? 2048),
    E.bind('rope', ({ maxPositions, heads: { headDim } }) => ropeConfig(raw, { headDim, maxPositions, partial })),
    E.map(({ f, heads, maxPositions, rope }) => ({
      modelType,
      ...own,
      ...decoderConfig(f, false),
      ...heads,
      maxPositions,
      raw,
      intermediateSize: f.intermediate_size,
      activation: f.hidden_act ?? activation,
      layerNormEps: f.layer_norm_eps ?? 1e-5,
      hiddenDropout: f.hidden_dropout ?? 0,
      rope,
    })),
  );

/** What differs in a layer of models that are built so. */
interface NeoxLayer {
  /** Module of the layer. */
  readonly module: string;
  /** Attention within it. */
  readonly attention: string;
  readonly queries?: Layer<Tensor, Tensor> | undefined;
  readonly keys?: Layer<Tensor, Tensor> | undefined;
  /** What attention puts out is dropped out too. */
  readonly drops: boolean;
}

/** Layer `i`, [N, hiddenSize] to the same. */
export const neoxLayer = (
  config: GptNeoxConfig,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
  { module, attention: attends, queries, keys, drops }: NeoxLayer,
): Layer<Tensor, Tensor> => {
  const { numLayers, numHeads, headDim, layerNormEps, hiddenDropout } = config;
  const normed = (name: string): Layer<Tensor, Tensor> => layerNorm(`${module}.${name}`, layerNormEps);
  const dropped = (site: string): Layer<Tensor, Tensor> => dropout(pass, `${module}.${site}`, hiddenDropout);
  const attention = rotaryAttention(config, pass, {
    layer: i,
    angles,
    project: compose(
      linear(pass, { module: `${module}.${attends}.query_key_value` }),
      splitGroups(numHeads, [headDim, headDim, headDim]),
    ),
    queries,
    keys,
    output: compose(
      linear(pass, { module: `${module}.${attends}.dense` }),
      drops ? dropped('post_attention_dropout') : identity,
    ),
  });
  const mlp = compose(
    plainMlp(pass, config.activation, { up: `${module}.mlp.dense_h_to_4h`, down: `${module}.mlp.dense_4h_to_h` }),
    dropped('post_mlp_dropout'),
  );
  return (config.parallel ? sideBySide : inTurn)(
    { pass, i, numLayers },
    compose(normed('input_layernorm'), attention),
    compose(normed('post_attention_layernorm'), mlp),
  );
};

/** Its tensors. */
export const neoxLayerSpecs = (
  { hiddenSize, intermediateSize, attentionBias }: GptNeoxConfig,
  { module, attention }: Pick<NeoxLayer, 'module' | 'attention'>,
): ReadonlyArray<TensorSpec> => [
  ...layerNormSpec(`${module}.input_layernorm`, hiddenSize),
  ...layerNormSpec(`${module}.post_attention_layernorm`, hiddenSize),
  ...linearSpec(`${module}.${attention}.query_key_value`, 3 * hiddenSize, hiddenSize, attentionBias),
  ...linearSpec(`${module}.${attention}.dense`, hiddenSize, hiddenSize, attentionBias),
  ...linearSpec(`${module}.mlp.dense_h_to_4h`, intermediateSize, hiddenSize, true),
  ...linearSpec(`${module}.mlp.dense_4h_to_h`, hiddenSize, intermediateSize, true),
];

const layerAt = (i: number): Pick<NeoxLayer, 'module' | 'attention'> => ({
  module: `gpt_neox.layers.${i}`,
  attention: 'attention',
});

export const gptNeox: Architecture<GptNeoxConfig> = {
  name: 'gpt_neox',
  modelTypes: ['gpt_neox'],
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.flatMap((f) =>
        neoxConfig(usualRope(raw, f), modelType, {
          architecture: 'gpt_neox',
          partial: 0.25,
          activation: 'gelu',
          attentionBias: f.attention_bias ?? true,
          parallel: f.use_parallel_residual ?? true,
        }),
      ),
      E.map((config) => ({ ...config, raw })),
    ),
  tensors: (config) => [
    embeddingSpec('gpt_neox.embed_in', config.vocabSize, config.hiddenSize),
    ...perLayer(config.numLayers, (i) => neoxLayerSpecs(config, layerAt(i))),
    ...layerNormSpec('gpt_neox.final_layer_norm', config.hiddenSize),
    ...headSpec(config.tieWordEmbeddings, config.vocabSize, config.hiddenSize),
  ],
  basePrefix: 'gpt_neox.',
  storedHead: 'embed_out',
  buffers: /\.attention\.(?:bias|masked_bias|rotary_emb\.inv_freq)$/,
  embedding: 'gpt_neox.embed_in',
  body: (config, pass) =>
    rotaryBody(
      config,
      pass,
      stem(pass, 'gpt_neox.embed_in', { site: 'gpt_neox.emb_dropout', rate: config.hiddenDropout }),
      (angles, i) => neoxLayer(config, pass, angles, i, { ...layerAt(i), drops: true }),
    ),
  narrows: true,
  tail: (config) => layerNorm('gpt_neox.final_layer_norm', config.layerNormEps),
  turnsOtherwiseBeyond: ({ rope }) => turnsOtherwiseBeyond(rope),
  loraTargets: () => ['query_key_value'],
};
