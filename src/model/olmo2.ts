/** OLMo 2: Llama with norms behind attention and MLP in place of before them, and on queries and keys over their whole width. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from './architecture.js';
import { inTurn, rotaryBody } from './blocks.js';
import { onlyAs } from './config.js';
import { compose } from './layer.js';
import type { Layer } from './layer.js';
import { llama, llamaConfig, llamaStem, llamaTensors, mlp, norm, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';
import type { Pass } from './pass.js';
import type { RotaryAngles } from './rope.js';
import { perLayer, rmsNormSpec } from './weights.js';

const layer = (config: LlamaConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const normed = (name: string): Layer<Tensor, Tensor> => norm(config, `model.layers.${i}.${name}`);
  const parts = { queries: normed('self_attn.q_norm'), keys: normed('self_attn.k_norm') };
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(selfAttention(config, pass, angles, i, parts), normed('post_attention_layernorm')),
    compose(mlp(config, pass, i), normed('post_feedforward_layernorm')),
  );
};

export const olmo2: Architecture<LlamaConfig> = {
  ...llama,
  name: 'olmo2',
  modelTypes: ['olmo2'],
  config: (raw, modelType) =>
    pipe(
      onlyAs({ mlp_bias: false, clip_qkv: null })(raw),
      E.flatMap(() => llamaConfig(raw, modelType, { rmsNormEps: 1e-5 })),
      E.map((config) => ({ ...config, architecture: 'olmo2' })),
    ),
  tensors: (config) => [
    ...llamaTensors(config).filter(({ name }) => !name.endsWith('.input_layernorm.weight')),
    ...perLayer(config.numLayers, (i) => [
      rmsNormSpec(`model.layers.${i}.self_attn.q_norm`, config.numHeads * config.headDim),
      rmsNormSpec(`model.layers.${i}.self_attn.k_norm`, config.numKvHeads * config.headDim),
      rmsNormSpec(`model.layers.${i}.post_feedforward_layernorm`, config.hiddenSize),
    ]),
  ],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => layer(config, pass, angles, i)),
};
