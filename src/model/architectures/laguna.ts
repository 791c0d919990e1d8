/**
 * Laguna: attention whose heads, or their columns, are weighed by softplus gates, with as many heads a layer as it says and angles by its
 * kind; a mixture whose routers choose by corrected sigmoids.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { ropeConfig } from '../attention/ropeConfig.js';
import { byKindBody, onlyByKind, ropeByKindFields, ropesOf } from '../attention/ropeByKind.js';
import type { RopeByKind } from '../attention/ropeByKind.js';
import { boolean, decodeFields, nonNegative, optional, positive, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { linears } from '../layers/linears.js';
import { softplusGate } from '../layers/softplusGate.js';
import { renamedFiles } from '../stored/renamedFiles.js';
import { linearSpec, perLayer, queryKeyValueSpec, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { correctedNames } from './groupedRouting.js';
import { selfAttention, windowsByType } from './llama.js';
import { mixtureArchitecture, mixtureConfig, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';
import { routedLayers } from './mlpKinds.js';

interface LagunaShape {
  /** One a layer. */
  readonly heads: ReadonlyArray<number>;
  /** A gate weighs a whole head; else one of its columns. */
  readonly gatesHeads: boolean;
}

export type LagunaConfig = MixtureConfig & RopeByKind & LagunaShape;

/** Routers are linear maps as others. */
const { precise: _precise, ...names } = correctedNames satisfies MixtureNames;

const fields = t.type({
  rope_parameters: ropeByKindFields.rope_parameters,
  gating: optional(t.union([boolean, t.keyof({ 'per-head': null, 'per-element': null })], 'per-head or per-element')),
  num_attention_heads_per_layer: optional(t.array(positiveInteger)),
  moe_routed_scaling_factor: optional(positive),
  moe_router_logit_softcapping: optional(nonNegative),
});

/** What a file without rotary parameters means; one that has them says all of them. */
const usualRope = {
  full_attention: { rope_theta: 500_000, partial_rotary_factor: 0.5 },
  sliding_attention: { rope_theta: 10_000 },
};

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, LagunaConfig> =>
  pipe(
    onlyByKind(raw),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.bind('mixed', () => routedLayers(raw, (layer) => layer > 0)),
    E.let('ropes', ({ f }) =>
      ropesOf(
        { rope_theta: null, rope_scaling: null, rope_parameters: f.rope_parameters ?? usualRope },
        { full: 500_000, sliding: 10_000 },
      ),
    ),
    E.bind('own', ({ f, mixed, ropes }) =>
      mixtureConfig({ ...raw, partial_rotary_factor: null, rope_scaling: null, ...ropes.full }, modelType, {
        numExperts: 256,
        perToken: 8,
        normalized: true,
        auxLossCoef: 0,
        balanced: false,
        expertSize: ({ moe_intermediate_size: size }) => size ?? 512,
        sharedSize: ({ shared_expert_intermediate_size: size }) => size ?? 512,
        mixed,
        routing: { scores: 'sigmoid', factor: f.moe_routed_scaling_factor ?? 1 },
        llama: {
          headDim: 128,
          numKvHeads: 8,
          maxPositions: 131_072,
          headNorm: true,
          partial: true,
          windows: (own) => windowsByType(own, own.sliding_window ?? 512, () => false),
        },
        only: {
          // transformers balances softmaxes of what these routers make sigmoids of.
          output_router_logits: false,
          moe_apply_router_weight_on_input: false,
          mlp_bias: false,
        },
      }),
    ),
    E.bind('localRope', ({ own: { headDim, maxPositions }, ropes }) =>
      ropeConfig(ropes.sliding, { headDim, maxPositions }),
    ),
    E.let('heads', ({ f, own }) => f.num_attention_heads_per_layer ?? own.windows.map(() => own.numHeads)),
    E.filterOrElse(
      ({ own, heads }) => heads.length === own.numLayers && heads.every((count) => count % own.numKvHeads === 0),
      ({ own, heads }) =>
        unfit(
          'num_attention_heads_per_layer',
          `${own.numLayers} multiples of ${own.numKvHeads}, the number of key heads, one a layer`,
          heads,
        ),
    ),
    E.map(({ f, own, localRope, heads }) => ({
      ...own,
      architecture: 'laguna',
      raw,
      localRope,
      heads,
      gatesHeads: f.gating !== false && f.gating !== 'per-element',
      ...(f.moe_router_logit_softcapping ? { routerSoftcap: f.moe_router_logit_softcapping } : {}),
    })),
  );

/** Layer `i` as attention has it. */
const attending = (c: LagunaConfig, i: number): LagunaConfig => ({
  ...c,
  numHeads: c.heads[i] ?? c.numHeads,
  rope: (c.windows[i] ?? 0) > 0 ? c.localRope : c.rope,
});

const attentionAt = (i: number): string => `model.layers.${i}.self_attn`;

const attentionSpecs = (c: LagunaConfig, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, numHeads, headDim, qkvBias, outputBias, gatesHeads } = c;
  const width = numHeads * headDim;
  return [
    ...queryKeyValueSpec(attentionAt(i), c, qkvBias),
    ...linearSpec(`${attentionAt(i)}.o_proj`, hiddenSize, width, outputBias),
    ...linearSpec(`${attentionAt(i)}.g_proj`, gatesHeads ? numHeads : width, hiddenSize, false),
    rmsNormSpec(`${attentionAt(i)}.q_norm`, headDim),
    rmsNormSpec(`${attentionAt(i)}.k_norm`, headDim),
  ];
};

export const laguna = mixtureArchitecture<LagunaConfig>({
  name: 'laguna',
  modelTypes: ['laguna'],
  names,
  config,
  around: byKindBody,
  attention: (c, pass, angles, i) =>
    selfAttention(attending(c, i), pass, angles, i, {
      gated: softplusGate,
      project: linears(
        pass,
        ['g_proj', 'q_proj', 'k_proj', 'v_proj'].map((name) => `${attentionAt(i)}.${name}`),
      ),
    }),
  tensors: (c) => [
    ...mixtureTensors(c, names).filter(({ name }) => !name.includes('.self_attn.')),
    ...perLayer(c.numLayers, (i) => attentionSpecs(attending(c, i), i)),
  ],
  fileLayout: ({ numLayers }) =>
    renamedFiles(
      Array.from({ length: numLayers }, (_, i) => `model.layers.${i}.mlp`).flatMap((mlp) => [
        [`${mlp}.experts.e_score_correction_bias`, `${mlp}.gate.e_score_correction_bias`] as const,
        [`${mlp}.shared_expert.`, `${mlp}.shared_experts.`] as const,
      ]),
    ),
});
