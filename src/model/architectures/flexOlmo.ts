/** FlexOLMo: OLMo 2 whose MLPs are experts. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { gatedNames } from '../layers/mlp.js';
import { perLayer } from '../weights.js';
import { mixtureArchitecture, mixtureConfig, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';
import { wideNormSpecs, wideNorms } from './olmo2.js';

const names: MixtureNames = {
  block: 'mlp',
  ...gatedNames,
  norms: { afterAttention: 'post_attention_layernorm', afterMlp: 'post_feedforward_layernorm' },
};

export const flexOlmo = mixtureArchitecture<MixtureConfig>({
  name: 'flex_olmo',
  modelTypes: ['flex_olmo'],
  names,
  parts: (config, _pass, i) => wideNorms(config, i),
  config: (raw, modelType) =>
    pipe(
      mixtureConfig(raw, modelType, {
        numExperts: 7,
        perToken: 5,
        auxLossCoef: 0.01,
        llama: { maxPositions: 4096, rope: { theta: 500_000 } },
        only: { mlp_bias: false, clip_qkv: null },
      }),
      E.map((config) => ({ ...config, architecture: 'flex_olmo' })),
    ),
  tensors: (config) => [
    ...mixtureTensors(config, names),
    ...perLayer(config.numLayers, (i) => wideNormSpecs(config, i)),
  ],
});
