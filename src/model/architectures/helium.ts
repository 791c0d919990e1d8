/** Helium: Llama whose queries and keys turn in pairs that lie beside each other. */
import * as E from 'fp-ts/lib/Either.js';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../architecture.js';
import { rotaryBody } from '../blocks.js';
import { pairsApart } from '../columns.js';
import type { Layer } from '../layer.js';
import { llama, llamaConfig, llamaLayer, llamaStem } from './llama.js';
import type { LlamaConfig, LlamaParts } from './llama.js';

/** Queries and keys of files that have each pair of entries side by side. */
export const inPairs = ({ numHeads, numKvHeads, headDim, rope }: LlamaConfig): LlamaParts => {
  const apart = (heads: number): Layer<Tensor, Tensor> => pairsApart({ heads, headDim, rotaryDim: rope.rotaryDim });
  return { queries: apart(numHeads), keys: apart(numKvHeads) };
};

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
      llamaLayer(config, pass, angles, i, inPairs(config)),
    ),
};
