/**
 * What Qwen's hybrid models have in common: layers of the gated delta rule (Gated DeltaNet, Yang, Kautz & Hatamizadeh 2024), and between
 * them layers of attention whose outputs are gated and whose heads turn in part.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { RotaryAngles } from '../attention/rope.js';
import type { RopeDefaults } from '../attention/ropeConfig.js';
import { decodeFields, layerCount, onlyAs, optional, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { regrouped, splitGroups } from '../layers/columns.js';
import { beside, compose, each, fanOut, identity, spread } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { linears, queryKeyValue } from '../layers/linears.js';
import { gated } from '../layers/mlp.js';
import { perHead, rmsNorm } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { causalConv, causalConvSpec } from '../recurrent/causalConv.js';
import { deltaRuleSpec, gatedDeltaRule } from '../recurrent/gatedDeltaRule.js';
import type { DeltaShape } from '../recurrent/gatedDeltaRule.js';
import { linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { selfAttention } from './llama.js';
import type { Family, LlamaConfig } from './llama.js';

export interface Hybrid {
  /** One a layer: whether it has the delta rule; else it attends. */
  readonly recurs: ReadonlyArray<boolean>;
  readonly delta: DeltaShape;
  /** Tokens that the convolution before the delta rule reads, its own among them. */
  readonly taps: number;
  /** One map makes queries, keys, values and gates, another both numbers of each head; key head after key head. Else each has its own. */
  readonly joined: boolean;
}

export type HybridConfig = LlamaConfig & Hybrid;

const fields = t.type({
  num_hidden_layers: layerCount,
  layer_types: optional(t.array(t.keyof({ full_attention: null, linear_attention: null }))),
  full_attention_interval: optional(positiveInteger),
  linear_conv_kernel_dim: optional(positiveInteger),
  linear_key_head_dim: optional(positiveInteger),
  linear_value_head_dim: optional(positiveInteger),
  linear_num_key_heads: optional(positiveInteger),
  linear_num_value_heads: optional(positiveInteger),
});
type Fields = t.TypeOf<typeof fields>;

const recurringLayers = (f: Fields): E.Either<FatalError, ReadonlyArray<boolean>> => {
  const { num_hidden_layers: layers, layer_types: types } = f;
  if (types === undefined || types === null)
    return E.right(Array.from({ length: layers }, (_, i) => (i + 1) % (f.full_attention_interval ?? 4) !== 0));
  return types.length === layers
    ? E.right(types.map((type) => type === 'linear_attention'))
    : E.left(unfit('layer_types', `${layers} entries, one a layer`, types));
};

/** What these models say of their layers beside Llama's fields. */
const hybridOf = (raw: RawConfig, joined: boolean): E.Either<FatalError, Hybrid> =>
  pipe(
    onlyAs({ attn_output_gate: true })(raw),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.bind('recurs', ({ f }) => recurringLayers(f)),
    E.let('keyHeads', ({ f }) => f.linear_num_key_heads ?? 16),
    E.let('valueHeads', ({ f }) => f.linear_num_value_heads ?? 32),
    E.filterOrElse(
      ({ keyHeads, valueHeads }) => valueHeads % keyHeads === 0,
      ({ keyHeads, valueHeads }) =>
        unfit('linear_num_value_heads', `a multiple of linear_num_key_heads ${keyHeads}`, valueHeads),
    ),
    E.map(({ f, recurs, keyHeads, valueHeads }) => ({
      recurs,
      delta: {
        keyHeads,
        valueHeads,
        keyDim: f.linear_key_head_dim ?? 128,
        valueDim: f.linear_value_head_dim ?? 128,
      },
      taps: f.linear_conv_kernel_dim ?? 4,
      joined,
    })),
  );

/** Llama's part of such a family. */
export const hybridFamily = (numKvHeads: number, rope: Pick<RopeDefaults, 'scalingNames'> = {}): Family => ({
  numKvHeads,
  headDim: 256,
  maxPositions: 32_768,
  partial: true,
  rope: { partial: 0.25, ...rope },
  headNorm: true,
});

/** The configuration that `base` makes of the file without what is said here, with that. */
export const hybridConfig = <C extends LlamaConfig>(
  raw: RawConfig,
  { architecture, joined }: { readonly architecture: string; readonly joined: boolean },
  base: (raw: RawConfig) => E.Either<FatalError, C>,
): E.Either<FatalError, C & Hybrid> =>
  pipe(
    hybridOf(raw, joined),
    E.bindTo('hybrid'),
    E.bind('config', () => base({ ...raw, layer_types: null })),
    // The convolution before the delta rule has the activation of the MLPs.
    E.filterOrElse(
      ({ config }) => config.activation === 'silu',
      () => unfit('hidden_act', '"silu"', raw['hidden_act']),
    ),
    E.map(({ hybrid, config }) => ({ ...config, ...hybrid, architecture, raw, normOffset: 1 })),
  );

const widthsOf = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaShape) => {
  const keys = keyHeads * keyDim;
  const values = valueHeads * valueDim;
  return { keys, values, qkv: 2 * keys + values };
};

const deltaModule = (i: number): string => `model.layers.${i}.linear_attn`;

const deltaSpecs = ({ hiddenSize, delta, taps, joined }: HybridConfig, i: number): ReadonlyArray<TensorSpec> => {
  const module = deltaModule(i);
  const { valueHeads, valueDim } = delta;
  const { values, qkv } = widthsOf(delta);
  const maps = joined
    ? { in_proj_qkvz: qkv + values, in_proj_ba: 2 * valueHeads }
    : { in_proj_qkv: qkv, in_proj_z: values, in_proj_b: valueHeads, in_proj_a: valueHeads };
  const makesGates = joined ? 'in_proj_qkvz' : 'in_proj_z';
  return [
    ...Object.entries(maps).flatMap(([name, width]) =>
      linearSpec(`${module}.${name}`, width, hiddenSize, false).map((spec) =>
        // Beside the gates there are, for as long, what they multiply and what comes of it.
        name === makesGates ? { ...spec, keeps: width + 2 * values } : spec,
      ),
    ),
    ...causalConvSpec(`${module}.conv1d`, qkv, taps, false),
    ...deltaRuleSpec(module, valueHeads),
    rmsNormSpec(`${module}.norm`, valueDim),
    ...linearSpec(`${module}.out_proj`, hiddenSize, values, false),
  ];
};

/** Tensors of a model of Llama's attention as one of these has them. */
export const hybridTensors = (config: HybridConfig, all: ReadonlyArray<TensorSpec>): ReadonlyArray<TensorSpec> => [
  ...all.flatMap((spec) => {
    const [, layer, own] = /^model\.layers\.(\d+)\.self_attn\.(\w+)/.exec(spec.name) ?? [];
    if (layer === undefined) return [spec];
    if (config.recurs[Number(layer)] === true) return [];
    const [rows = 0, ...columns] = spec.shape;
    // Queries and gates, and what these make of the heads' values.
    return own === 'q_proj' ? [{ ...spec, shape: [2 * rows, ...columns], keeps: 3 * rows }] : [spec];
  }),
  ...perLayer(config.numLayers, (i) => (config.recurs[i] === true ? deltaSpecs(config, i) : [])),
];

/** [N, C] to [z, qkv, b, a], of which z gates what comes out of the delta rule. */
const deltaInputs = (
  { delta, joined }: HybridConfig,
  pass: Pass,
  module: string,
): Layer<Tensor, ReadonlyArray<Tensor>> => {
  if (!joined)
    return linears(
      pass,
      ['in_proj_z', 'in_proj_qkv', 'in_proj_b', 'in_proj_a'].map((name) => `${module}.${name}`),
    );
  const { keyHeads, valueHeads, keyDim, valueDim } = delta;
  const group = valueHeads / keyHeads;
  return compose(
    linears(pass, [`${module}.in_proj_qkvz`, `${module}.in_proj_ba`]),
    spread(
      splitGroups(keyHeads, [keyDim, keyDim, group * valueDim, group * valueDim]),
      splitGroups(keyHeads, [group, group]),
    ),
    regrouped([[3], [0, 1, 2], [4], [5]]),
  );
};

const deltaNet = (config: HybridConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const { delta, rmsNormEps: eps, numLayers } = config;
  const module = deltaModule(i);
  const read = narrowing(pass, i, numLayers);
  const convolve = causalConv(pass, { module: `${module}.conv1d`, silu: true });
  const normed = perHead(delta.valueDim, rmsNorm(`${module}.norm`, { eps, offset: 0 }));
  return compose(
    compose(deltaInputs(config, pass, module), each(identity, convolve, identity, identity)),
    beside(gatedDeltaRule(pass, module, delta)),
    compose(each(read, compose(read, normed)), gated('silu')),
    linear(pass, { module: `${module}.out_proj` }),
  );
};

/** Queries come with gates, head by head. */
const gatedProjections = ({ numHeads, headDim }: HybridConfig, pass: Pass, i: number) => {
  const one = fanOut(identity<Tensor>);
  return compose(
    queryKeyValue(pass, `model.layers.${i}.self_attn`),
    spread(splitGroups(numHeads, [headDim, headDim]), one, one),
    regrouped([[1], [0], [2], [3]]),
  );
};

/** What mixes the tokens in layer `i`, [N, hiddenSize] to the same. */
export const hybridMixer = (
  config: HybridConfig,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
): Layer<Tensor, Tensor> =>
  config.recurs[i] === true
    ? deltaNet(config, pass, i)
    : selfAttention(config, pass, angles, i, { gated: true, project: gatedProjections(config, pass, i) });
