/** GPT-Neo: GPT-2's blocks with separate projections, unscaled scores, and layers that see only a window by turns. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
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
  positive,
  positiveInteger,
  rate,
  tokenIds,
  unfit,
} from '../config.js';
import type { ModelConfig } from '../config.js';
import type { ActivationKind } from '../kernels/activation.js';
import { gptBody } from '../layers/blocks.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { queryKeyValue } from '../layers/linears.js';
import { layerNorm } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer } from '../weights.js';
import { gptMlp } from './gptMlp.js';

export interface GptNeoConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly activation: ActivationKind;
  readonly layerNormEps: number;
  readonly embeddingDropout: number;
  readonly residualDropout: number;
  /** One a layer: how many tokens back it sees, itself included; 0 sees all. */
  readonly windows: ReadonlyArray<number>;
}

const fields = t.type({
  vocab_size: positiveInteger,
  max_position_embeddings: positiveInteger,
  hidden_size: positiveInteger,
  num_layers: layerCount,
  num_heads: positiveInteger,
  intermediate_size: optional(positiveInteger),
  window_size: optional(positiveInteger),
  attention_types: optional(t.array(t.tuple([t.array(t.keyof({ global: null, local: null })), layerCount]))),
  activation_function: optional(activationField),
  layer_norm_epsilon: optional(positive),
  embed_dropout: optional(rate),
  resid_dropout: optional(rate),
  attention_dropout: optional(rate),
  tie_word_embeddings: optional(boolean),
  ...tokenIds,
});

/** [[["global", "local"], 6]]: the list six times over. */
const windowsOf = (f: t.TypeOf<typeof fields>): E.Either<FatalError, ReadonlyArray<number>> => {
  const types = f.attention_types ?? [[['global', 'local'] as const, f.num_layers / 2] as const];
  const kinds = types.flatMap(([turn, times]) => Array.from({ length: times }, () => turn).flat());
  return kinds.length === f.num_layers
    ? E.right(kinds.map((kind) => (kind === 'local' ? (f.window_size ?? 256) : 0)))
    : E.left(unfit('attention_types', `kinds for ${f.num_layers} layers`, f.attention_types));
};

const selfAttention = (config: GptNeoConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const module = `transformer.h.${i}.attn.attention`;
  return compose(
    queryKeyValue(pass, module),
    attention(pass, { ...plainHeads(config, i), scale: 1, window: config.windows[i] ?? 0 }),
    compose(narrowing(pass, i, config.numLayers), linear(pass, { module: `${module}.out_proj` })),
    dropout(pass, `${module}.resid_dropout`, config.residualDropout),
  );
};

export const gptNeo: Architecture<GptNeoConfig> = {
  name: 'gpt_neo',
  modelTypes: ['gpt_neo'],
  config: (raw, modelType) =>
    pipe(
      E.Do,
      E.bind('f', () => decodeFields(fields)(raw)),
      E.bind('heads', ({ f }) =>
        headsOf({ hiddenSize: f.hidden_size, numHeads: f.num_heads, names: { numHeads: 'num_heads' } }),
      ),
      E.bind('windows', ({ f }) => windowsOf(f)),
      E.map(({ f, heads, windows }) => ({
        architecture: 'gpt_neo',
        modelType,
        vocabSize: f.vocab_size,
        hiddenSize: f.hidden_size,
        numLayers: f.num_layers,
        ...heads,
        maxPositions: f.max_position_embeddings,
        tieWordEmbeddings: f.tie_word_embeddings ?? true,
        ...namedTokenIds(f),
        raw,
        intermediateSize: f.intermediate_size ?? 4 * f.hidden_size,
        activation: f.activation_function ?? 'gelu_new',
        layerNormEps: f.layer_norm_epsilon ?? 1e-5,
        embeddingDropout: f.embed_dropout ?? 0,
        residualDropout: f.resid_dropout ?? 0,
        attentionDropout: f.attention_dropout ?? 0,
        windows,
      })),
    ),
  tensors: ({ vocabSize, maxPositions, hiddenSize, intermediateSize, numLayers, tieWordEmbeddings }) => [
    embeddingSpec('transformer.wte', vocabSize, hiddenSize),
    embeddingSpec('transformer.wpe', maxPositions, hiddenSize),
    ...perLayer(numLayers, (i) => [
      ...layerNormSpec(`transformer.h.${i}.ln_1`, hiddenSize),
      ...linearSpec(`transformer.h.${i}.attn.attention.k_proj`, hiddenSize, hiddenSize, false),
      ...linearSpec(`transformer.h.${i}.attn.attention.v_proj`, hiddenSize, hiddenSize, false),
      ...linearSpec(`transformer.h.${i}.attn.attention.q_proj`, hiddenSize, hiddenSize, false),
      ...linearSpec(`transformer.h.${i}.attn.attention.out_proj`, hiddenSize, hiddenSize, true),
      ...layerNormSpec(`transformer.h.${i}.ln_2`, hiddenSize),
      ...linearSpec(`transformer.h.${i}.mlp.c_fc`, intermediateSize, hiddenSize, true),
      ...linearSpec(`transformer.h.${i}.mlp.c_proj`, hiddenSize, intermediateSize, true),
    ]),
    ...layerNormSpec('transformer.ln_f', hiddenSize),
    ...headSpec(tieWordEmbeddings, vocabSize, hiddenSize),
  ],
  basePrefix: 'transformer.',
  buffers: /\.attn\.attention\.(?:bias|masked_bias)$/,
  embedding: 'transformer.wte',
  body: (config, pass) =>
    gptBody(
      config,
      pass,
      (i) => selfAttention(config, pass, i),
      (i) => gptMlp(config, pass, i),
    ),
  narrows: true,
  tail: (config) => layerNorm('transformer.ln_f', config.layerNormEps),
  loraTargets: () => ['q_proj', 'v_proj'],
};
