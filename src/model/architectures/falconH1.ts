/**
 * Falcon-H1: Llama whose layers have a mixer of Mamba-2 beside attention, both of which read the same norm, with a number that everything is
 * multiplied by; and Bamba, whose layers have the one or the other, and no such numbers.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { boolean, decodeFields, nonNegativeInteger, onlyAs, optional, positiveInteger } from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose, each, fanOut, identity, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { gated, gatedBy, gatedNames } from '../layers/mlp.js';
import { narrowing } from '../layers/rows.js';
import { scaled } from '../layers/scaled.js';
import type { Pass } from '../pass.js';
import { mamba2, mamba2Spec } from '../recurrent/mamba2.js';
import type { Mamba2Shape } from '../recurrent/mamba2.js';
import { perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { llama, llamaConfig, llamaStem, llamaTensors, norm, selfAttention } from './llama.js';
import type { Family, LlamaConfig } from './llama.js';
import { mambaFields, mambaShape, onlySilu } from './mambaConfig.js';

type Map = Layer<Tensor, Tensor>;

/** What the parts of a model are multiplied by. */
interface Factors {
  readonly embedding: number;
  readonly head: number;
  readonly key: number;
  readonly attentionIn: number;
  readonly attentionOut: number;
  readonly mixerIn: number;
  readonly mixerOut: number;
  readonly gate: number;
  readonly down: number;
}

export interface FalconH1Config extends LlamaConfig {
  readonly mamba: Mamba2Shape;
  /** One a layer. */
  readonly mixes: ReadonlyArray<boolean>;
  readonly attends: ReadonlyArray<boolean>;
  readonly factors: Factors;
}

const number = optional(t.number);

const fields = t.type({
  ...mambaFields,
  mamba_d_ssm: optional(positiveInteger),
  mamba_rms_norm: optional(boolean),
  mamba_norm_before_gate: optional(boolean),
  projectors_bias: optional(boolean),
  embedding_multiplier: number,
  lm_head_multiplier: number,
  key_multiplier: number,
  attention_in_multiplier: number,
  attention_out_multiplier: number,
  ssm_in_multiplier: number,
  ssm_out_multiplier: number,
  ssm_multipliers: optional(t.tuple([t.number, t.number, t.number, t.number, t.number])),
  mlp_multipliers: optional(t.tuple([t.number, t.number])),
});

const layerAt = (i: number): string => `model.layers.${i}`;

const family: Family = { numKvHeads: 8, maxPositions: 8192, rmsNormEps: 1e-5 };

const ones: Factors = {
  embedding: 1,
  head: 1,
  key: 1,
  attentionIn: 1,
  attentionOut: 1,
  mixerIn: 1,
  mixerOut: 1,
  gate: 1,
  down: 1,
};

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, FalconH1Config> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.bind('config', () => llamaConfig(raw, modelType, family)),
    E.chainFirst(({ config: own }) => onlySilu(own)),
    E.bind('mamba', ({ f, config: { rmsNormEps } }) =>
      mambaShape(f, {
        normEps: rmsNormEps,
        ...(f.mamba_d_ssm === null ? {} : { inner: f.mamba_d_ssm ?? 1024 }),
      }),
    ),
    E.map(({ f, config: own, mamba: { norm: gatedNorm, ...mamba } }) => {
      const [gate, down] = f.mlp_multipliers ?? [1, 1];
      const everywhere = own.windows.map(() => true);
      return {
        ...own,
        architecture: 'falcon_h1',
        mamba: {
          ...mamba,
          outputBias: f.projectors_bias ?? false,
          ...(f.mamba_rms_norm === true && gatedNorm !== undefined
            ? { norm: { ...gatedNorm, groups: mamba.groups, beforeGate: f.mamba_norm_before_gate ?? true } }
            : {}),
          ...(f.ssm_multipliers?.some((factor) => factor !== 1) === true ? { factors: f.ssm_multipliers } : {}),
        },
        mixes: everywhere,
        attends: everywhere,
        factors: {
          embedding: f.embedding_multiplier ?? 1,
          head: f.lm_head_multiplier ?? 1,
          key: f.key_multiplier ?? 1,
          attentionIn: f.attention_in_multiplier ?? 1,
          attentionOut: f.attention_out_multiplier ?? 1,
          mixerIn: f.ssm_in_multiplier ?? 1,
          mixerOut: f.ssm_out_multiplier ?? 1,
          gate,
          down,
        },
      };
    }),
  );

const times = (factor: number): Map => (factor === 1 ? identity : scaled(factor));

const mixer = (c: FalconH1Config, pass: Pass, i: number): Map =>
  compose(
    times(c.factors.mixerIn),
    mamba2(pass, `${layerAt(i)}.mamba`, c.mamba, narrowing(pass, i, c.numLayers)),
    times(c.factors.mixerOut),
  );

const attention = (c: FalconH1Config, pass: Pass, angles: RotaryAngles, i: number): Map =>
  compose(
    times(c.factors.attentionIn),
    selfAttention(c, pass, angles, i, c.factors.key === 1 ? {} : { keys: scaled(c.factors.key) }),
    times(c.factors.attentionOut),
  );

const layer = (c: FalconH1Config, pass: Pass, angles: RotaryAngles, i: number): Map => {
  const branches = [
    ...(c.mixes[i] === true ? [mixer(c, pass, i)] : []),
    ...(c.attends[i] === true ? [attention(c, pass, angles, i)] : []),
  ];
  const gate = compose(each(times(c.factors.gate), identity), gated(c.activation));
  return inTurn(
    { pass, i, numLayers: c.numLayers },
    compose(norm(c, `${layerAt(i)}.input_layernorm`), fanOut(...branches), total),
    compose(
      norm(c, `${layerAt(i)}.pre_ff_layernorm`),
      gatedBy(gate, pass, `${layerAt(i)}.feed_forward`, gatedNames),
      times(c.factors.down),
    ),
  );
};

/** Llama's tensors under the names that these have. */
const tensors = (c: FalconH1Config): ReadonlyArray<TensorSpec> => [
  ...llamaTensors(c).flatMap((spec) => {
    const [, i] = /^model\.layers\.(\d+)\.self_attn\./.exec(spec.name) ?? [];
    if (i !== undefined && c.attends[Number(i)] !== true) return [];
    const name = spec.name
      .replace(/\.mlp\./, '.feed_forward.')
      .replace(/\.post_attention_layernorm\./, '.pre_ff_layernorm.')
      .replace(/^model\.norm\./, 'model.final_layernorm.');
    return [{ ...spec, name }];
  }),
  ...perLayer(c.numLayers, (i) => (c.mixes[i] === true ? mamba2Spec(`${layerAt(i)}.mamba`, c.mamba) : [])),
];

export const falconH1: Architecture<FalconH1Config> = {
  ...llama,
  name: 'falcon_h1',
  modelTypes: ['falcon_h1'],
  config,
  tensors,
  body: (c, pass) =>
    rotaryBody(c, pass, compose(llamaStem(c, pass), times(c.factors.embedding)), (angles, i) =>
      layer(c, pass, angles, i),
    ),
  tail: (c) => compose(norm(c, 'model.final_layernorm'), times(c.factors.head)),
};

const bambaFields = t.type({ ...mambaFields, attn_layer_indices: optional(t.array(nonNegativeInteger)) });

export const bamba: Architecture<FalconH1Config> = {
  ...falconH1,
  name: 'bamba',
  modelTypes: ['bamba'],
  config: (raw, modelType) =>
    pipe(
      onlyAs({ z_loss_coefficient: 0 })(raw),
      E.flatMap(decodeFields(bambaFields)),
      E.bindTo('f'),
      // Half of each head turns, whatever the file says.
      E.bind('config', () =>
        llamaConfig({ ...raw, partial_rotary_factor: 0.5 }, modelType, {
          ...family,
          maxPositions: 262_144,
          partial: true,
        }),
      ),
      E.chainFirst(({ config: own }) => onlySilu(own)),
      E.bind('mamba', ({ f, config: { rmsNormEps } }) => mambaShape(f, { normEps: rmsNormEps })),
      E.map(({ f, config: own, mamba }) => {
        const attends = own.windows.map((_, i) => f.attn_layer_indices?.includes(i) === true);
        return {
          ...own,
          raw,
          architecture: 'bamba',
          mamba,
          mixes: attends.map((does) => !does),
          attends,
          factors: ones,
        };
      }),
    ),
};
