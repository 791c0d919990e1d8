/** OLMo: Llama with layer norms that have no weights; queries, keys and values may be clipped. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { optional, positive } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { clipped } from '../layers/clipped.js';
import { compose, each } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { queryKeyValue } from '../layers/linears.js';
import { bareLayerNorm } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, mlp, selfAttention } from './llama.js';
import type { LlamaConfig, LlamaParts } from './llama.js';

export interface OlmoConfig extends LlamaConfig {
  /** Queries, keys and values stay within ± this. */
  readonly clip: number | undefined;
}

const fields = t.type({ clip_qkv: optional(positive) });

const eps = 1e-5;

const clippedParts = ({ clip }: OlmoConfig, pass: Pass, i: number): LlamaParts => {
  if (clip === undefined) return {};
  const within = clipped(clip);
  return { project: compose(queryKeyValue(pass, `model.layers.${i}.self_attn`), each(within, within, within)) };
};

const layer = (config: OlmoConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> =>
  inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(bareLayerNorm(eps), selfAttention(config, pass, angles, i, clippedParts(config, pass, i))),
    compose(bareLayerNorm(eps), mlp(config, pass, i)),
  );

export const olmo: Architecture<OlmoConfig> = {
  ...llama,
  name: 'olmo',
  modelTypes: ['olmo'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, { fields, only: { mlp_bias: false } }),
      E.map(({ f, config }) => ({ ...config, architecture: 'olmo', clip: f.clip_qkv ?? undefined })),
    ),
  tensors: (config) => llamaTensors(config).filter(({ kind }) => kind !== 'norm'),
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => layer(config, pass, angles, i)),
  tail: () => bareLayerNorm(eps),
};
