/** BioGPT: OPT's layers and learned positions, embeddings made larger as XGLM's. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import {
  activation,
  boolean,
  decodeFields,
  headsOf,
  layerCount,
  namedTokenIds,
  onlyAs,
  optional,
  positiveInteger,
  rate,
  tokenIds,
} from '../config.js';
import { dropout } from '../layers/dropout.js';
import { positionEmbedding, tokenEmbedding } from '../layers/embedding.js';
import { compose, fanOut, mapLayers, total } from '../layers/layer.js';
import { neftune } from '../layers/neftune.js';
import { layerNorm } from '../layers/norm.js';
import { scaled } from '../layers/scaled.js';
import { block } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, perLayer } from '../weights.js';
import { optEps, optLayer, optLayerSpecs, positionOffset } from './opt.js';
import type { XglmConfig } from './xglm.js';

const fields = t.type({
  vocab_size: positiveInteger,
  max_position_embeddings: optional(positiveInteger),
  hidden_size: positiveInteger,
  intermediate_size: positiveInteger,
  num_hidden_layers: layerCount,
  num_attention_heads: positiveInteger,
  hidden_act: optional(activation),
  hidden_dropout_prob: optional(rate),
  attention_probs_dropout_prob: optional(rate),
  scale_embedding: optional(boolean),
  tie_word_embeddings: optional(boolean),
  ...tokenIds,
});

const root = 'biogpt';

export const biogpt: Architecture<XglmConfig> = {
  name: 'biogpt',
  modelTypes: ['biogpt'],
  config: (raw, modelType) =>
    pipe(
      onlyAs({ activation_dropout: 0, layerdrop: 0 })(raw),
      E.flatMap(decodeFields(fields)),
      E.bindTo('f'),
      E.bind('heads', ({ f }) => headsOf({ hiddenSize: f.hidden_size, numHeads: f.num_attention_heads })),
      E.map(({ f, heads }) => ({
        architecture: 'biogpt',
        modelType,
        vocabSize: f.vocab_size,
        hiddenSize: f.hidden_size,
        numLayers: f.num_hidden_layers,
        ...heads,
        maxPositions: f.max_position_embeddings ?? 1024,
        tieWordEmbeddings: f.tie_word_embeddings ?? true,
        ...namedTokenIds(f),
        raw,
        intermediateSize: f.intermediate_size,
        activation: f.hidden_act ?? 'gelu',
        dropout: f.hidden_dropout_prob ?? 0.1,
        attentionDropout: f.attention_probs_dropout_prob ?? 0.1,
        bias: true,
        normBefore: true,
        embeddingScale: (f.scale_embedding ?? true) ? Math.sqrt(f.hidden_size) : 1,
      })),
    ),
  tensors: (config) => [
    embeddingSpec(`${root}.embed_tokens`, config.vocabSize, config.hiddenSize),
    embeddingSpec(`${root}.embed_positions`, config.maxPositions + positionOffset, config.hiddenSize),
    ...perLayer(config.numLayers, (i) => optLayerSpecs(config, i, root)),
    ...layerNormSpec(`${root}.layer_norm`, config.hiddenSize),
    ...headSpec(config.tieWordEmbeddings, config.vocabSize, config.hiddenSize),
  ],
  basePrefix: `${root}.`,
  storedHead: 'output_projection',
  embedding: `${root}.embed_tokens`,
  body: (config, pass) =>
    compose(
      fanOut(
        compose(tokenEmbedding(pass, `${root}.embed_tokens`), scaled(config.embeddingScale), neftune(pass)),
        positionEmbedding(pass, `${root}.embed_positions`, positionOffset),
      ),
      total,
      dropout(pass, `${root}.dropout`, config.dropout),
      mapLayers(config.numLayers, (i) => block(pass, optLayer(config, pass, i, root))),
    ),
  narrows: true,
  tail: () => layerNorm(`${root}.layer_norm`, optEps),
  loraTargets: () => ['q_proj', 'v_proj'],
};
