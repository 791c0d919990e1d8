/** OLMo 2 and 3: Llama with norms behind attention and MLP in place of before them, and on queries and keys over their whole width. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { byKindBody, localRopeOf, onlyByKind, ropeByKindFields, ropesOf } from '../attention/ropeByKind.js';
import type { RopeByKind } from '../attention/ropeByKind.js';
import { decodeFields, onlyAs } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import { perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { llama, llamaConfig, llamaStem, llamaTensors, mlp, norm, selfAttention, windowsByType } from './llama.js';
import type { LlamaConfig, LlamaParts } from './llama.js';

/** Norms on queries and keys over their whole width, before they turn. */
export const wideNorms = (config: LlamaConfig, i: number): LlamaParts => ({
  queries: norm(config, `model.layers.${i}.self_attn.q_norm`),
  keys: norm(config, `model.layers.${i}.self_attn.k_norm`),
});

/** Their gains in layer `i`. */
export const wideNormSpecs = ({ numHeads, numKvHeads, headDim }: LlamaConfig, i: number): ReadonlyArray<TensorSpec> => [
  rmsNormSpec(`model.layers.${i}.self_attn.q_norm`, numHeads * headDim),
  rmsNormSpec(`model.layers.${i}.self_attn.k_norm`, numKvHeads * headDim),
];

export const olmo2Layer = (config: LlamaConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const normed = (name: string): Layer<Tensor, Tensor> => norm(config, `model.layers.${i}.${name}`);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(selfAttention(config, pass, angles, i, wideNorms(config, i)), normed('post_attention_layernorm')),
    compose(mlp(config, pass, i), normed('post_feedforward_layernorm')),
  );
};

export const olmo2: Architecture<LlamaConfig> = {
  ...llama,
  name: 'olmo2',
  modelTypes: ['olmo2'],
  config: (raw, modelType) =>
    pipe(
      onlyAs({ mlp_bias: false, clip_qkv: null })(raw),
      E.flatMap(() => llamaConfig(raw, modelType, { rmsNormEps: 1e-5 })),
      E.map((config) => ({ ...config, architecture: 'olmo2' })),
    ),
  tensors: (config) => [
    ...llamaTensors(config).filter(({ name }) => !name.endsWith('.input_layernorm.weight')),
    ...perLayer(config.numLayers, (i) => [
      ...wideNormSpecs(config, i),
      rmsNormSpec(`model.layers.${i}.post_feedforward_layernorm`, config.hiddenSize),
    ]),
  ],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => olmo2Layer(config, pass, angles, i)),
};

const fields = t.type(ropeByKindFields);

/** OLMo 3: three layers that see a window, then one that sees all, by turns; angles of the latter may be stretched. */
export const olmo3: Architecture<RopeByKind> = {
  ...llama,
  name: 'olmo3',
  modelTypes: ['olmo3'],
  config: (raw, modelType) =>
    pipe(
      onlyByKind(raw),
      E.flatMap(onlyAs({ mlp_bias: false, clip_qkv: null })),
      E.flatMap(decodeFields(fields)),
      // The layers with a window never read the theta of an old file, in transformers either.
      E.map((f) => ropesOf(f, { full: 500_000, sliding: 500_000 })),
      E.bindTo('ropes'),
      E.bind('config', ({ ropes }) =>
        llamaConfig({ ...raw, rope_scaling: null, ...ropes.full }, modelType, {
          rmsNormEps: 1e-5,
          windows: (f) => windowsByType(f, f.sliding_window ?? 4096, (i) => (i + 1) % 4 !== 0),
        }),
      ),
      E.bind('localRope', ({ config, ropes }) => localRopeOf(ropes.sliding, config)),
      E.map(({ config, localRope }) => ({ ...config, architecture: 'olmo3', raw, localRope })),
    ),
  tensors: olmo2.tensors,
  body: (config, pass) => byKindBody(config, pass, (angles, i) => olmo2Layer(config, pass, angles, i)),
};
