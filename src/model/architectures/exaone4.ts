/**
 * EXAONE 4: OLMo 2's norms behind attention and MLP, norms on each head, and layers that see all and know no positions among such that
 * slide.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { nonNegativeInteger, optional } from '../config.js';
import type { onlyAs, RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import { perLayer, rmsNormSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, mlp, norm, selfAttention, windowsByType } from './llama.js';
import type { Family, LlamaConfig } from './llama.js';

/** A pattern is a number where it stands for a list of kinds; beside a list files have letters. */
export const exaoneFields = t.type({
  sliding_window_pattern: optional(t.union([t.string, nonNegativeInteger], 'a number')),
});

/** What EXAONE's files say of layers that slide, and how those that see all do without positions. */
export const exaoneLayers = (raw: RawConfig) => {
  const hybrid = raw['sliding_window'] !== null;
  const given = raw['sliding_window_pattern'];
  const pattern = typeof given === 'number' ? given : 4;
  // By itself a pattern of letters makes no layers, in transformers either; that of the published files is 4.
  const alone = typeof given === 'string' && !Array.isArray(raw['layer_types']);
  const only: Parameters<typeof onlyAs>[0] = {
    attention_bias: false,
    mlp_bias: false,
    ...(alone ? { sliding_window_pattern: 'LLLG' } : {}),
  };
  const family: Family = {
    numKvHeads: 32,
    rmsNormEps: 1e-5,
    headNorm: true,
    windows: (own) => windowsByType(own, hybrid ? (own.sliding_window ?? 4096) : 0, (i) => (i + 1) % pattern !== 0),
  };
  const turns = ({ windows }: LlamaConfig): ReadonlyArray<boolean> => windows.map((window) => !hybrid || window > 0);
  return { only, family, turns };
};

const layer = (config: LlamaConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const normed = (name: string): Layer<Tensor, Tensor> => norm(config, `model.layers.${i}.${name}`);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(selfAttention(config, pass, angles, i), normed('post_attention_layernorm')),
    compose(mlp(config, pass, i), normed('post_feedforward_layernorm')),
  );
};

export const exaone4: Architecture<LlamaConfig> = {
  ...llama,
  name: 'exaone4',
  modelTypes: ['exaone4'],
  config: (raw, modelType) => {
    const { only, family, turns } = exaoneLayers(raw);
    return pipe(
      llamaConfigWith(raw, modelType, { fields: exaoneFields, only, family }),
      E.map(({ config }) => ({ ...config, architecture: 'exaone4', turns: turns(config) })),
    );
  },
  tensors: (config) => [
    ...llamaTensors(config).filter(({ name }) => !name.endsWith('.input_layernorm.weight')),
    ...perLayer(config.numLayers, (i) => [
      rmsNormSpec(`model.layers.${i}.post_feedforward_layernorm`, config.hiddenSize),
    ]),
  ],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => layer(config, pass, angles, i)),
};
