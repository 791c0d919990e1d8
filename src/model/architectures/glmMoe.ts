/**
 * GLM-4.5 to 4.7 and the text model of GLM-4.5V: GLM's attention, norms on each head of queries and keys in some of them, and
 * DeepSeek-V3's mixture; GLM-4.7-Flash with DeepSeek's latent attention.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { boolean, decodeFields, onlyAs, optional } from '../config.js';
import { latentMixture, latentMixtureConfig } from './deepseek.js';
import { correctedNames, groupedFamily } from './groupedRouting.js';
import { textPositions } from './llama.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig } from './mixture.js';
import { routedLayers } from './mlpKinds.js';

const fields = t.type({ use_qk_norm: optional(boolean), attention_bias: optional(boolean) });

/** The text model of GLM-4.5V. */
const seeing = 'glm4v_moe_text';

export const glm4Moe = mixtureArchitecture<MixtureConfig>({
  name: 'glm4_moe',
  modelTypes: ['glm4_moe'],
  textTypes: [seeing],
  names: correctedNames,
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.bindTo('f'),
      E.bind('family', () =>
        groupedFamily(raw, {
          numExperts: 128,
          perToken: 8,
          numShared: 1,
          expertSize: 1408,
          denseLayers: 1,
          scores: 'sigmoid',
          llama: {
            numKvHeads: 8,
            maxPositions: modelType === seeing ? 65_536 : 131_072,
            rmsNormEps: 1e-5,
            rope: { partial: 0.5, scalingNames: textPositions },
            partial: true,
          },
        }),
      ),
      E.bind('config', ({ family }) => mixtureConfig(raw, modelType, family)),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'glm4_moe',
        qkvBias: f.attention_bias ?? modelType === seeing,
        outputBias: false,
        headNorm: modelType !== seeing && (f.use_qk_norm ?? false),
      })),
    ),
});

export const glm4MoeLite = latentMixture(correctedNames, {
  name: 'glm4_moe_lite',
  modelTypes: ['glm4_moe_lite'],
  config: (raw, modelType) =>
    pipe(
      // transformers reads no number of dense layers here.
      (raw['mlp_layer_types'] ?? undefined) === undefined ? onlyAs({ first_k_dense_replace: 1 })(raw) : E.right(raw),
      E.flatMap((own) => routedLayers(own, (layer) => layer > 0)),
      E.flatMap((routed) =>
        latentMixtureConfig(
          raw,
          modelType,
          { queryRank: 768, kvRank: 512, nopeDim: 192, ropeDim: 64, valueDim: 256 },
          {
            numExperts: 64,
            perToken: 4,
            numShared: 1,
            expertSize: 1536,
            factor: 1.8,
            routed,
            scores: 'sigmoid',
            llama: { maxPositions: 202_752, rmsNormEps: 1e-5 },
          },
        ),
      ),
      E.map((config) => ({ ...config, architecture: 'glm4_moe_lite' })),
    ),
});
