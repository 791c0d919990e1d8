/**
 * DeepSeek-V2 and V3, and what is built like them (Moonlight, Kimi K2): latent attention, dense first layers, and a mixture whose routers
 * choose groups of experts first, with an expert that all tokens go to.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { latentAttention, latentTargets } from '../attention/latentAttention.js';
import { onlyAs } from '../config.js';
import type { RawConfig } from '../config.js';
import { correctedNames, groupedFamily, groupedNames } from './groupedRouting.js';
import type { GroupedFamily } from './groupedRouting.js';
import { latentConfig, withLatents } from './latent.js';
import type { LatentConfig, LatentFamily } from './latent.js';
import { mixtureArchitecture, mixtureConfig, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

export type LatentMixtureConfig = MixtureConfig & LatentConfig;

/** The configuration of a file with both. */
export const latentMixtureConfig = (
  raw: RawConfig,
  modelType: string,
  latent: LatentFamily,
  grouped: GroupedFamily,
): E.Either<FatalError, LatentMixtureConfig> =>
  latentConfig(raw, latent, (own) =>
    pipe(
      groupedFamily(own, grouped),
      E.flatMap((family) => mixtureConfig(own, modelType, family)),
    ),
  );

/** An architecture of latent attention and experts under these names. */
export const latentMixture = (
  names: MixtureNames,
  own: Pick<Architecture<LatentMixtureConfig>, 'name' | 'modelTypes' | 'textTypes' | 'config'>,
): Architecture<LatentMixtureConfig> =>
  mixtureArchitecture<LatentMixtureConfig>({
    names,
    attention: latentAttention,
    tensors: (config) => withLatents(config, mixtureTensors(config, names)),
    loraTargets: latentTargets,
    ...own,
  });

/** What DeepSeek-V2 and V3 have where nothing is said. */
export const deepseekSizes: LatentFamily = { queryRank: 1536, kvRank: 512, nopeDim: 128, ropeDim: 64, valueDim: 128 };

/** One group of all experts, whatever the file says of groups. */
const greedy = (raw: RawConfig): RawConfig => ({ ...raw, n_group: 1, topk_group: 1 });

export const deepseekV2 = latentMixture(groupedNames, {
  name: 'deepseek_v2',
  modelTypes: ['deepseek_v2'],
  config: (raw, modelType) => {
    const inGroups = raw['topk_method'] === 'group_limited_greedy';
    return pipe(
      onlyAs(inGroups ? {} : { topk_method: 'greedy' })(raw),
      E.flatMap(() =>
        latentMixtureConfig(
          inGroups ? raw : greedy(raw),
          modelType,
          { ...deepseekSizes, interleaved: true },
          {
            numExperts: 64,
            numShared: 2,
            expertSize: 1407,
            // transformers never divides by the sum.
            normalized: false,
            scores: 'softmax',
            llama: {},
            only: { norm_topk_prob: false, scoring_func: 'softmax' },
          },
        ),
      ),
      E.map((config) => ({ ...config, architecture: 'deepseek_v2', raw })),
    );
  },
});

export const deepseekV3 = latentMixture(correctedNames, {
  name: 'deepseek_v3',
  modelTypes: ['deepseek_v3'],
  // Kimi K2 calls itself so; transformers knows it as what it is.
  textTypes: ['kimi_k2'],
  config: (raw, modelType) =>
    pipe(
      latentMixtureConfig(raw, modelType, deepseekSizes, {
        numExperts: 256,
        perToken: 8,
        numShared: 1,
        expertSize: 2048,
        denseLayers: 3,
        groups: 8,
        groupsChosen: 4,
        factor: 2.5,
        scores: 'sigmoid',
        llama: { maxPositions: 4096 },
        only: { scoring_func: 'sigmoid', topk_method: 'noaux_tc' },
      }),
      E.map((config) => ({ ...config, architecture: 'deepseek_v3' })),
    ),
});
