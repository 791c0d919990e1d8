/** Mellum 2: Qwen3-MoE among whose layers some see a window, and turn by angles of their own. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { byKindBody, localRopeOf, onlyByKind, ropeByKindFields, ropesOf } from '../attention/ropeByKind.js';
import type { RopeByKind } from '../attention/ropeByKind.js';
import { boolean, decodeFields, optional } from '../config.js';
import { windowsByType } from './llama.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig } from './mixture.js';
import { routedLayers } from './mlpKinds.js';

const fields = t.type({
  rope_parameters: ropeByKindFields.rope_parameters,
  norm_topk_prob: optional(boolean),
});

export const mellum = mixtureArchitecture<MixtureConfig & RopeByKind>({
  name: 'mellum',
  modelTypes: ['mellum'],
  around: byKindBody,
  config: (raw, modelType) =>
    pipe(
      onlyByKind(raw),
      E.flatMap(decodeFields(fields)),
      E.bindTo('f'),
      E.bind('mixed', () => routedLayers(raw, () => true)),
      // Nothing is read of rotary parameters beside those of the two kinds.
      E.let('ropes', ({ f: { rope_parameters } }) =>
        ropesOf({ rope_theta: null, rope_scaling: null, rope_parameters }, { full: 500_000, sliding: 10_000 }),
      ),
      E.bind('config', ({ f, mixed, ropes }) =>
        mixtureConfig({ ...raw, rope_scaling: null, ...ropes.full }, modelType, {
          numExperts: 64,
          perToken: 8,
          normalized: f.norm_topk_prob ?? true,
          auxLossCoef: 0.001,
          expertSize: ({ moe_intermediate_size: size }) => size ?? 896,
          mixed,
          llama: {
            headDim: 128,
            numKvHeads: 4,
            maxPositions: 131_072,
            headNorm: true,
            windows: (own) => windowsByType(own, own.sliding_window ?? 1024, () => false),
          },
          only: { mlp_bias: false },
        }),
      ),
      E.bind('localRope', ({ config, ropes }) => localRopeOf(ropes.sliding, config)),
      E.map(({ config, localRope }) => ({ ...config, architecture: 'mellum', raw, localRope })),
    ),
});
