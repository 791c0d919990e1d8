/** Arcee (AFM): Llama whose MLPs have no gate, and square what a relu lets through. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { Architecture } from '../architecture.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { plainMlp } from '../layers/mlp.js';
import type { Pass } from '../pass.js';
import type { TensorSpec } from '../weights.js';
import { llama, llamaConfig, llamaStem, llamaTensors, norm, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';

/** Llama's tensors without gates. */
export const ungatedTensors = (config: LlamaConfig): ReadonlyArray<TensorSpec> =>
  llamaTensors(config).filter(({ name }) => !/\.mlp\.gate_proj\.(?:weight|bias)$/.test(name));

/** The MLP of layer `i` that has no gate, [N, hiddenSize] to the same. */
export const ungatedMlp = (config: LlamaConfig, pass: Pass, i: number): Layer<Tensor, Tensor> =>
  plainMlp(pass, config.activation, { up: `model.layers.${i}.mlp.up_proj`, down: `model.layers.${i}.mlp.down_proj` });

export const arcee: Architecture<LlamaConfig> = {
  ...llama,
  name: 'arcee',
  modelTypes: ['arcee'],
  config: (raw, modelType) =>
    pipe(
      llamaConfig(raw, modelType, { maxPositions: 4096, rmsNormEps: 1e-5, activation: 'relu2' }),
      E.map((config) => ({ ...config, architecture: 'arcee' })),
    ),
  tensors: ungatedTensors,
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) =>
      inTurn(
        { pass, i, numLayers: config.numLayers },
        compose(norm(config, `model.layers.${i}.input_layernorm`), selfAttention(config, pass, angles, i)),
        compose(norm(config, `model.layers.${i}.post_attention_layernorm`), ungatedMlp(config, pass, i)),
      ),
    ),
};
