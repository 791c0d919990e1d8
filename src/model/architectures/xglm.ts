/** XGLM: OPT's layers, positions that no weight tells, and embeddings made larger. */
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
  unfit,
} from '../config.js';
import type { ModelConfig } from '../config.js';
import { dropout } from '../layers/dropout.js';
import { tokenEmbedding } from '../layers/embedding.js';
import { compose, fanOut, mapLayers, total } from '../layers/layer.js';
import { neftune } from '../layers/neftune.js';
import { layerNorm } from '../layers/norm.js';
import { scaled } from '../layers/scaled.js';
import { sinusoids } from '../layers/sinusoids.js';
import { block } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, perLayer } from '../weights.js';
import { optEps, optLayer, optLayerSpecs } from './opt.js';
import type { OptLayer } from './opt.js';

export interface XglmConfig
  extends ModelConfig,
    Pick<OptLayer, 'intermediateSize' | 'activation' | 'dropout' | 'bias'> {
  readonly normBefore: true;
  /** Factor of the embeddings, a part of them. */
  readonly embeddingScale: number;
}

const fields = t.type({
  vocab_size: positiveInteger,
  max_position_embeddings: optional(positiveInteger),
  d_model: positiveInteger,
  ffn_dim: positiveInteger,
  num_layers: layerCount,
  attention_heads: positiveInteger,
  activation_function: optional(activation),
  dropout: optional(rate),
  attention_dropout: optional(rate),
  scale_embedding: optional(boolean),
  tie_word_embeddings: optional(boolean),
  ...tokenIds,
});

/** Positions are told from here on. */
const positionOffset = 2;

export const xglm: Architecture<XglmConfig> = {
  name: 'xglm',
  modelTypes: ['xglm'],
  config: (raw, modelType) =>
    pipe(
      onlyAs({ add_cross_attention: false, activation_dropout: 0, layerdrop: 0 })(raw),
      E.flatMap(decodeFields(fields)),
      E.bindTo('f'),
      E.filterOrElse(
        ({ f: { d_model: width } }) => width >= 4,
        ({ f: { d_model: width } }) => unfit('d_model', 'at least 4', width),
      ),
      E.bind('heads', ({ f }) =>
        headsOf({
          hiddenSize: f.d_model,
          numHeads: f.attention_heads,
          names: { hiddenSize: 'd_model', numHeads: 'attention_heads' },
        }),
      ),
      E.map(({ f, heads }) => ({
        architecture: 'xglm',
        modelType,
        vocabSize: f.vocab_size,
        hiddenSize: f.d_model,
        numLayers: f.num_layers,
        ...heads,
        maxPositions: f.max_position_embeddings ?? 2048,
        tieWordEmbeddings: f.tie_word_embeddings ?? true,
        ...namedTokenIds(f),
        raw,
        intermediateSize: f.ffn_dim,
        activation: f.activation_function ?? 'gelu',
        dropout: f.dropout ?? 0.1,
        attentionDropout: f.attention_dropout ?? 0.1,
        bias: true,
        normBefore: true,
        embeddingScale: (f.scale_embedding ?? true) ? Math.sqrt(f.d_model) : 1,
      })),
    ),
  tensors: (config) => [
    embeddingSpec('model.embed_tokens', config.vocabSize, config.hiddenSize),
    ...perLayer(config.numLayers, (i) => optLayerSpecs(config, i, 'model')),
    ...layerNormSpec('model.layer_norm', config.hiddenSize),
    ...headSpec(config.tieWordEmbeddings, config.vocabSize, config.hiddenSize),
  ],
  basePrefix: 'model.',
  buffers: /\.embed_positions\.weights$/,
  embedding: 'model.embed_tokens',
  body: (config, pass) =>
    compose(
      fanOut(
        compose(tokenEmbedding(pass, 'model.embed_tokens'), scaled(config.embeddingScale), neftune(pass)),
        sinusoids({ width: config.hiddenSize, offset: positionOffset, blank: config.padTokenId }),
      ),
      total,
      dropout(pass, 'model.dropout', config.dropout),
      mapLayers(config.numLayers, (i) => block(pass, optLayer(config, pass, i, 'model'))),
    ),
  narrows: true,
  tail: () => layerNorm('model.layer_norm', optEps),
  loraTargets: () => ['q_proj', 'v_proj'],
};
