/** Hunyuan with experts (A13B): Hunyuan's attention, and a mixture with an expert that all tokens go to. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { decodeFields, optional, positiveInteger } from '../config.js';
import type { RawConfig } from '../config.js';
import { gatedNames } from '../layers/mlp.js';
import { headNormSpecs, hunyuanParts, stretchedRope } from './hunyuan.js';
import { mixtureArchitecture, mixtureConfig, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

const names: MixtureNames = {
  block: 'mlp',
  router: 'gate.wg',
  ...gatedNames,
  shared: { module: 'shared_mlp', gated: false },
  precise: 'exact',
};

const fields = t.type({ moe_topk: optional(positiveInteger), intermediate_size: positiveInteger });

/** Published files have lists with one entry a layer, which are all alike. */
const ofLayers = ['moe_topk', 'num_experts', 'num_shared_expert', 'moe_intermediate_size'];

const alike = (raw: RawConfig): RawConfig => ({
  ...raw,
  ...Object.fromEntries(
    ofLayers.flatMap((field) => {
      const value = raw[field];
      return Array.isArray(value) && new Set(value).size === 1 ? [[field, value[0] as unknown] as const] : [];
    }),
  ),
});

export const hunyuanMoe = mixtureArchitecture<MixtureConfig>({
  name: 'hunyuan_v1_moe',
  modelTypes: ['hunyuan_v1_moe'],
  names,
  parts: (config, _pass, i) => hunyuanParts(config, i),
  config: (raw, modelType) => {
    const one = alike(raw);
    return pipe(
      decodeFields(fields)(one),
      E.bindTo('f'),
      E.bind('rope', () => stretchedRope(one)),
      E.bind('config', ({ f }) =>
        mixtureConfig(one, modelType, {
          numExperts: 1,
          perToken: f.moe_topk ?? 1,
          normalized: true,
          auxLossCoef: 0,
          balanced: false,
          // transformers reads this one alone.
          expertSize: () => f.intermediate_size,
          sharedSize: () => f.intermediate_size,
          llama: { rmsNormEps: 1e-5 },
          only: {
            mlp_bias: false,
            num_shared_expert: 1,
            moe_intermediate_size: f.intermediate_size,
            use_cla: false,
          },
        }),
      ),
      E.map(({ config, rope }) => ({ ...config, architecture: 'hunyuan_v1_moe', rope: rope(config.rope), raw })),
    );
  },
  tensors: (config) => [...mixtureTensors(config, names), ...headNormSpecs(config)],
});
