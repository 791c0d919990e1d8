/** OLMo Hybrid: three layers of the gated delta rule, with norms before their parts, then one of OLMo 3's attention, by turns. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { boolean, decodeFields, layerCount, onlyAs, optional, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { regrouped } from '../layers/columns.js';
import { beside, compose, each, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { linears } from '../layers/linears.js';
import { gated } from '../layers/mlp.js';
import { perHead, rmsNorm } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { causalConv, causalConvSpec } from '../recurrent/causalConv.js';
import { deltaRuleSpec, gatedDeltaRule } from '../recurrent/gatedDeltaRule.js';
import type { DeltaShape } from '../recurrent/gatedDeltaRule.js';
import { linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { everywhere, llama, llamaConfig, llamaStem, mlp, norm } from './llama.js';
import type { LlamaConfig } from './llama.js';
import { olmo2, olmo2Layer } from './olmo2.js';
import { convName, olmoHybridFiles } from './olmoHybridFiles.js';

interface OlmoHybridConfig extends LlamaConfig {
  /** One a layer: whether it has the delta rule; else it attends. */
  readonly recurs: ReadonlyArray<boolean>;
  readonly delta: DeltaShape;
  /** Tokens that the convolution before the delta rule reads, its own among them. */
  readonly taps: number;
}

const fields = t.type({
  hidden_size: positiveInteger,
  num_hidden_layers: layerCount,
  num_attention_heads: positiveInteger,
  layer_types: optional(t.array(t.keyof({ full_attention: null, linear_attention: null }))),
  rope_parameters: optional(t.UnknownRecord),
  linear_num_key_heads: optional(positiveInteger),
  linear_num_value_heads: optional(positiveInteger),
  linear_key_head_dim: optional(positiveInteger),
  linear_value_head_dim: optional(positiveInteger),
  linear_conv_kernel_dim: optional(positiveInteger),
  linear_allow_neg_eigval: optional(boolean),
});
type Fields = t.TypeOf<typeof fields>;

const recurringLayers = (f: Fields): E.Either<FatalError, ReadonlyArray<boolean>> => {
  const { num_hidden_layers: layers, layer_types: types } = f;
  if (types === null || types === undefined)
    return E.right(Array.from({ length: layers }, (_, i) => i % 4 !== 3 && (layers > 3 || i < layers - 1)));
  if (types.length !== layers) return E.left(unfit('layer_types', `${layers} entries, one a layer`, types));
  return new Set(types).size === 2
    ? E.right(types.map((type) => type === 'linear_attention'))
    : E.left(unfit('layer_types', 'layers of both kinds', types));
};

const deltaOf = (f: Fields): E.Either<FatalError, DeltaShape> => {
  const keyHeads = f.linear_num_key_heads ?? f.num_attention_heads;
  const valueHeads = f.linear_num_value_heads ?? f.num_attention_heads;
  const keyDim = f.linear_key_head_dim ?? Math.floor((0.75 * f.hidden_size) / keyHeads);
  return valueHeads % keyHeads === 0
    ? E.right({
        keyHeads,
        valueHeads,
        keyDim,
        valueDim: f.linear_value_head_dim ?? 2 * keyDim,
        mostRate: (f.linear_allow_neg_eigval ?? true) ? 2 : 1,
      })
    : E.left(unfit('linear_num_value_heads', `a multiple of linear_num_key_heads ${keyHeads}`, valueHeads));
};

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, OlmoHybridConfig> =>
  pipe(
    // The convolution before the delta rule has the activation of the MLPs.
    onlyAs({ hidden_act: 'silu', mlp_bias: false })(raw),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.bind('recurs', ({ f }) => recurringLayers(f)),
    E.bind('delta', ({ f }) => deltaOf(f)),
    // A base that is said to be none stands for heads that do not turn.
    E.let('turns', ({ f }) => f.rope_parameters?.['rope_theta'] !== null),
    E.bind('own', ({ turns }) =>
      llamaConfig({ ...raw, layer_types: null, sliding_window: null }, modelType, {
        maxPositions: 65_536,
        turns: (f) => E.right(everywhere(f, turns)),
      }),
    ),
    E.map(({ f, recurs, delta, own }) => ({
      ...own,
      architecture: 'olmo_hybrid',
      raw,
      recurs,
      delta,
      taps: f.linear_conv_kernel_dim ?? 4,
    })),
  );

const layerAt = (i: number): string => `model.layers.${i}`;

const widthsOf = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaShape) => ({
  keys: keyHeads * keyDim,
  values: valueHeads * valueDim,
});

const deltaSpecs = ({ hiddenSize, delta, taps }: OlmoHybridConfig, i: number): ReadonlyArray<TensorSpec> => {
  const module = `${layerAt(i)}.linear_attn`;
  const { valueHeads, valueDim } = delta;
  const { keys, values } = widthsOf(delta);
  const map = (name: string, width: number): ReadonlyArray<TensorSpec> =>
    linearSpec(`${module}.${name}`, width, hiddenSize, false);
  return [
    rmsNormSpec(`${layerAt(i)}.input_layernorm`, hiddenSize),
    ...map('q_proj', keys),
    ...map('k_proj', keys),
    ...map('v_proj', values),
    ...map('a_proj', valueHeads),
    ...map('b_proj', valueHeads),
    // Beside the gates there are, for as long, what they multiply and what comes of it.
    ...map('g_proj', values).map((spec) => ({ ...spec, keeps: 3 * values })),
    ...causalConvSpec(convName(i), 2 * keys + values, taps, false),
    ...deltaRuleSpec(module, valueHeads),
    rmsNormSpec(`${module}.o_norm`, valueDim),
    ...linearSpec(`${module}.o_proj`, hiddenSize, values, false),
  ];
};

/** transformers takes no other. */
const outputEps = 1e-5;

const deltaNet = ({ delta, numLayers }: OlmoHybridConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const module = `${layerAt(i)}.linear_attn`;
  const read = narrowing(pass, i, numLayers);
  const convolve = causalConv(pass, { module: convName(i), silu: true });
  const normed = perHead(delta.valueDim, rmsNorm(`${module}.o_norm`, { eps: outputEps, offset: 0 }));
  const maps = ['g_proj', 'q_proj', 'k_proj', 'v_proj', 'b_proj', 'a_proj'];
  return compose(
    compose(
      linears(
        pass,
        maps.map((name) => `${module}.${name}`),
      ),
      regrouped([[0], [1, 2, 3], [4], [5]]),
      each(identity, convolve, identity, identity),
    ),
    beside(gatedDeltaRule(pass, module, delta)),
    compose(each(read, compose(read, normed)), gated('silu')),
    linear(pass, { module: `${module}.o_proj` }),
  );
};

const layer = (c: OlmoHybridConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> =>
  c.recurs[i] === true
    ? inTurn(
        { pass, i, numLayers: c.numLayers },
        compose(norm(c, `${layerAt(i)}.input_layernorm`), deltaNet(c, pass, i)),
        compose(norm(c, `${layerAt(i)}.post_attention_layernorm`), mlp(c, pass, i)),
      )
    : olmo2Layer(c, pass, angles, i);

export const olmoHybrid: Architecture<OlmoHybridConfig> = {
  ...llama,
  name: 'olmo_hybrid',
  modelTypes: ['olmo_hybrid'],
  config,
  tensors: (c) => [
    ...olmo2.tensors(c).filter(({ name }) => {
      const [, i] = /^model\.layers\.(\d+)\.(?:self_attn|post_feedforward_layernorm)\./.exec(name) ?? [];
      return i === undefined || c.recurs[Number(i)] !== true;
    }),
    ...perLayer(c.numLayers, (i) => (c.recurs[i] === true ? deltaSpecs(c, i) : [])),
  ],
  fileLayout: ({ recurs, delta }) => olmoHybridFiles(recurs, widthsOf(delta)),
  body: (c, pass) => rotaryBody(c, pass, llamaStem(c, pass), (angles, i) => layer(c, pass, angles, i)),
};
