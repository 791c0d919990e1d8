/** OPT: learned positions from row 2 on, norms before each block; opt-350m norms after and embeds at a smaller width. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { attention, plainHeads } from '../attention/attention.js';
import {
  activation as activationField,
  boolean,
  decodeFields,
  headsOf,
  layerCount,
  namedTokenIds,
  optional,
  positiveInteger,
  rate,
  tokenIds,
  unfit,
} from '../config.js';
import type { ModelConfig } from '../config.js';
import type { ActivationKind } from '../kernels/activation.js';
import { dropout } from '../layers/dropout.js';
import { positionEmbedding, tokenEmbedding } from '../layers/embedding.js';
import { compose, fanOut, identity, mapLayers, residual, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { queryKeyValue } from '../layers/linears.js';
import { plainMlp } from '../layers/mlp.js';
import { neftune } from '../layers/neftune.js';
import { layerNorm } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { block } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';

export interface OptConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly embeddingSize: number;
  readonly activation: ActivationKind;
  readonly dropout: number;
  readonly bias: boolean;
  /** Norms before their blocks; else after each sum (opt-350m). */
  readonly normBefore: boolean;
  readonly finalNorm: boolean;
}

const fields = t.type({
  vocab_size: positiveInteger,
  max_position_embeddings: positiveInteger,
  hidden_size: positiveInteger,
  ffn_dim: positiveInteger,
  num_hidden_layers: layerCount,
  num_attention_heads: positiveInteger,
  word_embed_proj_dim: optional(positiveInteger),
  do_layer_norm_before: optional(boolean),
  _remove_final_layer_norm: optional(boolean),
  layer_norm_elementwise_affine: optional(boolean),
  enable_bias: optional(boolean),
  activation_function: optional(activationField),
  dropout: optional(rate),
  attention_dropout: optional(rate),
  layerdrop: optional(rate),
  tie_word_embeddings: optional(boolean),
  ...tokenIds,
});

const decoder = 'model.decoder';
/** Of all norms. */
export const optEps = 1e-5;
/** The position table begins with two rows that no real token uses. */
export const positionOffset = 2;

/** What a layer reads of a configuration. */
export type OptLayer = Pick<
  OptConfig,
  | 'numLayers'
  | 'numHeads'
  | 'numKvHeads'
  | 'headDim'
  | 'hiddenSize'
  | 'intermediateSize'
  | 'activation'
  | 'dropout'
  | 'bias'
  | 'normBefore'
>;

const selfAttention = (config: OptLayer, pass: Pass, i: number, root: string): Layer<Tensor, Tensor> => {
  const module = `${root}.layers.${i}.self_attn`;
  return compose(
    queryKeyValue(pass, module),
    attention(pass, plainHeads(config, i)),
    compose(narrowing(pass, i, config.numLayers), linear(pass, { module: `${module}.out_proj` })),
    dropout(pass, `${module}.dropout`, config.dropout),
  );
};

const mlp = (config: OptLayer, pass: Pass, i: number, root: string): Layer<Tensor, Tensor> => {
  const module = `${root}.layers.${i}`;
  return compose(
    plainMlp(pass, config.activation, { up: `${module}.fc1`, down: `${module}.fc2` }),
    dropout(pass, `${module}.dropout`, config.dropout),
  );
};

/** Layer `i` of those in the module `root`, [N, hiddenSize] to the same. */
export const optLayer = (config: OptLayer, pass: Pass, i: number, root = decoder): Layer<Tensor, Tensor> => {
  // A norm after the addition makes the stream itself.
  const flows = { flows: config.normBefore };
  const attentionNorm = layerNorm(`${root}.layers.${i}.self_attn_layer_norm`, optEps, flows);
  const mlpNorm = layerNorm(`${root}.layers.${i}.final_layer_norm`, optEps, flows);
  const attended = selfAttention(config, pass, i, root);
  const after = mlp(config, pass, i, root);
  const straight = narrowing(pass, i, config.numLayers);
  return config.normBefore
    ? compose(residual(compose(attentionNorm, attended), straight), residual(compose(mlpNorm, after)))
    : compose(residual(attended, straight), attentionNorm, residual(after), mlpNorm);
};

/** Its tensors. */
export const optLayerSpecs = (
  { hiddenSize, intermediateSize, bias }: OptLayer,
  i: number,
  root = decoder,
): ReadonlyArray<TensorSpec> => [
  ...linearSpec(`${root}.layers.${i}.self_attn.k_proj`, hiddenSize, hiddenSize, bias),
  ...linearSpec(`${root}.layers.${i}.self_attn.v_proj`, hiddenSize, hiddenSize, bias),
  ...linearSpec(`${root}.layers.${i}.self_attn.q_proj`, hiddenSize, hiddenSize, bias),
  ...linearSpec(`${root}.layers.${i}.self_attn.out_proj`, hiddenSize, hiddenSize, bias),
  ...layerNormSpec(`${root}.layers.${i}.self_attn_layer_norm`, hiddenSize),
  ...linearSpec(`${root}.layers.${i}.fc1`, intermediateSize, hiddenSize, bias),
  ...linearSpec(`${root}.layers.${i}.fc2`, hiddenSize, intermediateSize, bias),
  ...layerNormSpec(`${root}.layers.${i}.final_layer_norm`, hiddenSize),
];

export const opt: Architecture<OptConfig> = {
  name: 'opt',
  modelTypes: ['opt'],
  config: (raw, modelType) =>
    pipe(
      E.Do,
      E.bind('f', () => decodeFields(fields)(raw)),
      E.bind('heads', ({ f }) => headsOf({ hiddenSize: f.hidden_size, numHeads: f.num_attention_heads })),
      E.filterOrElse(
        ({ f }) => f.layer_norm_elementwise_affine ?? true,
        () => unfit('layer_norm_elementwise_affine', 'true', false),
      ),
      E.filterOrElse(
        ({ f }) => (f.layerdrop ?? 0) === 0,
        ({ f }) => unfit('layerdrop', '0: no layer is left out while training', f.layerdrop),
      ),
      E.map(({ f, heads }) => ({
        architecture: 'opt',
        modelType,
        vocabSize: f.vocab_size,
        hiddenSize: f.hidden_size,
        numLayers: f.num_hidden_layers,
        ...heads,
        maxPositions: f.max_position_embeddings,
        tieWordEmbeddings: f.tie_word_embeddings ?? true,
        embeddingSize: f.word_embed_proj_dim ?? f.hidden_size,
        ...namedTokenIds(f),
        raw,
        intermediateSize: f.ffn_dim,
        activation: f.activation_function ?? 'relu',
        dropout: f.dropout ?? 0.1,
        attentionDropout: f.attention_dropout ?? 0,
        bias: f.enable_bias ?? true,
        normBefore: f.do_layer_norm_before ?? true,
        finalNorm: (f.do_layer_norm_before ?? true) && !(f._remove_final_layer_norm ?? false),
      })),
    ),
  tensors: (config) => {
    const { vocabSize, maxPositions, hiddenSize, embeddingSize, numLayers } = config;
    const projects = embeddingSize !== hiddenSize;
    return [
      embeddingSpec(`${decoder}.embed_tokens`, vocabSize, embeddingSize),
      embeddingSpec(`${decoder}.embed_positions`, maxPositions + positionOffset, hiddenSize),
      ...(projects ? linearSpec(`${decoder}.project_out`, embeddingSize, hiddenSize, false) : []),
      ...(projects ? linearSpec(`${decoder}.project_in`, hiddenSize, embeddingSize, false) : []),
      ...(config.finalNorm ? layerNormSpec(`${decoder}.final_layer_norm`, hiddenSize) : []),
      ...perLayer(numLayers, (i) => optLayerSpecs(config, i)),
      ...headSpec(config.tieWordEmbeddings, vocabSize, embeddingSize),
    ];
  },
  basePrefix: 'model.',
  embedding: `${decoder}.embed_tokens`,
  body: (config, pass) =>
    compose(
      fanOut(
        compose(
          tokenEmbedding(pass, `${decoder}.embed_tokens`),
          neftune(pass),
          config.embeddingSize === config.hiddenSize ? identity : linear(pass, { module: `${decoder}.project_in` }),
        ),
        positionEmbedding(pass, `${decoder}.embed_positions`, positionOffset),
      ),
      total,
      mapLayers(config.numLayers, (i) => block(pass, optLayer(config, pass, i))),
    ),
  narrows: true,
  tail: (config, pass) =>
    compose(
      config.finalNorm ? layerNorm(`${decoder}.final_layer_norm`, optEps) : identity,
      config.embeddingSize === config.hiddenSize ? identity : linear(pass, { module: `${decoder}.project_out` }),
    ),
  loraTargets: () => ['q_proj', 'v_proj'],
};
