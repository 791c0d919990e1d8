/** GPT-2: learned positions, layer norms before each block, q, k and v from one Conv1D. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { joinedAttention, plainHeads } from '../attention/attention.js';
import { boolean, optional } from '../config.js';
import { gptBody } from '../layers/blocks.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { conv1dSpec } from '../weights.js';
import { gpt2Config, gptFields } from './gptConfig.js';
import type { GptConfig } from './gptConfig.js';
import { gptMlp } from './gptMlp.js';
import { gptNames, gptTensors } from './gptNames.js';

export interface Gpt2Config extends GptConfig {
  /** Scores are divided by √headDim. */
  readonly scaleAttention: boolean;
  /** Scores of layer i are divided by i + 1 too. */
  readonly scaleByLayer: boolean;
}

const fields = t.type({
  ...gptFields,
  scale_attn_weights: optional(boolean),
  scale_attn_by_inverse_layer_idx: optional(boolean),
});

const selfAttention = (config: Gpt2Config, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const { numLayers, headDim, scaleAttention, scaleByLayer, residualDropout } = config;
  const module = `transformer.h.${i}.attn`;
  return compose(
    linear(pass, { module: `${module}.c_attn`, transposed: true }),
    joinedAttention(pass, {
      ...plainHeads(config, i),
      scale: (scaleAttention ? 1 / Math.sqrt(headDim) : 1) / (scaleByLayer ? i + 1 : 1),
    }),
    compose(
      narrowing(pass, i, numLayers),
      linear(pass, { module: `${module}.c_proj`, transposed: true }),
      dropout(pass, `${module}.resid_dropout`, residualDropout),
    ),
  );
};

export const gpt2: Architecture<Gpt2Config> = {
  name: 'gpt2',
  modelTypes: ['gpt2'],
  // GPT-SW3 may call itself so; transformers knows it as what it is.
  textTypes: ['gpt-sw3'],
  ...gptNames,
  config: (raw, modelType) =>
    pipe(
      gpt2Config(fields)(raw),
      E.map(({ f, gpt }) => ({
        ...gpt,
        architecture: 'gpt2',
        modelType,
        raw,
        scaleAttention: f.scale_attn_weights ?? true,
        scaleByLayer: f.scale_attn_by_inverse_layer_idx ?? false,
      })),
    ),
  tensors: gptTensors(conv1dSpec),
  body: (config, pass) =>
    gptBody(
      config,
      pass,
      (i) => selfAttention(config, pass, i),
      (i) => gptMlp(config, pass, i, true),
    ),
};
