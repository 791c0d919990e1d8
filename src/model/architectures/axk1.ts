/** A.X K1: DeepSeek-V3 with a norm behind its mixtures. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { Architecture } from '../architecture.js';
import { unfit } from '../config.js';
import { deepseekSizes, latentMixture, latentMixtureConfig } from './deepseek.js';
import type { LatentMixtureConfig } from './deepseek.js';
import { correctedNames } from './groupedRouting.js';
import { mixturePacked } from './mixture.js';
import type { MixtureNames } from './mixture.js';

const names: MixtureNames = { ...correctedNames, behind: 'post_mlp_layernorm' };

export const axk1: Architecture<LatentMixtureConfig> = {
  ...latentMixture(names, {
    name: 'axk1',
    modelTypes: ['axk1'],
    config: (raw, modelType) =>
      raw['q_lora_rank'] === null
        ? E.left(unfit('q_lora_rank', 'a whole number > 0', null))
        : pipe(
            latentMixtureConfig(raw, modelType, deepseekSizes, {
              numExperts: 192,
              perToken: 8,
              numShared: 1,
              expertSize: 2048,
              denseLayers: 1,
              groups: 8,
              groupsChosen: 4,
              factor: 2.5,
              scores: 'sigmoid',
              llama: { maxPositions: 32_768 },
              only: { scoring_func: 'sigmoid', topk_method: 'noaux_tc' },
            }),
            E.map((config) => ({ ...config, architecture: 'axk1' })),
          ),
  }),
  // transformers has the norm within the mixture.
  packed: (config) => [
    ...mixturePacked(config, names),
    ...config.routed.flatMap((routed, i) => {
      const stored = `model.layers.${i}.post_mlp_layernorm.weight`;
      const name = `model.layers.${i}.mlp.post_mlp_layernorm.weight`;
      return routed ? [{ name, shape: [config.hiddenSize], parts: [stored] }] : [];
    }),
  ],
};
