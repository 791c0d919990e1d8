/** Phi-3.5-MoE: Mixtral with layer norms, whose two experts a token are weighed each by itself, and a head that may have a bias. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { boolean, decodeFields, nonNegative, optional, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { layerNorm } from '../layers/norm.js';
import { headSpec, layerNormSpec, perLayer } from '../weights.js';
import { everywhere, llamaStem, selfAttention } from './llama.js';
import { mixtralNames } from './mixtral.js';
import {
  mixtureArchitecture,
  mixtureConfig,
  mixturePacked,
  mixtureTensors,
  routedExperts,
  usualGate,
} from './mixture.js';
import type { MixtureConfig } from './mixture.js';

interface PhiMoeConfig extends MixtureConfig {
  readonly headBias: boolean;
}

const fields = t.type({
  lm_head_bias: optional(boolean),
  router_jitter_noise: optional(nonNegative),
  rope_scaling: optional(t.UnknownRecord),
  rope_parameters: optional(t.UnknownRecord),
});

/** Rotary parameters whose magnitude is called as other models call it. */
const withMagnitude = (
  field: string,
  scaling: RawConfig | null | undefined,
): E.Either<FatalError, RawConfig | null | undefined> => {
  const kind = scaling?.['rope_type'] ?? scaling?.['type'] ?? 'default';
  if (scaling === null || scaling === undefined || kind === 'default') return E.right(scaling);
  const { short_mscale: short, long_mscale: long, ...others } = scaling;
  if (typeof short !== 'number') return E.left(unfit(`${field}.short_mscale`, 'a number', short));
  return long === short
    ? E.right({ ...others, attention_factor: short })
    : E.left(unfit(`${field}.long_mscale`, `short_mscale ${short}`, long));
};

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, PhiMoeConfig> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.bind('rope_scaling', ({ f }) => withMagnitude('rope_scaling', f.rope_scaling)),
    E.bind('rope_parameters', ({ f }) => withMagnitude('rope_parameters', f.rope_parameters)),
    E.bind('own', ({ f, rope_scaling, rope_parameters }) =>
      mixtureConfig({ ...raw, rope_scaling, rope_parameters }, modelType, {
        numExperts: 16,
        perToken: 2,
        auxLossCoef: 0.001,
        // What config.json says is half of it.
        routing: { tolerance: 2 * (f.router_jitter_noise ?? 0.01) },
        llama: {
          numKvHeads: 8,
          maxPositions: 131_072,
          rmsNormEps: 1e-5,
          rope: { theta: 1e6 },
          windows: (own) => E.right(everywhere(own, own.sliding_window ?? 0)),
        },
        only: { mlp_bias: false, num_experts_per_tok: 2 },
      }),
    ),
    E.map(({ f, own }) => ({ ...own, architecture: 'phimoe', raw, headBias: f.lm_head_bias ?? false })),
  );

const normed = ({ rmsNormEps }: PhiMoeConfig, module: string): Layer<Tensor, Tensor> => layerNorm(module, rmsNormEps);

const layerAt = (i: number): string => `model.layers.${i}`;

export const phiMoe: Architecture<PhiMoeConfig> = mixtureArchitecture<PhiMoeConfig>({
  name: 'phimoe',
  modelTypes: ['phimoe'],
  config,
  names: mixtralNames,
  tensors: (c) => [
    ...mixtureTensors(c, mixtralNames).filter(({ name, kind }) => kind !== 'norm' && !name.startsWith('lm_head.')),
    ...perLayer(c.numLayers, (i) => [
      ...layerNormSpec(`${layerAt(i)}.input_layernorm`, c.hiddenSize),
      ...layerNormSpec(`${layerAt(i)}.post_attention_layernorm`, c.hiddenSize),
    ]),
    ...layerNormSpec('model.norm', c.hiddenSize),
    ...headSpec(c.tieWordEmbeddings, c.vocabSize, c.hiddenSize, c.headBias),
  ],
  packed: (c) =>
    mixturePacked(c, mixtralNames).map((joined) => ({
      ...joined,
      name: joined.name.replace(/\.mlp\.gate\.weight$/, '.mlp.router.weight'),
    })),
  body: (c, pass) =>
    rotaryBody(c, pass, llamaStem(c, pass), (angles, i) =>
      inTurn(
        { pass, i, numLayers: c.numLayers },
        compose(normed(c, `${layerAt(i)}.input_layernorm`), selfAttention(c, pass, angles, i)),
        compose(
          normed(c, `${layerAt(i)}.post_attention_layernorm`),
          routedExperts(c, { names: mixtralNames, gate: usualGate }, pass, i),
        ),
      ),
    ),
  tail: (c) => normed(c, 'model.norm'),
});
