/** Models in GGUF whose layers attend or read earlier tokens otherwise: LFM2, LFM2-MoE, Qwen3.5, Qwen3-Next. */
import type { FatalError } from '../../errors.js';
import { int32s, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { HybridConfig } from '../architectures/deltaNet.js';
import type { Lfm2Config } from '../architectures/lfm2.js';
import type { MixtureConfig } from '../architectures/mixture.js';
import { columnsAt, counted, decaying, inTurn, rowsAt, squeezed, unsupported, withCut } from './layout.js';
import type { Arrangement, Cut, LayoutOf } from './layout.js';
import { layoutOf, rmsEps, usualScalings } from './llamaLike.js';
import { mixtureLayout } from './mixture.js';

const lfm2Names = {
  operator_norm: 'attn_norm',
  ffn_norm: 'ffn_norm',
  'conv.conv': 'shortconv.conv',
  'conv.in_proj': 'shortconv.in_proj',
  'conv.out_proj': 'shortconv.out_proj',
  'self_attn.out_proj': 'attn_output',
  'self_attn.q_layernorm': 'attn_q_norm',
  'self_attn.k_layernorm': 'attn_k_norm',
  'feed_forward.w1': 'ffn_gate',
  'feed_forward.w3': 'ffn_up',
  'feed_forward.w2': 'ffn_down',
  'model.embedding_norm': 'token_embd_norm',
} as const;

type Convolving = Pick<Lfm2Config, 'convolves' | 'taps' | 'convBias' | 'numKvHeads'>;

/** Layers that convolve are told by their keys, of which they have none. */
const convolutions = (name: string, { convolves, taps, numKvHeads }: Convolving): GgufMetadata => ({
  [`${name}.attention.head_count_kv`]: int32s(convolves.map((is) => (is ? 0 : numKvHeads))),
  [`${name}.shortconv.l_cache`]: uint32(taps),
});

const lfm2 = {
  names: lfm2Names,
  scalings: usualScalings,
  biases: 'none',
  arrange: (_config: Convolving, name: string) => (name.endsWith('.shortconv.conv.weight') ? squeezed : undefined),
  refusal: ({ convBias }: Convolving) => (convBias ? unsupported('conv_bias', 'false', convBias) : undefined),
} as const;

export const lfm2Layout: LayoutOf<Lfm2Config> = layoutOf<Lfm2Config>({
  ...lfm2,
  name: 'lfm2',
  metadata: (config) => ({ ...rmsEps('lfm2')(config), ...convolutions('lfm2', config) }),
});

export const lfm2MoeLayout: LayoutOf<MixtureConfig & Convolving> = mixtureLayout<MixtureConfig & Convolving>({
  ...lfm2,
  name: 'lfm2moe',
  normalized: true,
  leading: true,
  ownSize: true,
  names: { ...lfm2Names, 'feed_forward.gate': 'ffn_gate_inp', 'feed_forward.correction': 'exp_probs_b' },
  alias: (name) => name.replace(/\.feed_forward\.expert_bias$/, '.feed_forward.correction.bias'),
  metadata: (config) => ({ ...convolutions('lfm2moe', config), 'lfm2moe.expert_gating_func': uint32(2) }),
});

const deltaNames = {
  post_attention_layernorm: 'post_attention_norm',
  'linear_attn.in_proj_qkv': 'attn_qkv',
  'linear_attn.in_proj_z': 'attn_gate',
  'linear_attn.in_proj_a': 'ssm_alpha',
  'linear_attn.in_proj_b': 'ssm_beta',
  'linear_attn.in_proj_ba': 'ssm_ba',
  'linear_attn.A_log': 'ssm_a',
  'linear_attn.dt': 'ssm_dt',
  'linear_attn.conv1d': 'ssm_conv1d',
  'linear_attn.norm': 'ssm_norm',
  'linear_attn.out_proj': 'ssm_out',
} as const;

const deltaAlias = (name: string): string =>
  name
    .replace(/\.linear_attn\.A_log$/, '.linear_attn.A_log.alone')
    .replace(/\.linear_attn\.dt_bias$/, '.linear_attn.dt.bias');

/** Heads of values, of so many rows each, are those of a key head by turns there: the first of every key head, then the second, … */
const byTurns = ({ keyHeads, valueHeads }: HybridConfig['delta'], rows: number, first = 0): ReadonlyArray<number> => {
  const group = valueHeads / keyHeads;
  return counted(group).flatMap((v) => counted(keyHeads).flatMap((k) => counted(rows, first + (k * group + v) * rows)));
};

const deltaArrangement = ({ delta }: HybridConfig, name: string): Arrangement | undefined => {
  const { keyHeads, keyDim, valueDim } = delta;
  const keys = 2 * keyHeads * keyDim;
  switch (name.replace(/^blk\.\d+\./, '')) {
    case 'attn_qkv.weight':
    case 'ssm_conv1d.weight':
      return rowsAt([...counted(keys), ...byTurns(delta, valueDim, keys)]);
    case 'attn_gate.weight':
      return rowsAt(byTurns(delta, valueDim));
    case 'ssm_alpha.weight':
    case 'ssm_beta.weight':
    case 'ssm_dt.bias':
      return rowsAt(byTurns(delta, 1));
    case 'ssm_a':
      return inTurn(rowsAt(byTurns(delta, 1)), decaying);
    case 'ssm_out.weight':
      return columnsAt(byTurns(delta, valueDim));
    case 'ssm_norm.weight':
      return squeezed;
    default:
      return undefined;
  }
};

/** Every how many layers one attends: llama.cpp knows no other pattern. */
const intervalOf = ({ recurs }: HybridConfig): number => recurs.indexOf(false) + 1;

const deltaRefusal = (config: HybridConfig): FatalError | undefined => {
  const { keyDim, valueDim } = config.delta;
  if (keyDim !== valueDim) return unsupported('linear_value_head_dim', String(keyDim), valueDim);
  const every = intervalOf(config);
  return every > 0 && config.recurs.every((is, i) => is === ((i + 1) % every !== 0))
    ? undefined
    : unsupported('layer_types', 'full_attention for every so many layers, else linear_attention', config.recurs);
};

const deltaMetadata = (name: string, config: HybridConfig): GgufMetadata => {
  const { keyHeads, valueHeads, keyDim, valueDim } = config.delta;
  return {
    [`${name}.ssm.conv_kernel`]: uint32(config.taps),
    [`${name}.ssm.state_size`]: uint32(keyDim),
    [`${name}.ssm.group_count`]: uint32(keyHeads),
    [`${name}.ssm.time_step_rank`]: uint32(valueHeads),
    [`${name}.ssm.inner_size`]: uint32(valueHeads * valueDim),
    [`${name}.full_attention_interval`]: uint32(intervalOf(config)),
  };
};

/** Which frequencies count rows and columns of images, and time: those of a text count all alike. */
const sections = (name: string): GgufMetadata => ({ [`${name}.rope.dimension_sections`]: int32s([11, 11, 10, 0]) });

const delta = {
  names: deltaNames,
  alias: deltaAlias,
  scalings: usualScalings,
  biases: 'none',
  refusal: deltaRefusal,
} as const;

export const qwen35Layout: LayoutOf<HybridConfig> = layoutOf<HybridConfig>({
  ...delta,
  name: 'qwen35',
  arrange: deltaArrangement,
  metadata: (config) => ({ ...rmsEps('qwen35')(config), ...deltaMetadata('qwen35', config), ...sections('qwen35') }),
});

type HybridMixture = MixtureConfig & HybridConfig;

const sharing = { ownSize: true, hasShared: true, normalized: true } as const;

export const qwen35MoeLayout: LayoutOf<HybridMixture> = mixtureLayout<HybridMixture>({
  ...delta,
  ...sharing,
  name: 'qwen35moe',
  arrange: deltaArrangement,
  metadata: (config) => ({ ...deltaMetadata('qwen35moe', config), ...sections('qwen35moe') }),
});

const nextArrangement = (_config: HybridMixture, name: string): Arrangement | undefined => {
  if (name.endsWith('.ssm_conv1d.weight') || name.endsWith('.ssm_norm.weight')) return squeezed;
  return name.endsWith('.ssm_a') ? decaying : undefined;
};

/** Of each key head's rows, which are queries, keys, values and gates, all queries, then all keys, then all values; and all gates. */
const partsOfJoined = ({ delta: shape }: HybridMixture): ReadonlyArray<Cut> => {
  const { keyHeads, valueHeads, keyDim, valueDim } = shape;
  const values = (valueHeads / keyHeads) * valueDim;
  const head = 2 * keyDim + 2 * values;
  const of = (first: number, rows: number): ReadonlyArray<number> =>
    counted(keyHeads).flatMap((k) => counted(rows, k * head + first));
  return [
    { name: 'attn_qkv.weight', rows: [...of(0, keyDim), ...of(keyDim, keyDim), ...of(2 * keyDim, values)] },
    { name: 'attn_gate.weight', rows: of(2 * keyDim + values, values) },
  ];
};

export const qwen3NextLayout: LayoutOf<HybridMixture> = withCut(
  mixtureLayout<HybridMixture>({
    ...delta,
    ...sharing,
    name: 'qwen3next',
    arrange: nextArrangement,
    metadata: (own) => deltaMetadata('qwen3next', own),
  }),
  /^model\.layers\.(\d+)\.linear_attn\.in_proj_qkvz\.weight$/,
  partsOfJoined,
);
