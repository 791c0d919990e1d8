/** Apertus: Arcee with norms on each head of queries and keys, and with xIELU, whose two numbers each layer trains. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { TensorToWrite } from '../../formats/tensors/safetensors.js';
import type { Architecture } from '../architecture.js';
import { onlyAs } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { xielu, xieluSpec } from '../layers/xielu.js';
import { perLayer } from '../weights.js';
import { ungatedTensors } from './arcee.js';
import { llama, llamaConfig, llamaStem, norm, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';

const actModule = (layer: number): string => `model.layers.${layer}.mlp.act_fn`;

/** What files call the norms before attention and MLP. */
const stored: Readonly<Record<string, string>> = {
  input_layernorm: 'attention_layernorm',
  post_attention_layernorm: 'feedforward_layernorm',
};

/** Numbers of the activation that do not train. */
export const xieluConstants = { beta: 0.5, eps: -1e-6 } as const;

/** The same as files have them, where transformers reads them. */
const constants = (layer: number): ReadonlyArray<TensorToWrite> =>
  Object.entries(xieluConstants).map(([name, value]) => ({
    name: `${actModule(layer)}.${name}`,
    dtype: 'F32',
    shape: [],
    data: Float32Array.of(value),
  }));

export const apertus: Architecture<LlamaConfig> = {
  ...llama,
  name: 'apertus',
  modelTypes: ['apertus'],
  config: (raw, modelType) =>
    pipe(
      onlyAs({ hidden_act: 'xielu', mlp_bias: false })(raw),
      E.flatMap(() =>
        llamaConfig({ ...raw, hidden_act: null }, modelType, {
          maxPositions: 65_536,
          rmsNormEps: 1e-5,
          headNorm: true,
          rope: {
            theta: 12e6,
            parameters: {
              rope_type: 'llama3',
              rope_theta: 12e6,
              factor: 8,
              original_max_position_embeddings: 8192,
              low_freq_factor: 1,
              high_freq_factor: 4,
            },
          },
        }),
      ),
      E.map((config) => ({ ...config, architecture: 'apertus', raw })),
    ),
  tensors: (config) => [
    ...ungatedTensors(config).map((spec) => ({
      ...spec,
      name: spec.name.replace(/(?<=\.)(?:input|post_attention)_layernorm(?=\.)/, (name) => stored[name] ?? name),
    })),
    ...perLayer(config.numLayers, (i) => xieluSpec(actModule(i))),
  ],
  buffers: /\.(?:rotary_emb\.inv_freq|act_fn\.(?:beta|eps))$/,
  fileLayout: ({ numLayers }) => ({
    read: (tensors) => E.right(tensors),
    write: (tensors) => [...tensors, ...Array.from({ length: numLayers }, (_, i) => constants(i)).flat()],
  }),
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => {
      const module = `model.layers.${i}`;
      return inTurn(
        { pass, i, numLayers: config.numLayers },
        compose(norm(config, `${module}.attention_layernorm`), selfAttention(config, pass, angles, i)),
        compose(
          norm(config, `${module}.feedforward_layernorm`),
          linear(pass, { module: `${module}.mlp.up_proj` }),
          xielu(actModule(i)),
          linear(pass, { module: `${module}.mlp.down_proj` }),
        ),
      );
    }),
};
