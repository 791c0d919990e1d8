/**
 * Mixtures of experts in GGUF: Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE, gpt-oss, dots.llm1, GLM-4.5, Ernie and Hunyuan with experts,
 * MiniMax-M2, Hunyuan 3. One tensor holds a map of all experts of a layer.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import { bool, float32, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { MixtureConfig } from '../architectures/mixture.js';
import type { OlmoeConfig } from '../architectures/olmoe.js';
import type { ModelConfig } from '../config.js';
import type { TensorSpec } from '../weights.js';
import { asIs, squeezed, unsupported } from './layout.js';
import type { GgufTensor, LayoutOf } from './layout.js';
import { layoutOf, likeLlama, noBias, rmsEps, usualScalings } from './llamaLike.js';
import type { Form } from './llamaLike.js';

const inLayer = {
  'block_sparse_moe.gate': 'ffn_gate_inp',
  'mlp.gate': 'ffn_gate_inp',
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
  'mlp.shared_expert.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_expert.up_proj': 'ffn_up_shexp',
  'mlp.shared_expert.down_proj': 'ffn_down_shexp',
  'mlp.shared_experts.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_experts.up_proj': 'ffn_up_shexp',
  'mlp.shared_experts.down_proj': 'ffn_down_shexp',
  'mlp.correction': 'exp_probs_b',
} as const;

/** Maps of experts, under Mixtral's names too. */
const ofExperts: Readonly<Record<string, string>> = {
  gate_proj: 'ffn_gate_exps',
  up_proj: 'ffn_up_exps',
  down_proj: 'ffn_down_exps',
  w1: 'ffn_gate_exps',
  w3: 'ffn_up_exps',
  w2: 'ffn_down_exps',
};

const ofExpert = /^model\.layers\.(\d+)\.(?:\w+\.)?experts\.\d+\.(\w+)\.(weight|bias)$/;

/** What is added where experts are chosen, as other biases are called. */
const corrections = (name: string): string =>
  name.replace(/\.mlp\.(?:gate|moe_statics)\.e_score_correction_bias$/, '.mlp.correction.bias');

/** The experts' tensors, each with the weights of all experts in their order. */
const merged = (specs: ReadonlyArray<TensorSpec>): ReadonlyArray<GgufTensor> => {
  const sources = new Map<string, Array<string>>();
  for (const { name } of specs) {
    const [, layer = '', map = '', own = ''] = ofExpert.exec(name) ?? [];
    const there = `blk.${layer}.${ofExperts[map] ?? map}.${own}`;
    const known = sources.get(there);
    if (known === undefined) sources.set(there, [name]);
    else known.push(name);
  }
  return Array.from(sources, ([name, own]) => ({ name, sources: own, arrangement: asIs }));
};

/** A layout of models without experts, of models that have some: their maps lie in tensors of whole layers. */
export const withExperts =
  <C extends ModelConfig>(layout: LayoutOf<C>): LayoutOf<C> =>
  (config, specs) =>
    pipe(
      layout(
        config,
        specs.filter(({ name }) => !ofExpert.test(name)),
      ),
      E.map((without) => ({
        ...without,
        tensors: [...without.tensors, ...merged(specs.filter(({ name }) => ofExpert.test(name)))],
      })),
    );

export interface MixtureForm<C extends MixtureConfig> extends Form<C> {
  /** Whether llama.cpp lets the weights of a token's experts add up to 1, or is told. */
  readonly normalized: boolean | 'told';
  /** The first layers may have none, of which it is told the number. */
  readonly leading?: boolean;
  /** It is told what a router makes of its logits, and what the weights are multiplied by. */
  readonly routing?: boolean;
  /** Of the expert that all tokens go to it is told of how many routed ones it is made. */
  readonly sharedCount?: boolean;
  /** Experts have a width of their own there. */
  readonly ownSize?: boolean;
  readonly hasShared?: boolean;
}

/** How many layers come before the first with experts. */
const denseLayers = ({ routed }: Pick<MixtureConfig, 'routed'>): number => Math.max(0, routed.indexOf(true));

const mixtureRefusal = <C extends MixtureConfig>(
  { normalized, leading = false, routing: told = false, refusal }: MixtureForm<C>,
  config: C,
): FatalError | undefined => {
  const { experts, routed, routing } = config;
  if (normalized !== 'told' && experts.normalized !== normalized)
    return unsupported('norm_topk_prob', String(normalized), experts.normalized);
  if (!told && (routing?.factor ?? 1) !== 1) return unsupported('routed_scaling_factor', '1', routing?.factor);
  // Groups count there as their two best experts do.
  if (routing?.groups?.best === 1) return unsupported('topk_method', 'greedy or noaux_tc', 'group_limited_greedy');
  if (!routed.slice(leading ? denseLayers(config) : 0).every(Boolean))
    return unsupported(
      'mlp_only_layers',
      'experts in every layer',
      routed.flatMap((has, i) => (has ? [] : [i])),
    );
  return refusal?.(config);
};

const expertsMetadata = <C extends MixtureConfig>(
  { name, ownSize = false, hasShared = false, normalized, leading, routing: told, sharedCount }: MixtureForm<C>,
  config: C,
): GgufMetadata => {
  const { experts, expertSize, sharedSize, routing } = config;
  return {
    [`${name}.expert_count`]: uint32(experts.numExperts),
    [`${name}.expert_used_count`]: uint32(experts.perToken),
    ...(ownSize ? { [`${name}.expert_feed_forward_length`]: uint32(expertSize) } : {}),
    ...(hasShared ? { [`${name}.expert_shared_feed_forward_length`]: uint32(sharedSize) } : {}),
    ...(normalized === 'told' ? { [`${name}.expert_weights_norm`]: bool(experts.normalized) } : {}),
    ...(leading === true ? { [`${name}.leading_dense_block_count`]: uint32(denseLayers(config)) } : {}),
    ...(told === true
      ? {
          [`${name}.expert_gating_func`]: uint32(routing?.scores === 'sigmoid' ? 2 : 1),
          [`${name}.expert_weights_scale`]: float32(routing?.factor ?? 1),
        }
      : {}),
    ...(routing?.groups === undefined
      ? {}
      : {
          [`${name}.expert_group_count`]: uint32(routing.groups.count),
          [`${name}.expert_group_used_count`]: uint32(routing.groups.chosen),
        }),
    ...(sharedCount === true ? { [`${name}.expert_shared_count`]: uint32(sharedSize / expertSize) } : {}),
  };
};

export const mixtureLayout = <C extends MixtureConfig>(form: MixtureForm<C>): LayoutOf<C> =>
  withExperts(
    layoutOf<C>({
      ...form,
      names: { ...inLayer, ...form.names },
      alias: form.alias ?? corrections,
      metadata: (own) => ({
        ...rmsEps(form.name)(own),
        ...expertsMetadata(form, own),
        ...form.metadata?.(own),
      }),
      refusal: (own) => mixtureRefusal(form, own),
    }),
  );

/** Mixtral is Llama there. */
export const mixtralLayout: LayoutOf<MixtureConfig> = mixtureLayout({ ...likeLlama, biases: 'none', normalized: true });

export const qwen2MoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  name: 'qwen2moe',
  scalings: usualScalings,
  biases: 'qkv',
  ownHead: true,
  normalized: false,
  ownSize: true,
  hasShared: true,
});

export const qwen3MoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  ...noBias,
  name: 'qwen3moe',
  scalings: usualScalings,
  normalized: true,
  ownSize: true,
});

export const olmoeLayout: LayoutOf<OlmoeConfig> = mixtureLayout<OlmoeConfig>({
  name: 'olmoe',
  scalings: usualScalings,
  biases: 'none',
  ownHead: true,
  normalized: false,
  refusal: ({ clip, numHeads, numKvHeads }) => {
    if (clip !== undefined) return unsupported('clip_qkv', 'null', clip);
    return numKvHeads === numHeads ? undefined : unsupported('num_key_value_heads', String(numHeads), numKvHeads);
  },
});

const windowsByTurns = ({ windows }: MixtureConfig): FatalError | undefined => {
  const window = Math.max(0, ...windows);
  return window > 0 && windows.every((own, i) => own === (i % 2 === 0 ? window : 0))
    ? undefined
    : unsupported('layer_types', 'sliding_attention and full_attention by turns', windows);
};

export const gptOssLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  name: 'gpt-oss',
  scalings: usualScalings,
  cutsYarn: true,
  biases: 'all',
  ownHead: true,
  normalized: true,
  ownSize: true,
  slides: true,
  names: {
    'mlp.router': 'ffn_gate_inp',
    'self_attn.sinks': 'attn_sinks',
    post_attention_layernorm: 'post_attention_norm',
  },
  alias: (name) => name.replace(/\.sinks$/, '.sinks.weight'),
  metadata: ({ windows }) => ({ 'gpt-oss.attention.sliding_window': uint32(Math.max(0, ...windows)) }),
  refusal: (config) =>
    config.qkvBias && config.outputBias
      ? windowsByTurns(config)
      : unsupported('attention_bias', 'true', config.qkvBias),
});

/** As DeepSeek-V3 chooses and weighs experts. */
export const corrected = {
  normalized: 'told',
  leading: true,
  routing: true,
  sharedCount: true,
  ownSize: true,
} as const;

export const dots1Layout: LayoutOf<MixtureConfig> = mixtureLayout({
  ...corrected,
  name: 'dots1',
  scalings: usualScalings,
  biases: 'none',
  ownHead: true,
  refusal: ({ numHeads, numKvHeads }) =>
    numKvHeads === numHeads ? undefined : unsupported('num_key_value_heads', String(numHeads), numKvHeads),
});

export const glm4MoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  ...corrected,
  name: 'glm4moe',
  scalings: usualScalings,
  biases: 'qkv',
  names: { post_attention_layernorm: 'post_attention_norm' },
});

/** Pairs lie beside each other already. */
export const ernieMoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  name: 'ernie4_5-moe',
  scalings: usualScalings,
  biases: 'none',
  normalized: true,
  leading: true,
  ownSize: true,
  hasShared: true,
  sharedCount: true,
  arrange: (_config, name) => (name.endsWith('.exp_probs_b.bias') ? squeezed : undefined),
  metadata: () => ({ 'ernie4_5-moe.interleave_moe_layer_step': uint32(1) }),
  refusal: ({ sharedSize }) =>
    sharedSize > 0 ? undefined : unsupported('moe_num_shared_experts', 'a whole number > 0', sharedSize),
});

export const hunyuanMoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  name: 'hunyuan-moe',
  scalings: usualScalings,
  biases: 'none',
  normalized: true,
  ownSize: true,
  hasShared: true,
  sharedCount: true,
  names: {
    'mlp.gate.wg': 'ffn_gate_inp',
    'mlp.shared_mlp.gate_proj': 'ffn_gate_shexp',
    'mlp.shared_mlp.up_proj': 'ffn_up_shexp',
    'mlp.shared_mlp.down_proj': 'ffn_down_shexp',
    'self_attn.query_layernorm': 'attn_q_norm',
    'self_attn.key_layernorm': 'attn_k_norm',
  },
});

/** Corrections lie beside the router's module, not in it. */
export const minimaxM2Layout: LayoutOf<MixtureConfig> = mixtureLayout({
  name: 'minimax-m2',
  scalings: usualScalings,
  biases: 'none',
  ownHead: true,
  normalized: true,
  routing: true,
  ownSize: true,
  alias: (name) => name.replace(/\.block_sparse_moe\.e_score_correction_bias$/, '.mlp.correction.bias'),
});

/** Corrections lie beside the router's module, and bear no ending there. */
export const hunyuanV3Layout: LayoutOf<MixtureConfig> = mixtureLayout({
  ...corrected,
  name: 'hy_v3',
  scalings: usualScalings,
  biases: 'none',
  hasShared: true,
  sharedCount: false,
  alias: (name) => name.replace(/\.mlp\.e_score_correction_bias$/, '.mlp.correction.alone'),
  refusal: ({ sharedSize }) =>
    sharedSize > 0 ? undefined : unsupported('num_shared_experts', 'a whole number > 0', sharedSize),
});
