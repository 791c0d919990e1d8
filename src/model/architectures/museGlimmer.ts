/**
 * The text model of Muse Glimmer: embeddings are normed without a gain, and so is each head of queries and keys; outputs of attention are
 * gated; norms before and behind attention and MLP; what slides turns.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { activation, nonNegative, optional, positive, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { tokenEmbedding } from '../layers/embedding.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linears } from '../layers/linears.js';
import { neftune } from '../layers/neftune.js';
import { bareRmsNorm, perHead, rmsNorm } from '../layers/norm.js';
import { scaled } from '../layers/scaled.js';
import type { Pass } from '../pass.js';
import { linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaTensors, mlp, selfAttention, windowsByType } from './llama.js';
import type { LlamaConfig } from './llama.js';

export interface MuseGlimmerConfig extends LlamaConfig {
  /** Of the norms behind attention and MLP. */
  readonly behindEps: number;
  /** Factor of queries, behind their norm. */
  readonly queryScale: number;
  /** What logits are multiplied by before they are capped. */
  readonly logitScale: number;
}

const fields = t.type({
  hidden_activation: optional(activation),
  qk_scale_factor: optional(positive),
  output_multiplier: optional(positive),
  post_norm_eps: optional(positive),
  final_logit_softcapping: optional(positive),
  layer_rope_theta: optional(t.array(nonNegative)),
});

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, MuseGlimmerConfig> =>
  pipe(
    llamaConfigWith(raw, modelType, {
      fields,
      only: { mlp_bias: false },
      family: {
        numKvHeads: 2,
        headDim: 128,
        maxPositions: 131_072,
        rmsNormEps: 1e-5,
        // Every fourth layer sees all, the last among them.
        windows: (own) =>
          windowsByType(own, own.sliding_window ?? 2048, (i) => (own.num_hidden_layers - 1 - i) % 4 !== 0),
      },
    }),
    E.bindTo('own'),
    E.let('turns', ({ own: { f, config: of } }) =>
      // Of a base of its own transformers reads only whether it is 0.
      f.layer_rope_theta === null || f.layer_rope_theta === undefined
        ? of.windows.map((_, i) => (of.numLayers - 1 - i) % 4 !== 0)
        : f.layer_rope_theta.map((theta) => theta > 0),
    ),
    E.filterOrElse(
      ({ own, turns }) => turns.length === own.config.numLayers,
      ({ own: { f, config: of } }) =>
        unfit('layer_rope_theta', `${of.numLayers} numbers, one a layer`, f.layer_rope_theta),
    ),
    E.map(({ own: { f, config: of }, turns }) => ({
      ...of,
      architecture: 'muse_glimmer',
      activation: f.hidden_activation ?? 'silu',
      turns,
      behindEps: f.post_norm_eps ?? 1e-8,
      queryScale: f.qk_scale_factor ?? 3.87,
      logitScale: f.output_multiplier ?? 0.196_116_135_138_184_04,
      logitSoftcap: f.final_logit_softcapping ?? 20,
    })),
  );

const norms = {
  beforeAttention: 'input_layernorm',
  afterAttention: 'post_attention_layernorm',
  beforeMlp: 'pre_feedforward_layernorm',
  afterMlp: 'post_feedforward_layernorm',
} as const;

const layer = (c: MuseGlimmerConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const module = `model.layers.${i}`;
  const normed = (name: string, eps = c.rmsNormEps): Layer<Tensor, Tensor> =>
    rmsNorm(`${module}.${name}`, { eps, offset: 1 });
  const head = perHead(c.headDim, bareRmsNorm(c.rmsNormEps));
  const attention = selfAttention(c, pass, angles, i, {
    gated: true,
    project: linears(
      pass,
      ['gate_proj', 'q_proj', 'k_proj', 'v_proj'].map((name) => `${module}.self_attn.${name}`),
    ),
    queries: compose(head, scaled(c.queryScale)),
    keys: head,
  });
  return inTurn(
    { pass, i, numLayers: c.numLayers },
    compose(normed(norms.beforeAttention), attention, normed(norms.afterAttention, c.behindEps)),
    compose(normed(norms.beforeMlp), mlp(c, pass, i), normed(norms.afterMlp, c.behindEps)),
  );
};

export const museGlimmer: Architecture<MuseGlimmerConfig> = {
  ...llama,
  name: 'muse_glimmer',
  modelTypes: [],
  textTypes: ['muse_glimmer_text'],
  config,
  tensors: (c) => [
    ...llamaTensors(c),
    ...perLayer(c.numLayers, (i) => [
      ...linearSpec(`model.layers.${i}.self_attn.gate_proj`, c.numHeads * c.headDim, c.hiddenSize, false),
      rmsNormSpec(`model.layers.${i}.${norms.beforeMlp}`, c.hiddenSize),
      rmsNormSpec(`model.layers.${i}.${norms.afterMlp}`, c.hiddenSize),
    ]),
  ],
  body: (c, pass) =>
    rotaryBody(
      c,
      pass,
      compose(tokenEmbedding(pass, 'model.embed_tokens'), bareRmsNorm(c.rmsNormEps, { flows: false }), neftune(pass)),
      (angles, i) => layer(c, pass, angles, i),
    ),
  tail: (c) => compose(rmsNorm('model.norm', { eps: c.rmsNormEps, offset: 0 }), scaled(c.logitScale)),
};
