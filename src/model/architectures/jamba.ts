/** Jamba: mixers of Mamba with attention that knows no positions in every so many layers, and routed experts in every so many MLPs. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { boolean, decodeFields, nonNegativeInteger, optional, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import type { Layer } from '../layers/layer.js';
import { gatedNames } from '../layers/mlp.js';
import { narrowing } from '../layers/rows.js';
import { mamba, mambaSpec } from '../recurrent/mamba.js';
import type { MambaShape } from '../recurrent/mamba.js';
import { perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { everywhere, norm, selfAttention } from './llama.js';
import { onlySilu, rankOf, ranks } from './mambaConfig.js';
import { mixtureArchitecture, mixtureConfig, mixturePacked, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

export interface JambaConfig extends MixtureConfig {
  readonly mamba: MambaShape;
  /** One a layer: whether it attends, or is a mixer. */
  readonly attends: ReadonlyArray<boolean>;
}

const fields = t.type({
  hidden_size: positiveInteger,
  num_experts: optional(positiveInteger),
  num_local_experts: optional(positiveInteger),
  expert_layer_period: optional(positiveInteger),
  expert_layer_offset: optional(nonNegativeInteger),
  attn_layer_period: optional(positiveInteger),
  attn_layer_offset: optional(nonNegativeInteger),
  mamba_d_state: optional(positiveInteger),
  mamba_d_conv: optional(positiveInteger),
  mamba_expand: optional(positiveInteger),
  mamba_dt_rank: optional(ranks),
  mamba_conv_bias: optional(boolean),
  mamba_proj_bias: optional(boolean),
});
type Fields = t.TypeOf<typeof fields>;

interface Turn {
  readonly period: number;
  readonly offset: number;
}

const turnOf = (field: string, { period, offset }: Turn): E.Either<FatalError, Turn> =>
  offset < period
    ? E.right({ period, offset })
    : E.left(unfit(field, `less than the period, ${period} layers`, offset));

const isTurn = ({ period, offset }: Turn, layer: number): boolean => layer % period === offset;

const shapeOf = (f: Fields, eps: number): MambaShape => ({
  hiddenSize: f.hidden_size,
  inner: f.hidden_size * (f.mamba_expand ?? 2),
  stateDim: f.mamba_d_state ?? 16,
  rank: rankOf(f.mamba_dt_rank, f.hidden_size),
  taps: f.mamba_d_conv ?? 4,
  convBias: f.mamba_conv_bias ?? true,
  projectionBias: f.mamba_proj_bias ?? false,
  norms: { eps, gains: true },
});

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, JambaConfig> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.bind('attention', ({ f }) =>
      turnOf('attn_layer_offset', { period: f.attn_layer_period ?? 8, offset: f.attn_layer_offset ?? 4 }),
    ),
    E.bind('experts', ({ f }) =>
      turnOf('expert_layer_offset', { period: f.expert_layer_period ?? 2, offset: f.expert_layer_offset ?? 1 }),
    ),
    // One expert is a plain MLP without a router.
    E.let('several', ({ f }) => (f.num_experts ?? f.num_local_experts ?? 16) > 1),
    E.bind('own', ({ several, experts }) =>
      mixtureConfig(several ? raw : { ...raw, num_experts_per_tok: 1, output_router_logits: null }, modelType, {
        numExperts: 16,
        perToken: 2,
        normalized: false,
        auxLossCoef: 0.001,
        mixed: (layer) => several && isTurn(experts, layer),
        llama: {
          numKvHeads: 8,
          maxPositions: 262_144,
          turns: (given) => E.right(everywhere(given, false)),
        },
        only: { attention_bias: false, mlp_bias: false, sliding_window: null },
      }),
    ),
    E.bind('checked', ({ own }) => onlySilu(own)),
    E.map(({ f, attention, own }) => ({
      ...own,
      architecture: 'jamba',
      raw,
      mamba: shapeOf(f, own.rmsNormEps),
      attends: own.routed.map((_, i) => isTurn(attention, i)),
    })),
  );

const layerAt = (i: number): string => `model.layers.${i}`;

/** An MLP and a mixture have one name. */
const names: MixtureNames = {
  block: 'feed_forward',
  dense: 'feed_forward',
  router: 'router',
  norms: { beforeAttention: 'input_layernorm', beforeMlp: 'pre_ff_layernorm' },
  ...gatedNames,
};

const tensors = (c: JambaConfig): ReadonlyArray<TensorSpec> => {
  const isOfMixer = (name: string): boolean => {
    const layer = /^model\.layers\.(\d+)\.self_attn\./.exec(name)?.[1];
    return layer !== undefined && c.attends[Number(layer)] === false;
  };
  return [
    ...mixtureTensors(c, names)
      .filter(({ name }) => !isOfMixer(name))
      .map((spec) => ({ ...spec, name: spec.name.replace('model.norm.', 'model.final_layernorm.') })),
    ...perLayer(c.numLayers, (i) => (c.attends[i] === true ? [] : mambaSpec(`${layerAt(i)}.mamba`, c.mamba))),
  ];
};

export const jamba = mixtureArchitecture<JambaConfig>({
  name: 'jamba',
  modelTypes: ['jamba'],
  names,
  config,
  tensors,
  packed: (c) => mixturePacked(c, names, 'feed_forward'),
  attention: (c, pass, angles, i): Layer<Tensor, Tensor> =>
    c.attends[i] === true
      ? selfAttention(c, pass, angles, i)
      : mamba(pass, `${layerAt(i)}.mamba`, c.mamba, narrowing(pass, i, c.numLayers)),
  tail: (c) => norm(c, 'model.final_layernorm'),
});
