/** Mixtral: Mistral whose MLPs are experts, two of eight for each token. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { windowEverywhere } from './llama.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

export const mixtralNames: MixtureNames = { block: 'block_sparse_moe', gate: 'w1', up: 'w3', down: 'w2' };

export const mixtral = mixtureArchitecture<MixtureConfig>({
  name: 'mixtral',
  modelTypes: ['mixtral'],
  names: mixtralNames,
  config: (raw, modelType) =>
    pipe(
      mixtureConfig(raw, modelType, {
        numExperts: 8,
        perToken: 2,
        normalized: true,
        auxLossCoef: 0.001,
        llama: {
          numKvHeads: 8,
          maxPositions: 131_072,
          rmsNormEps: 1e-5,
          rope: { theta: 1e6 },
          windows: windowEverywhere(0),
        },
        only: { router_jitter_noise: 0, attention_bias: false, mlp_bias: false },
      }),
      E.map((config) => ({ ...config, architecture: 'mixtral' })),
    ),
});
