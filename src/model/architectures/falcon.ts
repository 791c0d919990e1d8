/**
 * Falcon, with rotary positions or ALiBi: queries, keys and values of one matrix, group by group of heads that share a key; MLPs beside
 * attention, from one layer norm or two, or behind it.
 */
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
  optional,
  positive,
  positiveInteger,
  rate,
  unfit,
} from '../config.js';
import type { ModelConfig } from '../config.js';
import type { ActivationKind } from '../kernels/activation.js';
import { inTurn, rotaryBody, sideBySide, stem } from '../layers/blocks.js';
import { splitGroups } from '../layers/columns.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { plainMlp } from '../layers/mlp.js';
import { layerNorm } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer } from '../weights.js';

/** Names of the norms of a layer, before attention and before its MLP: one for both, two, or one behind the other. */
type Norms = 'one' | 'two' | 'inTurn';

export interface FalconConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly activation: ActivationKind;
  readonly layerNormEps: number;
  readonly bias: boolean;
  readonly norms: Norms;
  /** On what a layer adds. */
  readonly hiddenDropout: number;
  /** On what attention adds, where the MLP stands behind it. */
  readonly outputDropout: number;
  readonly rope: RopeConfig;
  /** Present: nothing turns, and ALiBi's slopes are multiplied by it. */
  readonly alibi?: number | undefined;
}

const fields = t.type({
  ...decoderFields,
  ffn_hidden_size: optional(positiveInteger),
  num_kv_heads: optional(positiveInteger),
  num_ln_in_parallel_attn: optional(t.union([t.literal(1), t.literal(2)], '1 or 2')),
  activation: optional(activationField),
  layer_norm_epsilon: optional(positive),
  hidden_dropout: optional(rate),
  bias: optional(boolean),
  multi_query: optional(boolean),
  parallel_attn: optional(boolean),
  new_decoder_architecture: optional(boolean),
  alibi: optional(boolean),
});
type Fields = t.TypeOf<typeof fields>;

/** How many keys there are: of the newer form as many as it says, of the older one or one a head. */
const keyHeads = (f: Fields): E.Either<FatalError, number> => {
  const heads = f.num_attention_heads;
  const given = f.num_kv_heads ?? heads;
  if (f.new_decoder_architecture === true) return E.right(given);
  if (f.multi_query ?? true) return E.right(1);
  return given === heads ? E.right(heads) : E.left(unfit('num_kv_heads', `num_attention_heads ${heads}`, given));
};

const normsOf = (f: Fields): E.Either<FatalError, Norms> => {
  const newer = f.new_decoder_architecture === true;
  const parallel = f.parallel_attn ?? true;
  const count = f.num_ln_in_parallel_attn ?? (newer ? 2 : 1);
  if (newer && !parallel) return E.left(unfit('parallel_attn', 'true: the newer form knows no other', false));
  if (!parallel) return E.right('inTurn');
  if (!newer && count === 2)
    return E.left(unfit('num_ln_in_parallel_attn', '1: only the newer form reads two norms', count));
  return E.right(count === 2 ? 'two' : 'one');
};

const layer = (config: FalconConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const { numLayers, numHeads, numKvHeads, headDim, layerNormEps } = config;
  const module = `transformer.h.${i}`;
  const normed = (name: string): Layer<Tensor, Tensor> => layerNorm(`${module}.${name}`, layerNormEps);
  const attention = rotaryAttention(config, pass, {
    layer: i,
    angles: config.alibi === undefined ? angles : undefined,
    project: compose(
      linear(pass, { module: `${module}.self_attention.query_key_value` }),
      splitGroups(numKvHeads, [(numHeads / numKvHeads) * headDim, headDim, headDim]),
    ),
    output: linear(pass, { module: `${module}.self_attention.dense` }),
  });
  const mlp = plainMlp(pass, config.activation, {
    up: `${module}.mlp.dense_h_to_4h`,
    down: `${module}.mlp.dense_4h_to_h`,
  });
  const after = dropout(pass, `${module}.dropout`, config.hiddenDropout);
  const place = { pass, i, numLayers };
  switch (config.norms) {
    case 'one':
      return sideBySide(place, attention, mlp, { norm: normed('input_layernorm'), after });
    case 'two':
      return sideBySide(place, compose(normed('ln_attn'), attention), compose(normed('ln_mlp'), mlp), { after });
    case 'inTurn':
      return inTurn(
        place,
        compose(
          normed('input_layernorm'),
          attention,
          dropout(pass, `${module}.attention_dropout`, config.outputDropout),
        ),
        compose(normed('post_attention_layernorm'), mlp, after),
      );
  }
};

const normNames: Readonly<Record<Norms, ReadonlyArray<string>>> = {
  one: ['input_layernorm'],
  two: ['ln_attn', 'ln_mlp'],
  inTurn: ['input_layernorm', 'post_attention_layernorm'],
};

export const falcon: Architecture<FalconConfig> = {
  name: 'falcon',
  modelTypes: ['falcon'],
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.bindTo('f'),
      E.bind('numKvHeads', ({ f }) => keyHeads(f)),
      E.bind('norms', ({ f }) => normsOf(f)),
      E.bind('heads', ({ f, numKvHeads }) =>
        headsOf({
          hiddenSize: f.hidden_size,
          numHeads: f.num_attention_heads,
          numKvHeads,
          names: { numKvHeads: 'num_kv_heads' },
        }),
      ),
      E.let('maxPositions', ({ f }) => f.max_position_embeddings ?? 2048),
      E.bind('rope', ({ maxPositions, heads: { headDim } }) => ropeConfig(raw, { headDim, maxPositions })),
      E.filterOrElse(
        ({ rope, heads: { headDim } }) => rope.rotaryDim === headDim,
        ({ rope, heads: { headDim } }) =>
          unfit('partial_rotary_factor', '1: heads turn as a whole', rope.rotaryDim / headDim),
      ),
      E.map(({ f, heads, norms, maxPositions, rope }) => ({
        architecture: 'falcon',
        modelType,
        ...decoderConfig(f, true),
        // With rotary positions it is on what attention adds, not on its weights.
        ...(f.alibi === true ? {} : { attentionDropout: 0 }),
        ...heads,
        maxPositions,
        raw,
        intermediateSize: f.ffn_hidden_size ?? 4 * f.hidden_size,
        activation: f.activation ?? 'gelu',
        layerNormEps: f.layer_norm_epsilon ?? 1e-5,
        bias: f.bias ?? false,
        norms,
        hiddenDropout: f.hidden_dropout ?? 0,
        outputDropout: f.attention_dropout ?? 0,
        rope,
        // Its biases are scaled as the products are.
        ...(f.alibi === true ? { alibi: 1 / Math.sqrt(heads.headDim) } : {}),
      })),
    ),
  tensors: (config) => {
    const { vocabSize, hiddenSize, intermediateSize, numLayers, numHeads, numKvHeads, headDim, bias } = config;
    const projected = (numHeads + 2 * numKvHeads) * headDim;
    return [
      embeddingSpec('transformer.word_embeddings', vocabSize, hiddenSize),
      ...perLayer(numLayers, (i) => [
        ...linearSpec(`transformer.h.${i}.self_attention.query_key_value`, projected, hiddenSize, bias),
        ...linearSpec(`transformer.h.${i}.self_attention.dense`, hiddenSize, hiddenSize, bias),
        ...linearSpec(`transformer.h.${i}.mlp.dense_h_to_4h`, intermediateSize, hiddenSize, bias),
        ...linearSpec(`transformer.h.${i}.mlp.dense_4h_to_h`, hiddenSize, intermediateSize, bias),
        ...normNames[config.norms].flatMap((name) => layerNormSpec(`transformer.h.${i}.${name}`, hiddenSize)),
      ]),
      ...layerNormSpec('transformer.ln_f', hiddenSize),
      ...headSpec(config.tieWordEmbeddings, vocabSize, hiddenSize),
    ];
  },
  basePrefix: 'transformer.',
  buffers: /\.rotary_emb\.inv_freq$/,
  embedding: 'transformer.word_embeddings',
  body: (config, pass) =>
    rotaryBody(config, pass, stem(pass, 'transformer.word_embeddings'), (angles, i) => layer(config, pass, angles, i)),
  narrows: true,
  tail: (config) => layerNorm('transformer.ln_f', config.layerNormEps),
  turnsOtherwiseBeyond: ({ rope }) => turnsOtherwiseBeyond(rope),
  loraTargets: () => ['query_key_value'],
};
