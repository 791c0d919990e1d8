/** Phi-3, 3.5 and 4: Llama with queries, keys and values of one matrix, gate and up of another, and angles of two kinds (LongRoPE). */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { optional, rate, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { splitColumns } from '../layers/columns.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { joinedMlp } from '../layers/mlp.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, norm, selfAttention, windowEverywhere } from './llama.js';
import type { LlamaConfig } from './llama.js';

export interface Phi3Config extends LlamaConfig {
  readonly residualDropout: number;
}

const fields = t.type({ resid_pdrop: optional(rate) });

/** Fields of the models' own code that transformers passes over. */
const passedOver = { attention_bias: false, mlp_bias: false, lm_head_bias: false, embd_pdrop: 0 };

const phi3Config = (raw: RawConfig, modelType: string): E.Either<FatalError, Phi3Config> =>
  pipe(
    llamaConfigWith(raw, modelType, {
      fields,
      only: passedOver,
      family: {
        maxPositions: 4096,
        rmsNormEps: 1e-5,
        windows: windowEverywhere(0),
        partial: true,
        // The first files call it by the name of another one.
        rope: { originalMaxPositions: 4096, scalingNames: { yarn: 'longrope' } },
      },
    }),
    E.filterOrElse(
      ({ config: { rope } }) => rope.scaling.kind === 'default' || rope.scaling.kind === 'longrope',
      ({ config: { rope } }) => unfit('rope_scaling.rope_type', 'default or longrope', rope.scaling.kind),
    ),
    E.map(({ f, config }) => ({ ...config, architecture: 'phi3', residualDropout: f.resid_pdrop ?? 0 })),
  );

const layer = (config: Phi3Config, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const { numLayers, numHeads, numKvHeads, headDim, intermediateSize: width, residualDropout } = config;
  const module = `model.layers.${i}`;
  const dropped = (site: string): Layer<Tensor, Tensor> => dropout(pass, `${module}.${site}`, residualDropout);
  const project = compose(
    linear(pass, { module: `${module}.self_attn.qkv_proj` }),
    splitColumns([numHeads, numKvHeads, numKvHeads].map((heads) => heads * headDim)),
  );
  const mlp = joinedMlp(pass, config.activation, `${module}.mlp`, width);
  return inTurn(
    { pass, i, numLayers },
    compose(
      norm(config, `${module}.input_layernorm`),
      selfAttention(config, pass, angles, i, { project }),
      dropped('resid_attn_dropout'),
    ),
    compose(norm(config, `${module}.post_attention_layernorm`), mlp, dropped('resid_mlp_dropout')),
  );
};

export const phi3: Architecture<Phi3Config> = {
  ...llama,
  name: 'phi3',
  modelTypes: ['phi3'],
  config: phi3Config,
  tensors: ({ vocabSize, hiddenSize, intermediateSize, numLayers, numHeads, numKvHeads, headDim, ...config }) => [
    embeddingSpec('model.embed_tokens', vocabSize, hiddenSize),
    ...perLayer(numLayers, (i) => [
      ...linearSpec(`model.layers.${i}.self_attn.o_proj`, hiddenSize, numHeads * headDim, false),
      ...linearSpec(`model.layers.${i}.self_attn.qkv_proj`, (numHeads + 2 * numKvHeads) * headDim, hiddenSize, false),
      ...linearSpec(`model.layers.${i}.mlp.gate_up_proj`, 2 * intermediateSize, hiddenSize, false),
      ...linearSpec(`model.layers.${i}.mlp.down_proj`, hiddenSize, intermediateSize, false),
      rmsNormSpec(`model.layers.${i}.input_layernorm`, hiddenSize),
      rmsNormSpec(`model.layers.${i}.post_attention_layernorm`, hiddenSize),
    ]),
    rmsNormSpec('model.norm', hiddenSize),
    ...headSpec(config.tieWordEmbeddings, vocabSize, hiddenSize),
  ],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => layer(config, pass, angles, i)),
  loraTargets: () => ['qkv_proj'],
};
