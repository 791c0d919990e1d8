/** K-EXAONE: EXAONE 4's attention, norms before attention and MLP, and DeepSeek-V3's mixture. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { decodeFields, nonNegativeInteger, optional } from '../config.js';
import { exaoneFields, exaoneLayers } from './exaone4.js';
import { groupedFamily, groupedNames } from './groupedRouting.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig } from './mixture.js';
import { routedLayers } from './mlpKinds.js';
import { mtpTensors } from './qwen35.js';

const fields = t.type({ ...exaoneFields.props, first_k_dense_replace: optional(nonNegativeInteger) });

export const exaoneMoe = mixtureArchitecture<MixtureConfig>({
  name: 'exaone_moe',
  modelTypes: ['exaone_moe'],
  names: {
    ...groupedNames,
    correction: { name: 'e_score_correction_bias', before: [], inClasses: 'gate.e_score_correction_bias' },
  },
  buffers: mtpTensors,
  config: (raw, modelType) => {
    const { only, family: llama, turns } = exaoneLayers(raw);
    return pipe(
      decodeFields(fields)(raw),
      E.flatMap(({ first_k_dense_replace: dense }) => routedLayers(raw, (layer) => layer >= (dense ?? 1))),
      E.flatMap((routed) =>
        groupedFamily(
          { ...raw, n_routed_experts: raw['num_experts'], n_shared_experts: raw['num_shared_experts'] },
          {
            numExperts: 64,
            perToken: 8,
            numShared: 1,
            expertSize: 1024,
            factor: 2.5,
            routed,
            scores: 'sigmoid',
            llama,
            only: { ...only, scoring_func: 'sigmoid' },
          },
        ),
      ),
      E.flatMap((family) => mixtureConfig(raw, modelType, family)),
      E.map((config) => ({ ...config, architecture: 'exaone_moe', turns: turns(config) })),
    );
  },
});
