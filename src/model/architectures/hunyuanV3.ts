/** Hunyuan 3: norms on each head of queries and keys, and a mixture whose routers choose by corrected sigmoids. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { decodeFields, nonNegativeInteger, optional, positive } from '../config.js';
import { renamedFiles } from '../stored/renamedFiles.js';
import { groupedNames } from './groupedRouting.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig } from './mixture.js';
import { routedLayers } from './mlpKinds.js';

const fields = t.type({ num_shared_experts: optional(nonNegativeInteger), router_scaling_factor: optional(positive) });

export const hunyuanV3 = mixtureArchitecture<MixtureConfig>({
  name: 'hy_v3',
  modelTypes: ['hy_v3'],
  names: { ...groupedNames, correction: { name: 'e_score_correction_bias', before: [] } },
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.bindTo('f'),
      E.bind('mixed', () => routedLayers(raw, (layer) => layer > 0)),
      E.flatMap(({ f, mixed }) =>
        mixtureConfig(raw, modelType, {
          numExperts: 192,
          perToken: 8,
          normalized: true,
          auxLossCoef: 0,
          balanced: false,
          expertSize: ({ moe_intermediate_size: size }) => size ?? 1536,
          sharedSize: ({ moe_intermediate_size: size }) => (f.num_shared_experts ?? 1) * (size ?? 1536),
          mixed,
          routing: { scores: 'sigmoid', factor: f.router_scaling_factor ?? 2.826, leastSum: 1e-20 },
          llama: {
            headDim: 128,
            numKvHeads: 8,
            maxPositions: 131_072,
            rmsNormEps: 1e-5,
            headNorm: true,
            rope: { theta: 11_158_840 },
          },
          only: { qk_norm: true, route_norm: true },
        }),
      ),
      E.map((config) => ({ ...config, architecture: 'hy_v3' })),
    ),
  fileLayout: ({ numLayers }) =>
    renamedFiles(
      Array.from({ length: numLayers }, (_, i) => `model.layers.${i}.mlp`).flatMap((mlp) => [
        [`${mlp}.router.gate.`, `${mlp}.gate.`] as const,
        [`${mlp}.expert_bias`, `${mlp}.e_score_correction_bias`] as const,
        [`${mlp}.shared_mlp.`, `${mlp}.shared_experts.`] as const,
      ]),
    ),
});
