/**
 * Multi-head latent attention (DeepSeek-V2, section 2.1): keys and values come of one narrow latent a token, and what turns of keys is
 * one for all heads.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { ModelConfig } from '../config.js';
import { latentHeads, latentHeadsGrad } from '../kernels/latentHeads.js';
import type { LatentHeadsAttrs } from '../kernels/latentHeads.js';
import { splitColumns } from '../layers/columns.js';
import { compose, each, identity, inactive, landedOn, passed } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { linears } from '../layers/linears.js';
import { rmsNorm } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { linearSpec, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { attention } from './attention.js';
import { grownQueries } from './grownQueries.js';
import type { RotaryAngles } from './rope.js';
import type { RopeConfig } from './ropeConfig.js';

export interface LatentSizes {
  /** Width of the latent that queries come of. Absent: they come of the input. */
  readonly queryRank: number | undefined;
  /** Width of the latent that keys and values come of. */
  readonly kvRank: number;
  /** Entries of each query and key that stay, and that turn. */
  readonly nopeDim: number;
  readonly ropeDim: number;
  /** Width of a head's values, at most nopeDim + ropeDim. */
  readonly valueDim: number;
  /** Entries that turn together lie beside each other, not in two halves. */
  readonly interleaved: boolean;
}

/** `headDim` is nopeDim + ropeDim. */
export interface LatentShape extends Pick<ModelConfig, 'numLayers' | 'numHeads' | 'headDim' | 'hiddenSize'> {
  readonly latent: LatentSizes;
  /** Queries grow as this says. Default: they stay. */
  readonly rope?: Pick<RopeConfig, 'growth'>;
  /** What products of queries and keys are multiplied by. */
  readonly attentionScale: number;
  /** Maps of the input and to the output have biases. */
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
}

/** transformers' norms of latents have this epsilon, whatever config.json says. */
export const latentEps = 1e-6;

const names = {
  query: 'q_proj',
  queryDown: 'q_a_proj',
  queryNorm: 'q_a_layernorm',
  queryUp: 'q_b_proj',
  down: 'kv_a_proj_with_mqa',
  norm: 'kv_a_layernorm',
  up: 'kv_b_proj',
  output: 'o_proj',
} as const;

/** Modules that take an adapter when none are named: those that make queries and values, as in models that have them apart. */
export const latentTargets = ({ latent: { queryRank } }: Pick<LatentShape, 'latent'>): ReadonlyArray<string> => [
  queryRank === undefined ? names.query : names.queryUp,
  names.up,
];

/** Tensors of the attention of a layer. */
export const latentSpecs = (
  { numHeads, headDim, hiddenSize, latent, qkvBias, outputBias }: LatentShape,
  module: string,
): ReadonlyArray<TensorSpec> => {
  const { queryRank, kvRank, nopeDim, ropeDim, valueDim } = latent;
  const of = (name: string): string => `${module}.${name}`;
  return [
    ...(queryRank === undefined
      ? linearSpec(of(names.query), numHeads * headDim, hiddenSize, false)
      : [
          ...linearSpec(of(names.queryDown), queryRank, hiddenSize, qkvBias),
          rmsNormSpec(of(names.queryNorm), queryRank),
          ...linearSpec(of(names.queryUp), numHeads * headDim, queryRank, false),
        ]),
    ...linearSpec(of(names.down), kvRank + ropeDim, hiddenSize, qkvBias),
    rmsNormSpec(of(names.norm), kvRank),
    // What turns of keys is one for all heads, and each has its own in memory.
    ...linearSpec(of(names.up), numHeads * (nopeDim + valueDim), kvRank, false).map((spec) => ({
      ...spec,
      keeps: numHeads * (headDim + valueDim),
    })),
    ...linearSpec(of(names.output), hiddenSize, numHeads * valueDim, outputBias),
  ];
};

/** [q, kv, shared] to [q, k, v], turned by the angles. */
const heads =
  ({ cos, sin }: RotaryAngles, attrs: LatentHeadsAttrs): Layer<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>> =>
  (_weights, input, wanted) => {
    const [q, kv, shared] = input as readonly [Tensor, Tensor, Tensor];
    const made = latentHeads({ q, kv, shared, cos, sin }, attrs);
    const value: ReadonlyArray<Tensor> = [made.q, made.k, made.v];
    if (!wanted.input) return inactive(value);
    return passed(value, [], (dOutput, onto) => {
      const [dq, dk, dv] = dOutput as readonly [Tensor, Tensor, Tensor];
      const { dq: dQueries, dKv, dShared } = latentHeadsGrad({ dq, dk, dv, cos, sin }, attrs);
      for (const gradient of dOutput) gradient.dispose();
      return [{}, landedOn<ReadonlyArray<Tensor>>([dQueries, dKv, dShared], onto)];
    });
  };

/** [a, b] ↦ [a, …], b cut into columns. */
const cutLast = (sizes: ReadonlyArray<number>): Layer<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>> => {
  const cut = splitColumns(sizes);
  return (weights, input, wanted) => {
    const [first, last] = input as readonly [Tensor, Tensor];
    const passing = identity(weights, first, wanted);
    const parts = cut(weights, last, wanted);
    const value: ReadonlyArray<Tensor> = [passing.value, ...parts.value];
    if (!wanted.input) return inactive(value);
    return passed(value, [], (dOutput, onto) => {
      const [dFirst, ...dParts] = dOutput as readonly [Tensor, ...Tensor[]];
      const [, dLast] = parts.pullback(dParts);
      return [{}, landedOn<ReadonlyArray<Tensor>>(dLast === undefined ? [dFirst] : [dFirst, dLast], onto)];
    });
  };
};

/** Attention of layer `i`, [N, C] to the same; of the rows that are read, in the last layer. */
export const latentAttention = (
  config: LatentShape,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
): Layer<Tensor, Tensor> => {
  const { numHeads, headDim, numLayers, latent } = config;
  const { queryRank, kvRank, nopeDim, ropeDim, valueDim, interleaved } = latent;
  const of = (name: string): string => `model.layers.${i}.self_attn.${name}`;
  const normed = (norm: string, up: string): Layer<Tensor, Tensor> =>
    compose(rmsNorm(of(norm), { eps: latentEps, offset: 0 }), linear(pass, { module: of(up) }));
  return compose(
    compose(
      linears(pass, [of(queryRank === undefined ? names.query : names.queryDown), of(names.down)]),
      cutLast([kvRank, ropeDim]),
      each(
        queryRank === undefined ? identity : normed(names.queryNorm, names.queryUp),
        normed(names.norm, names.up),
        identity,
      ),
      compose(
        heads(angles, { heads: numHeads, nopeDim, ropeDim, valueDim, interleaved }),
        each(grownQueries(pass, config.rope?.growth), identity, identity),
      ),
    ),
    attention(pass, {
      layer: i,
      heads: numHeads,
      kvHeads: numHeads,
      headDim,
      valueDim,
      scale: config.attentionScale,
      window: 0,
    }),
    narrowing(pass, i, numLayers),
    linear(pass, { module: of(names.output) }),
  );
};
