/** Solar Open: Llama's attention, and GLM-4.5's mixture in all layers. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { correctedNames, groupedFamily } from './groupedRouting.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig } from './mixture.js';

const expertSize = 1280;

export const solarOpen = mixtureArchitecture<MixtureConfig>({
  name: 'solar_open',
  modelTypes: ['solar_open'],
  names: correctedNames,
  config: (raw, modelType) =>
    pipe(
      groupedFamily(raw, {
        numExperts: 128,
        perToken: 8,
        numShared: 1,
        expertSize,
        scores: 'sigmoid',
        llama: {
          headDim: 128,
          numKvHeads: 8,
          maxPositions: 131_072,
          rmsNormEps: 1e-5,
          rope: { theta: 1e6 },
        },
        only: { first_k_dense_replace: 0, use_qk_norm: false },
      }),
      // No layer has a plain MLP, whose width files may leave out.
      E.flatMap((family) =>
        mixtureConfig({ ...raw, intermediate_size: raw['intermediate_size'] ?? expertSize }, modelType, family),
      ),
      E.map((config) => ({ ...config, architecture: 'solar_open', raw, outputBias: false })),
    ),
});
