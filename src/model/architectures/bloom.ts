/** BLOOM: no positions but ALiBi's biases on scores, a norm behind the embedding, queries, keys and values of one matrix head by head. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { attention, plainHeads } from '../attention/attention.js';
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
import type { ModelConfig } from '../config.js';
import { inTurn, stem } from '../layers/blocks.js';
import { splitGroups } from '../layers/columns.js';
import { dropout } from '../layers/dropout.js';
import { compose, mapLayers } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { plainMlp } from '../layers/mlp.js';
import { layerNorm } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import { block } from '../pass.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer } from '../weights.js';

export interface BloomConfig extends ModelConfig {
  readonly layerNormEps: number;
  /** On what attention and MLP add. */
  readonly hiddenDropout: number;
}

const fields = t.type({
  vocab_size: positiveInteger,
  hidden_size: optional(positiveInteger),
  n_embed: optional(positiveInteger),
  n_layer: optional(layerCount),
  num_hidden_layers: optional(layerCount),
  n_head: optional(positiveInteger),
  num_attention_heads: optional(positiveInteger),
  seq_length: optional(positiveInteger),
  layer_norm_epsilon: optional(positive),
  hidden_dropout: optional(rate),
  attention_dropout: optional(rate),
  tie_word_embeddings: optional(boolean),
  ...tokenIds,
});

const table = 'transformer.word_embeddings';

const layer = (config: BloomConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const { numLayers, numHeads, headDim, layerNormEps, hiddenDropout } = config;
  const module = `transformer.h.${i}`;
  const normed = (name: string): Layer<Tensor, Tensor> => layerNorm(`${module}.${name}`, layerNormEps);
  const dropped = (site: string): Layer<Tensor, Tensor> => dropout(pass, `${module}.${site}`, hiddenDropout);
  const attended = compose(
    linear(pass, { module: `${module}.self_attention.query_key_value` }),
    splitGroups(numHeads, [headDim, headDim, headDim]),
    attention(pass, { ...plainHeads(config, i), alibi: 1 }),
    compose(narrowing(pass, i, numLayers), linear(pass, { module: `${module}.self_attention.dense` })),
  );
  const mlp = plainMlp(pass, 'gelu_new', {
    up: `${module}.mlp.dense_h_to_4h`,
    down: `${module}.mlp.dense_4h_to_h`,
  });
  return inTurn(
    { pass, i, numLayers },
    compose(normed('input_layernorm'), attended, dropped('attention_dropout')),
    compose(normed('post_attention_layernorm'), mlp, dropped('mlp_dropout')),
  );
};

export const bloom: Architecture<BloomConfig> = {
  name: 'bloom',
  modelTypes: ['bloom'],
  config: (raw, modelType) =>
    pipe(
      onlyAs({ apply_residual_connection_post_layernorm: false })(raw),
      E.flatMap(decodeFields(fields)),
      E.bindTo('f'),
      E.let('hiddenSize', ({ f }) => f.n_embed ?? f.hidden_size ?? 64),
      E.bind('heads', ({ f, hiddenSize }) =>
        headsOf({ hiddenSize, numHeads: f.n_head ?? f.num_attention_heads ?? 8, names: { numHeads: 'n_head' } }),
      ),
      E.map(({ f, heads, hiddenSize }) => ({
        architecture: 'bloom',
        modelType,
        vocabSize: f.vocab_size,
        hiddenSize,
        numLayers: f.n_layer ?? f.num_hidden_layers ?? 2,
        attentionDropout: f.attention_dropout ?? 0,
        tieWordEmbeddings: f.tie_word_embeddings ?? true,
        ...namedTokenIds(f),
        ...heads,
        // It has no positions that could run out; transformers does not say either.
        maxPositions: f.seq_length ?? 2048,
        raw,
        layerNormEps: f.layer_norm_epsilon ?? 1e-5,
        hiddenDropout: f.hidden_dropout ?? 0,
      })),
    ),
  tensors: ({ vocabSize, hiddenSize, numLayers, tieWordEmbeddings }) => [
    embeddingSpec(table, vocabSize, hiddenSize),
    ...layerNormSpec(`${table}_layernorm`, hiddenSize),
    ...perLayer(numLayers, (i) => [
      ...linearSpec(`transformer.h.${i}.self_attention.query_key_value`, 3 * hiddenSize, hiddenSize, true),
      ...linearSpec(`transformer.h.${i}.self_attention.dense`, hiddenSize, hiddenSize, true),
      ...linearSpec(`transformer.h.${i}.mlp.dense_h_to_4h`, 4 * hiddenSize, hiddenSize, true),
      ...linearSpec(`transformer.h.${i}.mlp.dense_4h_to_h`, hiddenSize, 4 * hiddenSize, true),
      ...layerNormSpec(`transformer.h.${i}.input_layernorm`, hiddenSize),
      ...layerNormSpec(`transformer.h.${i}.post_attention_layernorm`, hiddenSize),
    ]),
    ...layerNormSpec('transformer.ln_f', hiddenSize),
    ...headSpec(tieWordEmbeddings, vocabSize, hiddenSize),
  ],
  basePrefix: 'transformer.',
  embedding: table,
  body: (config, pass) =>
    compose(
      stem(pass, table),
      layerNorm(`${table}_layernorm`, config.layerNormEps, { flows: false }),
      mapLayers(config.numLayers, (i) => block(pass, layer(config, pass, i))),
    ),
  narrows: true,
  tail: (config) => layerNorm('transformer.ln_f', config.layerNormEps),
  loraTargets: () => ['query_key_value'],
};
