/** Mistral 4: latent attention whose queries grow with their positions, and a mixture with an expert that all tokens go to. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import type { RawConfig } from '../config.js';
import { latentMixture, latentMixtureConfig } from './deepseek.js';
import type { LatentMixtureConfig } from './deepseek.js';
import { groupedNames } from './groupedRouting.js';
import { joinedFiles } from '../stored/joinedFiles.js';
import { mixturePacked } from './mixture.js';
import type { MixtureNames } from './mixture.js';

const names: MixtureNames = {
  block: groupedNames.block,
  gate: groupedNames.gate,
  up: groupedNames.up,
  down: groupedNames.down,
  shared: { module: 'shared_experts', gated: false },
};

/** Rotary parameters without the part of a head that turns: here that is a length of its own. */
const wholly = (raw: RawConfig): RawConfig => {
  const without = (parameters: unknown): unknown => {
    if (!t.UnknownRecord.is(parameters)) return parameters;
    const { partial_rotary_factor: _, ...others } = parameters;
    return others;
  };
  return {
    ...raw,
    partial_rotary_factor: null,
    rope_parameters: without(raw['rope_parameters']),
    rope_scaling: without(raw['rope_scaling']),
  };
};

export const mistral4: Architecture<LatentMixtureConfig> = {
  ...latentMixture(names, {
    name: 'mistral4',
    modelTypes: ['mistral4'],
    config: (raw, modelType) =>
      pipe(
        latentMixtureConfig(
          wholly(raw),
          modelType,
          { queryRank: 1024, kvRank: 256, nopeDim: 64, ropeDim: 64, valueDim: 128 },
          {
            numExperts: 128,
            perToken: 4,
            numShared: 1,
            expertSize: 2048,
            scores: 'softmax',
            best: 2,
            llama: {
              maxPositions: 1_048_576,
              rope: {
                grows: true,
                parameters: {
                  rope_type: 'yarn',
                  factor: 128,
                  original_max_position_embeddings: 8192,
                  beta_fast: 32,
                  beta_slow: 1,
                  mscale: 1,
                  mscale_all_dim: 1,
                  llama_4_scaling_beta: 0.1,
                },
              },
            },
          },
        ),
        E.map((config) => ({ ...config, architecture: 'mistral4', raw })),
      ),
  }),
  packed: () => [],
  fileLayout: (config) => joinedFiles(mixturePacked(config, names), 'model.'),
};
