/** OLMoE: experts in all layers; norms on queries and keys over their whole width, which then may be clipped, as may values. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { decodeFields, optional, positive } from '../config.js';
import { clipped } from '../layers/clipped.js';
import { compose, each, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { queryKeyValue } from '../layers/linears.js';
import type { Pass } from '../pass.js';
import { perLayer } from '../weights.js';
import { norm } from './llama.js';
import type { LlamaParts } from './llama.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig } from './mixture.js';
import { wideNormSpecs } from './olmo2.js';

export interface OlmoeConfig extends MixtureConfig {
  /** Queries, keys and values stay within ± this. */
  readonly clip: number | undefined;
}

const fields = t.type({ clip_qkv: optional(positive) });

const parts = (config: OlmoeConfig, pass: Pass, i: number): LlamaParts => {
  const module = `model.layers.${i}.self_attn`;
  const within: Layer<Tensor, Tensor> = config.clip === undefined ? identity : clipped(config.clip);
  const normed = (name: string): Layer<Tensor, Tensor> => compose(norm(config, `${module}.${name}`), within);
  return {
    project: compose(queryKeyValue(pass, module), each(normed('q_norm'), normed('k_norm'), within)),
  };
};

const plain = mixtureArchitecture<OlmoeConfig>({
  name: 'olmoe',
  modelTypes: ['olmoe'],
  parts,
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.bindTo('f'),
      E.bind('config', () =>
        mixtureConfig(raw, modelType, {
          numExperts: 64,
          perToken: 8,
          auxLossCoef: 0.01,
          llama: { maxPositions: 4096, rmsNormEps: 1e-5 },
          only: { mlp_bias: false },
        }),
      ),
      E.map(({ f, config }) => ({ ...config, architecture: 'olmoe', clip: f.clip_qkv ?? undefined })),
    ),
});

export const olmoe: typeof plain = {
  ...plain,
  tensors: (config) => [...plain.tensors(config), ...perLayer(config.numLayers, (i) => wideNormSpecs(config, i))],
};
