/** GPT-BigCode (StarCoder, Granite code): GPT-2 with plain linear maps, whose heads share one key and value. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { attention, joinedAttention, plainHeads } from '../attention/attention.js';
import { boolean, optional } from '../config.js';
import { gptBody } from '../layers/blocks.js';
import { splitGroups } from '../layers/columns.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { linearSpec } from '../weights.js';
import { gpt2Config, gptFields } from './gptConfig.js';
import type { GptConfig } from './gptConfig.js';
import { gptMlp } from './gptMlp.js';
import { gptNames, gptTensors } from './gptNames.js';

export interface GptBigcodeConfig extends GptConfig {
  /** Scores are divided by √headDim. */
  readonly scaleAttention: boolean;
}

const fields = t.type({ ...gptFields, scale_attn_weights: optional(boolean), multi_query: optional(boolean) });

const selfAttention = (config: GptBigcodeConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const { numLayers, numHeads, numKvHeads, headDim, scaleAttention, residualDropout } = config;
  const module = `transformer.h.${i}.attn`;
  const shape = { ...plainHeads(config, i), scale: scaleAttention ? 1 / Math.sqrt(headDim) : 1 };
  // Where every head has its own key and value, its query lies beside them.
  const attended =
    numKvHeads === 1
      ? joinedAttention(pass, shape)
      : compose(splitGroups(numHeads, [headDim, headDim, headDim]), attention(pass, shape));
  return compose(
    linear(pass, { module: `${module}.c_attn` }),
    attended,
    compose(
      narrowing(pass, i, numLayers),
      linear(pass, { module: `${module}.c_proj` }),
      dropout(pass, `${module}.resid_dropout`, residualDropout),
    ),
  );
};

export const gptBigcode: Architecture<GptBigcodeConfig> = {
  name: 'gpt_bigcode',
  modelTypes: ['gpt_bigcode'],
  ...gptNames,
  config: (raw, modelType) =>
    pipe(
      gpt2Config(fields)(raw),
      E.map(({ f, gpt }) => ({
        ...gpt,
        architecture: 'gpt_bigcode',
        modelType,
        raw,
        numKvHeads: f.multi_query === false ? gpt.numHeads : 1,
        scaleAttention: f.scale_attn_weights ?? true,
      })),
    ),
  tensors: gptTensors((module, inputs, outputs) => linearSpec(module, outputs, inputs, true)),
  body: (config, pass) =>
    gptBody(
      config,
      pass,
      (i) => selfAttention(config, pass, i),
      (i) => gptMlp(config, pass, i),
    ),
};
