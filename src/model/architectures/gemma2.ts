/** Gemma 2: Gemma with norms behind attention and MLP too, capped scores and logits, and a window in every second layer. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { activation, decodeFields, optional, positive, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import { perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { asGemma } from './gemma.js';
import { llama, llamaConfig, llamaStem, llamaTensors, mlp, norm, selfAttention, windowsByType } from './llama.js';
import type { LlamaConfig } from './llama.js';

const fields = t.type({
  hidden_activation: optional(activation),
  query_pre_attn_scalar: optional(positive),
  attn_logit_softcapping: optional(positive),
  final_logit_softcapping: optional(positive),
});

/** A softcap of the file, none where it says null, or the default where it says nothing. */
const softcapOf = (given: number | null | undefined, otherwise: number): number | undefined =>
  given === undefined ? otherwise : (given ?? undefined);

const windowed = (raw: RawConfig): E.Either<FatalError, RawConfig> =>
  // transformers cannot run it either.
  raw['sliding_window'] === null ? E.left(unfit('sliding_window', 'a whole number > 0', null)) : E.right(raw);

/** The configuration of an architecture of Gemma 2's fields. */
export const gemma2Config =
  (architecture: string) =>
  (raw: RawConfig, modelType: string): E.Either<FatalError, LlamaConfig> =>
    pipe(
      windowed(raw),
      E.flatMap(decodeFields(fields)),
      E.bindTo('f'),
      E.bind('config', () =>
        pipe(
          llamaConfig(raw, modelType, {
            headDim: 256,
            numKvHeads: 4,
            maxPositions: 8192,
            tied: true,
            windows: (of) => windowsByType(of, of.sliding_window ?? 4096, (i) => i % 2 === 0),
          }),
          E.flatMap(asGemma),
        ),
      ),
      E.map(
        ({ f, config }): LlamaConfig => ({
          ...config,
          architecture,
          activation: f.hidden_activation ?? 'gelu_new',
          attentionScale: (f.query_pre_attn_scalar ?? 256) ** -0.5,
          attentionSoftcap: softcapOf(f.attn_logit_softcapping, 50),
          logitSoftcap: softcapOf(f.final_logit_softcapping, 30),
        }),
      ),
    );

/** Llama's tensors, and the two norms around the MLP. */
export const gemma2Tensors = (config: LlamaConfig): ReadonlyArray<TensorSpec> => [
  ...llamaTensors(config),
  ...perLayer(config.numLayers, (i) =>
    ['pre_feedforward_layernorm', 'post_feedforward_layernorm'].map((name) =>
      rmsNormSpec(`model.layers.${i}.${name}`, config.hiddenSize),
    ),
  ),
];

/** Attention and MLP, each between two norms. */
export const gemma2Layer = (
  config: LlamaConfig,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
): Layer<Tensor, Tensor> => {
  const normed = (name: string): Layer<Tensor, Tensor> => norm(config, `model.layers.${i}.${name}`);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(normed('input_layernorm'), selfAttention(config, pass, angles, i), normed('post_attention_layernorm')),
    compose(normed('pre_feedforward_layernorm'), mlp(config, pass, i), normed('post_feedforward_layernorm')),
  );
};

export const gemma2: Architecture<LlamaConfig> = {
  ...llama,
  name: 'gemma2',
  modelTypes: ['gemma2'],
  config: gemma2Config('gemma2'),
  tensors: gemma2Tensors,
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => gemma2Layer(config, pass, angles, i)),
};
