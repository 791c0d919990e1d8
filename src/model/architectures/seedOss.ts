/** Seed-OSS: Llama with dropout on what attention and MLP add, and a field of its own for the bias of attention's output. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { boolean, optional, rate } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import { llama, llamaConfigWith, llamaStem, mlp, norm, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';

export interface SeedOssConfig extends LlamaConfig {
  readonly residualDropout: number;
}

const fields = t.type({
  attention_bias: optional(boolean),
  attention_out_bias: optional(boolean),
  attention_dropout: optional(rate),
  residual_dropout: optional(rate),
});

const layer = (config: SeedOssConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const module = `model.layers.${i}`;
  const dropped = (site: string): Layer<Tensor, Tensor> => dropout(pass, `${module}.${site}`, config.residualDropout);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(
      norm(config, `${module}.input_layernorm`),
      selfAttention(config, pass, angles, i),
      dropped('self_attn.residual_dropout'),
    ),
    compose(norm(config, `${module}.post_attention_layernorm`), mlp(config, pass, i), dropped('mlp.residual_dropout')),
  );
};

export const seedOss: Architecture<SeedOssConfig> = {
  ...llama,
  name: 'seed_oss',
  modelTypes: ['seed_oss'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, {
        fields,
        family: { numKvHeads: 8, headDim: 128, maxPositions: 524_288 },
      }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'seed_oss',
        qkvBias: f.attention_bias ?? true,
        outputBias: f.attention_out_bias ?? false,
        attentionDropout: f.attention_dropout ?? 0.1,
        residualDropout: f.residual_dropout ?? 0.1,
      })),
    ),
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => layer(config, pass, angles, i)),
};
