/**
 * MiMo-V2-Flash: heads whose values are narrower than their keys; layers that see a window have sinks, twice the keys and angles of their
 * own; DeepSeek-V3's routers, and no expert that all tokens go to.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { byKindBody, onlyByKind, ropeByKindFields, ropesOf } from '../attention/ropeByKind.js';
import type { RopeByKind } from '../attention/ropeByKind.js';
import { ropeConfig } from '../attention/ropeConfig.js';
import { decodeFields, optional, positive, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { scaled } from '../layers/scaled.js';
import { linearSpec, perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { correctedNames, groupedFamily } from './groupedRouting.js';
import { selfAttention, windowsByType } from './llama.js';
import { mixtureArchitecture, mixtureConfig, mixturePacked, mixtureTensors } from './mixture.js';
import type { MixtureConfig } from './mixture.js';
import { routedLayers } from './mlpKinds.js';

interface MimoShape {
  /** Width of a head's values, at most that of its keys. */
  readonly valueDim: number;
  /** What values are multiplied by. */
  readonly valueScale: number;
}

export type MimoConfig = MixtureConfig & RopeByKind & MimoShape;

const fields = t.type({
  rope_parameters: ropeByKindFields.rope_parameters,
  v_head_dim: optional(positiveInteger),
  attention_value_scale: optional(positive),
});

/** The share of a head that turns where nothing is said. */
const partial = 0.334;

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, MimoConfig> =>
  pipe(
    onlyByKind(raw),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.let('ropes', ({ f: { rope_parameters } }) =>
      ropesOf({ rope_theta: null, rope_scaling: null, rope_parameters }, { full: 5e6, sliding: 10_000 }),
    ),
    E.bind('routed', () => routedLayers(raw, (layer) => layer > 0)),
    E.bind('family', ({ routed }) =>
      groupedFamily(raw, {
        numExperts: 256,
        perToken: 8,
        numShared: 0,
        expertSize: 2048,
        routed,
        scores: 'sigmoid',
        llama: {
          headDim: 192,
          numKvHeads: 4,
          maxPositions: 131_072,
          rmsNormEps: 1e-5,
          partial: true,
          rope: { partial },
          windows: (own) => windowsByType(own, own.sliding_window ?? 128, (i) => i > 0 && (i + 1) % 6 !== 0),
        },
      }),
    ),
    E.bind('own', ({ family, ropes }) =>
      mixtureConfig({ ...raw, partial_rotary_factor: null, rope_scaling: null, ...ropes.full }, modelType, {
        ...family,
        // The published file has a list of layers with experts, which are those that classes take for granted.
        only: { mlp_bias: false, n_shared_experts: null, scoring_func: 'sigmoid' },
      }),
    ),
    E.bind('localRope', ({ own, ropes }) =>
      ropeConfig(ropes.sliding, { headDim: own.headDim, maxPositions: own.maxPositions, partial }),
    ),
    E.let('valueDim', ({ f }) => f.v_head_dim ?? 128),
    E.filterOrElse(
      ({ own, valueDim }) => valueDim <= own.headDim,
      ({ own, valueDim }) => unfit('v_head_dim', `at most ${own.headDim}, the width of keys`, valueDim),
    ),
    E.filterOrElse(
      ({ own }) => own.numHeads % (2 * own.numKvHeads) === 0 || own.windows.every((window) => window === 0),
      ({ own }) =>
        unfit('num_key_value_heads', `half a divisor of ${own.numHeads}, the number of heads`, own.numKvHeads),
    ),
    E.map(({ f, own, localRope, valueDim }) => ({
      ...own,
      architecture: 'mimo_v2_flash',
      raw,
      outputBias: false,
      localRope,
      valueDim,
      valueScale: f.attention_value_scale ?? ('attention_value_scale' in raw ? 1 : 0.707),
    })),
  );

const slides = ({ windows }: MimoConfig, i: number): boolean => (windows[i] ?? 0) > 0;

/** Layer `i` as attention has it. */
const attending = (c: MimoConfig, i: number): MimoConfig =>
  slides(c, i) ? { ...c, numKvHeads: 2 * c.numKvHeads, rope: c.localRope } : c;

const attentionAt = (i: number): string => `model.layers.${i}.self_attn`;
const sinks = (i: number): string => `${attentionAt(i)}.attention_sink_bias`;

const attentionSpecs = (c: MimoConfig, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, numHeads, numKvHeads, headDim, valueDim, qkvBias } = attending(c, i);
  return [
    ...linearSpec(`${attentionAt(i)}.q_proj`, numHeads * headDim, hiddenSize, qkvBias),
    ...linearSpec(`${attentionAt(i)}.k_proj`, numKvHeads * headDim, hiddenSize, qkvBias),
    ...linearSpec(`${attentionAt(i)}.v_proj`, numKvHeads * valueDim, hiddenSize, qkvBias),
    ...linearSpec(`${attentionAt(i)}.o_proj`, hiddenSize, numHeads * valueDim, false),
    ...(slides(c, i) ? [{ name: sinks(i), shape: [numHeads], kind: 'bias' } as const] : []),
  ];
};

export const mimoV2Flash = mixtureArchitecture<MimoConfig>({
  name: 'mimo_v2_flash',
  modelTypes: ['mimo_v2_flash'],
  names: correctedNames,
  // What guesses tokens further ahead.
  buffers: /^model\.mtp\./,
  config,
  around: byKindBody,
  attention: (c, pass, angles, i) =>
    selfAttention(attending(c, i), pass, angles, i, {
      values: scaled(c.valueScale),
      ...(slides(c, i) ? { sinks: sinks(i) } : {}),
    }),
  tensors: (c) => [
    ...mixtureTensors(c, correctedNames).filter(({ name }) => !name.includes('.self_attn.')),
    ...perLayer(c.numLayers, (i) => attentionSpecs(c, i)),
  ],
  packed: (c) => [
    ...mixturePacked(c, correctedNames),
    ...c.windows.flatMap((_, i) =>
      slides(c, i) ? [{ name: `${attentionAt(i)}.sinks`, shape: [c.numHeads], parts: [sinks(i)] }] : [],
    ),
  ],
});
