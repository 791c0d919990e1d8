/** GPT-J: attention and MLP side by side from one layer norm; part of each head turns, in pairs beside each other. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import { rotaryAttention } from '../attention/rotaryAttention.js';
import { decodeFields, onlyAs, optional, positiveInteger, unfit } from '../config.js';
import { rotaryBody, sideBySide, stem } from '../layers/blocks.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { queryKeyValue } from '../layers/linears.js';
import { plainMlp } from '../layers/mlp.js';
import { layerNorm } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, layerNormSpec, linearSpec, perLayer, queryKeyValueSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { gptConfig, gptFields } from './gptConfig.js';
import type { GptConfig } from './gptConfig.js';

export interface GptjConfig extends GptConfig {
  readonly rope: RopeConfig;
}

const fields = t.type({ ...gptFields, rotary_dim: optional(positiveInteger) });

/** How models that are built so make queries, keys and values: the maps of an attention module. */
interface GptjProjections {
  /** Tensors of the module. */
  readonly specs: (config: GptjConfig, module: string) => ReadonlyArray<TensorSpec>;
  /** [N, C] to [q, k, v]. */
  readonly project: (config: GptjConfig, pass: Pass, module: string) => Layer<Tensor, ReadonlyArray<Tensor>>;
}

const layer = (
  config: GptjConfig,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
  { project }: GptjProjections,
): Layer<Tensor, Tensor> => {
  const { numLayers, residualDropout } = config;
  const module = `transformer.h.${i}`;
  const attention = rotaryAttention(config, pass, {
    layer: i,
    angles,
    project: project(config, pass, `${module}.attn`),
    interleaved: true,
    output: compose(
      linear(pass, { module: `${module}.attn.out_proj` }),
      dropout(pass, `${module}.attn.resid_dropout`, residualDropout),
    ),
  });
  const mlp = compose(
    plainMlp(pass, config.activation, { up: `${module}.mlp.fc_in`, down: `${module}.mlp.fc_out` }),
    dropout(pass, `${module}.mlp.dropout`, residualDropout),
  );
  return sideBySide({ pass, i, numLayers }, attention, mlp, {
    norm: layerNorm(`${module}.ln_1`, config.layerNormEps),
  });
};

/** An architecture of GPT-J's parts. */
export const gptjLike = (
  projections: GptjProjections,
  own: Pick<Architecture<GptjConfig>, 'name' | 'modelTypes' | 'loraTargets'> & Partial<Architecture<GptjConfig>>,
): Architecture<GptjConfig> => ({
  config: (raw, modelType) =>
    pipe(
      // There is no scaling, nor another base.
      onlyAs({ rope_scaling: null, rope_parameters: null })(raw),
      E.flatMap(decodeFields(fields)),
      E.bindTo('f'),
      E.bind('gpt', ({ f }) => gptConfig(f, { maxPositions: 2048, dropout: 0, tied: false })),
      E.let('rotaryDim', ({ f }) => f.rotary_dim ?? 64),
      E.filterOrElse(
        ({ rotaryDim, gpt: { headDim } }) => rotaryDim % 2 === 0 && rotaryDim <= headDim,
        ({ rotaryDim, gpt: { headDim } }) => unfit('rotary_dim', `an even number ≤ ${headDim}`, rotaryDim),
      ),
      E.map(({ gpt, rotaryDim }) => ({
        ...gpt,
        architecture: own.name,
        modelType,
        raw,
        rope: { theta: 10_000, rotaryDim, maxPositions: gpt.maxPositions, scaling: { kind: 'default' } },
      })),
    ),
  tensors: (config) => {
    const { vocabSize, hiddenSize, innerSize, numLayers } = config;
    return [
      embeddingSpec('transformer.wte', vocabSize, hiddenSize),
      ...perLayer(numLayers, (i) => [
        ...layerNormSpec(`transformer.h.${i}.ln_1`, hiddenSize),
        ...projections.specs(config, `transformer.h.${i}.attn`),
        ...linearSpec(`transformer.h.${i}.attn.out_proj`, hiddenSize, hiddenSize, false),
        ...linearSpec(`transformer.h.${i}.mlp.fc_in`, innerSize, hiddenSize, true),
        ...linearSpec(`transformer.h.${i}.mlp.fc_out`, hiddenSize, innerSize, true),
      ]),
      ...layerNormSpec('transformer.ln_f', hiddenSize),
      ...headSpec(config.tieWordEmbeddings, vocabSize, hiddenSize, true),
    ];
  },
  basePrefix: 'transformer.',
  buffers: /\.attn\.(?:bias|masked_bias|embed_positions)$/,
  embedding: 'transformer.wte',
  body: (config, pass) =>
    rotaryBody(
      config,
      pass,
      stem(pass, 'transformer.wte', { site: 'transformer.drop', rate: config.embeddingDropout }),
      (angles, i) => layer(config, pass, angles, i, projections),
    ),
  narrows: true,
  tail: (config) => layerNorm('transformer.ln_f', config.layerNormEps),
  ...own,
});

export const gptj = gptjLike(
  {
    specs: (config, module) => queryKeyValueSpec(module, config, false),
    project: (_config, pass, module) => queryKeyValue(pass, module),
  },
  { name: 'gptj', modelTypes: ['gptj'], loraTargets: () => ['q_proj', 'v_proj'] },
);
