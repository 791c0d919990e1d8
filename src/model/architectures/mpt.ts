/** MPT: no positions but ALiBi's biases on scores, and no biases of maps and norms; queries, keys and values of one matrix. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { joinedAttention, plainHeads } from '../attention/attention.js';
import {
  boolean,
  decodeFields,
  headsOf,
  layerCount,
  namedTokenIds,
  onlyAs,
  optional,
  positive,
  positiveInteger,
  rate,
  tokenIds,
} from '../config.js';
import type { ModelConfig, RawConfig } from '../config.js';
import { inTurn, stem } from '../layers/blocks.js';
import { clipped } from '../layers/clipped.js';
import { dropout } from '../layers/dropout.js';
import { compose, identity, mapLayers } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { plainMlp } from '../layers/mlp.js';
import { layerNorm } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import { block } from '../pass.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer } from '../weights.js';

export interface MptConfig extends ModelConfig {
  readonly layerNormEps: number;
  /** On what attention and MLP add. */
  readonly residualDropout: number;
  readonly attentionScale: number;
  /** Queries, keys and values stay within ± this. */
  readonly clip: number | undefined;
}

const attentionFields = t.type(
  { attn_pdrop: optional(rate), clip_qkv: optional(positive), softmax_scale: optional(positive) },
  'an object',
);

const fields = t.type({
  vocab_size: optional(positiveInteger),
  d_model: optional(positiveInteger),
  n_layers: optional(layerCount),
  n_heads: optional(positiveInteger),
  max_seq_len: optional(positiveInteger),
  layer_norm_epsilon: optional(positive),
  attn_config: optional(t.intersection([t.UnknownRecord, attentionFields])),
  tie_word_embeddings: optional(boolean),
  ...tokenIds,
});

/** What transformers passes over, and computes as it is here. */
const passedOver = { expansion_ratio: 4, no_bias: true, logit_scale: null, embedding_fraction: 1 };

/** The same of attention. */
const attentionPassedOver = {
  'attn_config.attn_type': 'multihead_attention',
  'attn_config.prefix_lm': false,
  'attn_config.qk_ln': false,
  'attn_config.alibi': true,
  'attn_config.alibi_bias_max': 8,
};

/** Fields of `attn_config` by their paths. */
const byPath = (attention: RawConfig): RawConfig =>
  Object.fromEntries(Object.entries(attention).map(([field, value]) => [`attn_config.${field}`, value]));

const layer = (config: MptConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const { numLayers, layerNormEps, residualDropout, attentionScale: scale, clip } = config;
  const module = `transformer.blocks.${i}`;
  const normed = (name: string): Layer<Tensor, Tensor> => layerNorm(`${module}.${name}`, layerNormEps);
  const dropped = (site: string): Layer<Tensor, Tensor> => dropout(pass, `${module}.${site}`, residualDropout);
  const attended = compose(
    compose(linear(pass, { module: `${module}.attn.Wqkv` }), clip === undefined ? identity : clipped(clip)),
    joinedAttention(pass, { ...plainHeads(config, i), scale, alibi: 1 }),
    compose(narrowing(pass, i, numLayers), linear(pass, { module: `${module}.attn.out_proj` })),
  );
  const mlp = plainMlp(pass, 'gelu', { up: `${module}.ffn.up_proj`, down: `${module}.ffn.down_proj` });
  return inTurn(
    { pass, i, numLayers },
    compose(normed('norm_1'), attended, dropped('resid_attn_dropout')),
    compose(normed('norm_2'), mlp, dropped('ffn')),
  );
};

export const mpt: Architecture<MptConfig> = {
  name: 'mpt',
  modelTypes: ['mpt'],
  config: (raw, modelType) =>
    pipe(
      onlyAs(passedOver)(raw),
      E.flatMap(decodeFields(fields)),
      E.bindTo('f'),
      E.tap(({ f }) => onlyAs(attentionPassedOver)(byPath(f.attn_config ?? {}))),
      E.let('attention', ({ f }) => f.attn_config),
      E.let('hiddenSize', ({ f }) => f.d_model ?? 2048),
      E.bind('heads', ({ f, hiddenSize }) =>
        headsOf({ hiddenSize, numHeads: f.n_heads ?? 16, names: { hiddenSize: 'd_model', numHeads: 'n_heads' } }),
      ),
      E.map(({ f, attention, heads, hiddenSize }) => ({
        architecture: 'mpt',
        modelType,
        vocabSize: f.vocab_size ?? 50_368,
        hiddenSize,
        numLayers: f.n_layers ?? 24,
        attentionDropout: attention?.attn_pdrop ?? 0,
        tieWordEmbeddings: f.tie_word_embeddings ?? true,
        ...namedTokenIds(f),
        ...heads,
        maxPositions: f.max_seq_len ?? 2048,
        raw,
        layerNormEps: f.layer_norm_epsilon ?? 1e-5,
        // transformers drops with the rate of attention's weights here, too.
        residualDropout: attention?.attn_pdrop ?? 0,
        attentionScale: attention?.softmax_scale ?? 1 / Math.sqrt(heads.headDim),
        clip: attention?.clip_qkv ?? undefined,
      })),
    ),
  tensors: ({ vocabSize, hiddenSize, numLayers, tieWordEmbeddings }) => [
    embeddingSpec('transformer.wte', vocabSize, hiddenSize),
    ...perLayer(numLayers, (i) => [
      ...layerNormSpec(`transformer.blocks.${i}.norm_1`, hiddenSize, false),
      ...linearSpec(`transformer.blocks.${i}.attn.Wqkv`, 3 * hiddenSize, hiddenSize, false),
      ...linearSpec(`transformer.blocks.${i}.attn.out_proj`, hiddenSize, hiddenSize, false),
      ...layerNormSpec(`transformer.blocks.${i}.norm_2`, hiddenSize, false),
      ...linearSpec(`transformer.blocks.${i}.ffn.up_proj`, 4 * hiddenSize, hiddenSize, false),
      ...linearSpec(`transformer.blocks.${i}.ffn.down_proj`, hiddenSize, 4 * hiddenSize, false),
    ]),
    ...layerNormSpec('transformer.norm_f', hiddenSize, false),
    ...headSpec(tieWordEmbeddings, vocabSize, hiddenSize),
  ],
  basePrefix: 'transformer.',
  embedding: 'transformer.wte',
  body: (config, pass) =>
    compose(
      stem(pass, 'transformer.wte'),
      mapLayers(config.numLayers, (i) => block(pass, layer(config, pass, i))),
    ),
  narrows: true,
  tail: (config) => layerNorm('transformer.norm_f', config.layerNormEps),
  loraTargets: () => ['Wqkv'],
};
