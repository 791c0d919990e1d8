/** Helium: Llama whose queries and keys turn in pairs that lie beside each other. */
import * as E from 'fp-ts/lib/Either.js';
import type { Architecture } from '../architecture.js';
import { rotaryBody } from '../layers/blocks.js';
import { llama, llamaConfig, llamaLayer, llamaStem } from './llama.js';
import type { LlamaConfig } from './llama.js';

export const helium: Architecture<LlamaConfig> = {
  ...llama,
  name: 'helium',
  modelTypes: ['helium'],
  config: (raw, modelType) =>
    E.Functor.map(
      llamaConfig(raw, modelType, {
        headDim: 128,
        numKvHeads: 20,
        maxPositions: 4096,
        rmsNormEps: 1e-8,
        rope: { theta: 100_000 },
      }),
      (config) => ({ ...config, architecture: 'helium', outputBias: false }),
    ),
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) =>
      llamaLayer(config, pass, angles, i, { interleaved: true }),
    ),
};
