/**
 * Gemma 3, its text models: Gemma 2 with norms on queries and keys in the place of its caps, and layers that see a window, which turn
 * by angles of their own, between those that see all.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { byKindBody, localRopeOf, onlyByKind, ropeByKindFields, ropesOf } from '../attention/ropeByKind.js';
import type { RopeByKind } from '../attention/ropeByKind.js';
import { activation, decodeFields, onlyAs, optional, positive, positiveInteger } from '../config.js';
import type { RawConfig } from '../config.js';
import { asGemma } from './gemma.js';
import { gemma2Layer, gemma2Tensors } from './gemma2.js';
import { llama, llamaConfig, windowsByType } from './llama.js';

export type Gemma3Config = RopeByKind;

const fields = t.type({
  hidden_activation: optional(activation),
  query_pre_attn_scalar: optional(positive),
  sliding_window_pattern: optional(positiveInteger),
  ...ropeByKindFields,
  rope_local_base_freq: optional(positive),
});

/** Scores and logits squeezed by a tanh, which Gemma 2 has; attention to what comes after. */
const otherwise = { attn_logit_softcapping: null, final_logit_softcapping: null, use_bidirectional_attention: false };

const gemma3Config = (raw: RawConfig, modelType: string): E.Either<FatalError, Gemma3Config> =>
  pipe(
    onlyByKind(raw),
    E.flatMap(onlyAs(otherwise)),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.let('ropes', ({ f }) => ropesOf(f, { full: 1e6, sliding: f.rope_local_base_freq ?? 1e4 })),
    E.bind('config', ({ f, ropes }) =>
      pipe(
        llamaConfig({ ...raw, rope_scaling: null, ...ropes.full }, modelType, {
          headDim: 256,
          numKvHeads: 4,
          maxPositions: 131_072,
          tied: true,
          headNorm: true,
          windows: (llamaFields) =>
            windowsByType(
              llamaFields,
              llamaFields.sliding_window ?? 4096,
              (i) => (i + 1) % (f.sliding_window_pattern ?? 6) !== 0,
            ),
        }),
        E.flatMap(asGemma),
      ),
    ),
    E.bind('localRope', ({ config, ropes }) => localRopeOf(ropes.sliding, config)),
    E.map(
      ({ f, config, localRope }): Gemma3Config => ({
        ...config,
        architecture: 'gemma3',
        raw,
        activation: f.hidden_activation ?? 'gelu_new',
        attentionScale: (f.query_pre_attn_scalar ?? 256) ** -0.5,
        localRope,
      }),
    ),
  );

export const gemma3: Architecture<Gemma3Config> = {
  ...llama,
  name: 'gemma3',
  modelTypes: ['gemma3_text'],
  config: gemma3Config,
  tensors: gemma2Tensors,
  body: (config, pass) => byKindBody(config, pass, (angles, i) => gemma2Layer(config, pass, angles, i)),
};
