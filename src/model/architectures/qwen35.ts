/** Qwen3.5, its text models: three layers of the gated delta rule and one of attention by turns. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import type { Architecture, FileLayout } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import { hybridConfig, hybridFamily, hybridMixer, hybridTensors } from './deltaNet.js';
import type { HybridConfig } from './deltaNet.js';
import { llama, llamaConfig, llamaStem, llamaTensors, mlp, norm, textPositions } from './llama.js';

/** Layers that guess tokens further ahead, which transformers does not read either. */
export const mtpTensors = /^mtp\./;

const layer = (config: HybridConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> =>
  inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(norm(config, `model.layers.${i}.input_layernorm`), hybridMixer(config, pass, angles, i)),
    compose(norm(config, `model.layers.${i}.post_attention_layernorm`), mlp(config, pass, i)),
  );

/**
 * A text model that was taken out of one that sees images, as transformers does when it is asked for one that does not: it writes the
 * names that the whole had.
 */
export const takenOut: FileLayout = {
  read: (tensors) =>
    E.right(
      new Map(Array.from(tensors, ([name, tensor]) => [name.replace(/^model\.language_model\./, 'model.'), tensor])),
    ),
  write: (tensors) => tensors,
};

export const qwen35: Architecture<HybridConfig> = {
  ...llama,
  name: 'qwen3_5',
  modelTypes: ['qwen3_5_text'],
  config: (raw, modelType) =>
    hybridConfig(raw, { architecture: 'qwen3_5', joined: false }, (plain) =>
      llamaConfig(plain, modelType, hybridFamily(4, { scalingNames: textPositions })),
    ),
  tensors: (config) => hybridTensors(config, llamaTensors(config)),
  buffers: mtpTensors,
  fileLayout: () => takenOut,
  loraTargets: () => ['q_proj', 'v_proj', 'in_proj_qkv'],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => layer(config, pass, angles, i)),
};
