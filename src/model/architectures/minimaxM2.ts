/** MiniMax-M2: Mixtral whose heads turn in part, with norms on queries and keys over their whole width and routers that choose by corrected sigmoids. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { decodeFields, optional, positiveInteger } from '../config.js';
import { perLayer } from '../weights.js';
import { mixtralNames } from './mixtral.js';
import { mixtureArchitecture, mixtureConfig, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';
import { wideNormSpecs, wideNorms } from './olmo2.js';

const names: MixtureNames = { ...mixtralNames, correction: { name: 'e_score_correction_bias', before: [] } };

const fields = t.type({ head_dim: optional(positiveInteger), rotary_dim: optional(positiveInteger) });

const usualHeadDim = 128;

export const minimaxM2 = mixtureArchitecture<MixtureConfig>({
  name: 'minimax_m2',
  modelTypes: ['minimax_m2'],
  names,
  parts: (config, _pass, i) => wideNorms(config, i),
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.flatMap(({ head_dim: headDim, rotary_dim: rotaryDim }) =>
        mixtureConfig(raw, modelType, {
          numExperts: 256,
          perToken: 8,
          normalized: true,
          auxLossCoef: 0,
          balanced: false,
          routing: { scores: 'sigmoid' },
          llama: {
            numKvHeads: 8,
            headDim: usualHeadDim,
            maxPositions: 196_608,
            partial: true,
            rope: {
              theta: 5e6,
              ...(typeof rotaryDim === 'number' ? { partial: rotaryDim / (headDim ?? usualHeadDim) } : {}),
            },
          },
          only: {
            router_jitter_noise: 0,
            // transformers balances softmaxes of what these routers make sigmoids of.
            output_router_logits: false,
            scoring_func: 'sigmoid',
            use_qk_norm: true,
            attention_bias: false,
            mlp_bias: false,
          },
        }),
      ),
      E.map((config) => ({ ...config, architecture: 'minimax_m2' })),
    ),
  tensors: (config) => [
    ...mixtureTensors(config, names),
    ...perLayer(config.numLayers, (i) => wideNormSpecs(config, i)),
  ],
});
