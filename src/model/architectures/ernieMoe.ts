/**
 * Ernie 4.5 with experts: Ernie's attention, and a mixture whose routers choose by corrected probabilities, with an expert that all
 * tokens go to.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { decodeFields, nonNegativeInteger, optional, positive, positiveInteger } from '../config.js';
import { gatedNames } from '../layers/mlp.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

const names: MixtureNames = {
  block: 'mlp',
  ...gatedNames,
  shared: { module: 'shared_experts', gated: false },
  // transformers calls the correction otherwise than files do.
  correction: {
    name: 'moe_statics.e_score_correction_bias',
    before: [1],
    inClasses: 'gate.moe_statics.e_score_correction_bias',
  },
  precise: 'exact',
};

const fields = t.type({
  moe_k: optional(positiveInteger),
  moe_num_experts: optional(positiveInteger),
  moe_num_shared_experts: optional(nonNegativeInteger),
  moe_intermediate_size: optional(positiveInteger),
  moe_layer_start_index: optional(nonNegativeInteger),
  // -1 is the last one.
  moe_layer_end_index: optional(t.number),
  moe_layer_interval: optional(positiveInteger),
  moe_norm_min: optional(positive),
});

export const ernieMoe = mixtureArchitecture<MixtureConfig>({
  name: 'ernie4_5_moe',
  modelTypes: ['ernie4_5_moe'],
  names,
  parts: () => ({ interleaved: true }),
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.flatMap((f) => {
        const expertSize = f.moe_intermediate_size ?? 1536;
        const end = f.moe_layer_end_index ?? -1;
        return mixtureConfig(raw, modelType, {
          numExperts: f.moe_num_experts ?? 64,
          perToken: f.moe_k ?? 6,
          normalized: true,
          auxLossCoef: 0.001,
          expertSize: () => expertSize,
          sharedSize: () => (f.moe_num_shared_experts ?? 2) * expertSize,
          mixed: (i) =>
            (i + 1) % (f.moe_layer_interval ?? 1) === 0 &&
            i >= (f.moe_layer_start_index ?? 1) &&
            (end === -1 || i <= end),
          routing: { leastSum: f.moe_norm_min ?? 1e-12 },
          llama: { numKvHeads: 4, maxPositions: 131_072, rmsNormEps: 1e-5, tied: true, rope: { theta: 500_000 } },
          only: { use_bias: false, attention_bias: false, mlp_bias: false },
        });
      }),
      E.map((config) => ({ ...config, architecture: 'ernie4_5_moe' })),
    ),
});
