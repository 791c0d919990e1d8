/**
 * Models of Llama's layout in GGUF: Llama, Mistral, Ministral 3, Qwen2, Qwen3, SmolLM3, Gemma, Gemma 2, Gemma 3, Helium, OLMo, OLMo 2,
 * Cohere, Phi-3, Arcee, Nemotron, Jais 2, Ernie 4.5, Seed-OSS, Hunyuan, GLM-4,
 * GLM.
 */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { float32, string, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { CohereConfig } from '../architectures/cohere.js';
import type { Gemma3Config } from '../architectures/gemma3.js';
import type { LlamaConfig } from '../architectures/llama.js';
import type { NemotronConfig } from '../architectures/nemotron.js';
import type { OlmoConfig } from '../architectures/olmo.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import type { TensorSpec } from '../weights.js';
import { asIs, renamed, unsupported, withHead } from './layout.js';
import type { Arrangement, LayoutOf } from './layout.js';
import { positionWarnings, ropeFactors, ropeMetadata, ropeRefusal, sizesMetadata } from './metadata.js';

const inLayer = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.qkv_proj': 'attn_qkv',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.gate_up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
} as const;

/** Norms that stand behind attention and MLP. */
export const behind = {
  post_attention_layernorm: 'post_attention_norm',
  post_feedforward_layernorm: 'post_ffw_norm',
} as const;

const outside = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
} as const;

type Scalings = Parameters<typeof ropeRefusal>[1];

export const usualScalings: Scalings = ['default', 'linear', 'yarn'];

/** How llama.cpp has a kind of model. */
export interface Form<C extends LlamaConfig> {
  /** Its name there. */
  readonly name: string;
  /** Entries of a head that turn together lie beside each other there, and half a head apart here. */
  readonly interleaved?: boolean;
  readonly names?: Readonly<Record<string, string>>;
  /** What a tensor is called where its name here does not say of which module it is what; `.alone` is no ending there. */
  readonly alias?: (name: string) => string;
  /** How a tensor is rearranged, by its name there. Default: as other fields say. */
  readonly arrange?: (config: C, name: string) => Arrangement | undefined;
  readonly scalings: Scalings;
  /** Activations it may have. */
  readonly activation?: LlamaConfig['activation'];
  /** Biases that it has a place for. */
  readonly biases: 'all' | 'qkv' | 'none';
  /** A tied head is written as its own. */
  readonly ownHead?: boolean;
  /** It has the windows of layers too. */
  readonly slides?: boolean;
  /** YaRN that is not cut to whole frequencies is cut there, which is told. Default: it is refused. */
  readonly cutsYarn?: boolean;
  readonly metadata?: (config: C) => GgufMetadata;
  readonly refusal?: (config: C) => FatalError | undefined;
}

export const rmsEps =
  (name: string) =>
  ({ rmsNormEps }: LlamaConfig): GgufMetadata => ({
    [`${name}.attention.layer_norm_rms_epsilon`]: float32(rmsNormEps),
  });

const cutYarn = (rope: RopeConfig): RopeConfig =>
  rope.scaling.kind === 'yarn' ? { ...rope, scaling: { ...rope.scaling, truncate: true } } : rope;

const biasRefusal = (
  { qkvBias, outputBias, mlpBias }: LlamaConfig,
  biases: Form<LlamaConfig>['biases'],
): FatalError | undefined => {
  if (biases === 'all') return undefined;
  if (mlpBias) return unsupported('mlp_bias', 'false', true);
  return outputBias || (qkvBias && biases === 'none') ? unsupported('attention_bias', 'false', true) : undefined;
};

/** The layout of models of a form. */
export const layoutOf =
  <C extends LlamaConfig>(form: Form<C>): LayoutOf<C> =>
  (config, specs) => {
    const { numHeads, numKvHeads, normOffset, activation, rope } = config;
    const { name, activation: known = 'silu' } = form;
    const refused =
      (activation === known ? undefined : unsupported('hidden_act', known, activation)) ??
      ropeRefusal(form.cutsYarn === true ? cutYarn(rope) : rope, form.scalings) ??
      biasRefusal(config, form.biases) ??
      form.refusal?.(config);
    if (refused !== undefined) return E.left(refused);
    const heads: Readonly<Record<string, number>> =
      form.interleaved === true ? { 'self_attn.q_proj': numHeads, 'self_attn.k_proj': numKvHeads } : {};
    const arrangement = (module: string, { kind, name: own }: TensorSpec): Arrangement => {
      const turning = heads[module];
      if (turning !== undefined) return { kind: 'interleaved', heads: turning };
      return kind === 'norm' && normOffset !== 0 && own.endsWith('.weight') ? { kind: 'offset', by: normOffset } : asIs;
    };
    const names = { ...inLayer, ...form.names };
    const around = { ...outside, ...form.names };
    const tensors = renamed(specs, /^model\.layers\.(\d+)\.(.*)$/, names, around, form.alias).map(
      ({ spec, module, name: called }) => ({
        sources: [spec.name],
        name: called,
        arrangement: form.arrange?.(config, called) ?? arrangement(module, spec),
      }),
    );
    return E.right({
      architecture: name,
      metadata: {
        ...sizesMetadata(name, config),
        ...(form.metadata ?? rmsEps(name))(config),
        ...ropeMetadata(name, rope),
      },
      tensors: form.ownHead === true ? withHead(tensors, 'model.embed_tokens') : tensors,
      extra: ropeFactors(rope),
      warnings: positionWarnings(form.slides === true ? { ...config, windows: [] } : config),
    });
  };

export const likeLlama = {
  name: 'llama',
  interleaved: true,
  scalings: ['default', 'linear', 'dynamic', 'llama3', 'yarn'],
  biases: 'all',
} as const;

export const noBias = { scalings: likeLlama.scalings, biases: 'none' } as const;

/** There every fourth layer knows no positions, and all see all. */
const smolRefusal = ({ turns, windows }: LlamaConfig): FatalError | undefined => {
  if (turns.some((turn, i) => turn !== ((i + 1) % 4 !== 0)))
    return unsupported('no_rope_layers', '0 for every fourth layer, else 1', turns.map(Number));
  return windows.some((window) => window > 0) ? unsupported('use_sliding_window', 'false', true) : undefined;
};

/** Queries grow with the length of a text, from where YaRN begins to stretch. */
const ministral3: Form<LlamaConfig> = {
  ...likeLlama,
  name: 'mistral3',
  scalings: ['yarn'],
  biases: 'none',
  metadata: (config) => ({
    ...rmsEps('mistral3')(config),
    'mistral3.attention.temperature_scale': float32(config.rope.growth?.beta ?? 0),
  }),
};

const forms: Readonly<Record<string, Form<LlamaConfig>>> = {
  llama: likeLlama,
  // Mistral is Llama there.
  mistral: likeLlama,
  qwen2: { ...noBias, name: 'qwen2', biases: 'qkv' },
  qwen3: { ...noBias, name: 'qwen3' },
  ministral3,
  smollm3: { ...likeLlama, name: 'smollm3', biases: 'none', refusal: smolRefusal },
};

export const llamaLayout: LayoutOf<LlamaConfig> = (config, specs) => {
  const form = forms[config.modelType];
  return form === undefined
    ? E.left(unsupported('model_type', `one of ${Object.keys(forms).join(', ')}`, config.modelType))
    : layoutOf(form)(config, specs);
};

export const gemmaLayout: LayoutOf<LlamaConfig> = (config, specs) =>
  layoutOf({ ...noBias, name: 'gemma', activation: config.activation })(config, specs);

/**
 * The first of two layers slides there. Scores are scaled by the width of a head, but in a model of 46 layers, which is taken for the 27B,
 * by hiddenSize / heads.
 */
const gemma2Refusal = (config: LlamaConfig): FatalError | undefined => {
  const { windows, hiddenSize, numLayers, numHeads, headDim, attentionScale, attentionSoftcap, logitSoftcap } = config;
  const window = Math.max(0, ...windows);
  if (windows.some((own, i) => own !== (i % 2 === 0 ? window : 0)))
    return unsupported('layer_types', 'sliding_attention and full_attention by turns', windows);
  const scalar = numLayers === 46 ? hiddenSize / numHeads : headDim;
  if (Math.abs(attentionScale * Math.sqrt(scalar) - 1) > 1e-6)
    return unsupported('query_pre_attn_scalar', String(scalar), attentionScale ** -2);
  if (attentionSoftcap === undefined) return unsupported('attn_logit_softcapping', 'a number', null);
  return logitSoftcap === undefined ? unsupported('final_logit_softcapping', 'a number', null) : undefined;
};

export const gemma2Layout: LayoutOf<LlamaConfig> = layoutOf({
  name: 'gemma2',
  names: { ...behind, pre_feedforward_layernorm: 'ffn_norm' },
  scalings: ['default'],
  activation: 'gelu_new',
  biases: 'none',
  slides: true,
  metadata: (config) => ({
    ...rmsEps('gemma2')(config),
    'gemma2.attention.sliding_window': uint32(Math.max(0, ...config.windows)),
    'gemma2.attn_logit_softcapping': float32(config.attentionSoftcap ?? 0),
    'gemma2.final_logit_softcapping': float32(config.logitSoftcap ?? 0),
  }),
  refusal: gemma2Refusal,
});

/** Every sixth layer sees all there, and the others turn by a base of 10,000. */
const gemma3Refusal = (config: Gemma3Config): FatalError | undefined => {
  const { windows, headDim, attentionScale, localRope } = config;
  const window = Math.max(0, ...windows);
  if (windows.some((own, i) => own !== ((i + 1) % 6 === 0 ? 0 : window)))
    return unsupported('layer_types', 'full_attention for every sixth layer, else sliding_attention', windows);
  if (Math.abs(attentionScale * Math.sqrt(headDim) - 1) > 1e-6)
    return unsupported('query_pre_attn_scalar', String(headDim), attentionScale ** -2);
  return localRope.theta === 10_000 && localRope.scaling.kind === 'default'
    ? undefined
    : unsupported('rope_local_base_freq', '10000', localRope.theta);
};

export const gemma3Layout: LayoutOf<Gemma3Config> = layoutOf({
  name: 'gemma3',
  names: { ...behind, pre_feedforward_layernorm: 'ffn_norm' },
  scalings: ['default', 'linear'],
  activation: 'gelu_new',
  biases: 'none',
  slides: true,
  metadata: (config) => ({
    ...rmsEps('gemma3')(config),
    'gemma3.attention.sliding_window': uint32(Math.max(0, ...config.windows)),
  }),
  refusal: gemma3Refusal,
});

/** Llama, but that its pairs lie beside each other already. */
export const heliumLayout: LayoutOf<LlamaConfig> = layoutOf({ ...likeLlama, interleaved: false });

export const olmoLayout: LayoutOf<OlmoConfig> = layoutOf({
  name: 'olmo',
  interleaved: true,
  scalings: usualScalings,
  biases: 'none',
  metadata: ({ clip }) => ({
    'olmo.attention.layer_norm_epsilon': float32(1e-5),
    ...(clip === undefined ? {} : { 'olmo.attention.clamp_kqv': float32(clip) }),
  }),
});

export const olmo2Layout: LayoutOf<LlamaConfig> = layoutOf({
  name: 'olmo2',
  names: behind,
  scalings: usualScalings,
  biases: 'none',
  ownHead: true,
});

export const cohereLayout: LayoutOf<CohereConfig> = layoutOf({
  name: 'command-r',
  scalings: ['default'],
  biases: 'none',
  metadata: ({ layerNormEps, logitScale }) => ({
    'command-r.attention.layer_norm_epsilon': float32(layerNormEps),
    'command-r.logit_scale': float32(logitScale),
    'command-r.rope.scaling.type': string('none'),
  }),
  refusal: ({ tieWordEmbeddings, ownHeadNorms, numLayers }) => {
    // Command R+ is told by its 64 layers there.
    const normed = numLayers >= 64;
    if (ownHeadNorms !== normed) return unsupported('use_qk_norm', String(normed), ownHeadNorms);
    return tieWordEmbeddings ? undefined : unsupported('tie_word_embeddings', 'true', tieWordEmbeddings);
  },
});

export const phi3Layout: LayoutOf<LlamaConfig> = layoutOf({
  name: 'phi3',
  scalings: ['default', 'longrope'],
  biases: 'none',
  metadata: (config) => ({
    ...rmsEps('phi3')(config),
    'phi3.rope.scaling.original_context_length': uint32(config.maxPositions),
    // 0 tells Phi-4, which has none.
    'phi3.attention.sliding_window': uint32(Math.max(0, ...config.windows)),
  }),
});

export const arceeLayout: LayoutOf<LlamaConfig> = layoutOf({
  ...likeLlama,
  name: 'arcee',
  activation: 'relu2',
  biases: 'qkv',
});

const layerNormEps =
  (name: string) =>
  ({ layerNormEps: eps }: NemotronConfig): GgufMetadata => ({ [`${name}.attention.layer_norm_epsilon`]: float32(eps) });

export const nemotronLayout: LayoutOf<NemotronConfig> = layoutOf({
  name: 'nemotron',
  scalings: ['default', 'linear'],
  activation: 'relu2',
  biases: 'all',
  ownHead: true,
  metadata: layerNormEps('nemotron'),
  refusal: ({ headDim, numHeads, hiddenSize }) =>
    headDim * numHeads === hiddenSize ? undefined : unsupported('head_dim', String(hiddenSize / numHeads), headDim),
});

/** All of its maps have biases there. */
export const jais2Layout: LayoutOf<NemotronConfig> = layoutOf({
  name: 'jais2',
  scalings: usualScalings,
  activation: 'relu2',
  biases: 'all',
  metadata: layerNormEps('jais2'),
  refusal: ({ qkvBias, mlpBias }) => {
    if (!qkvBias) return unsupported('attention_bias', 'true', qkvBias);
    return mlpBias ? undefined : unsupported('mlp_bias', 'true', mlpBias);
  },
});

/** Pairs lie beside each other already. */
export const ernieLayout: LayoutOf<LlamaConfig> = layoutOf({
  name: 'ernie4_5',
  scalings: usualScalings,
  biases: 'none',
});

export const seedOssLayout: LayoutOf<LlamaConfig> = layoutOf({
  name: 'seed_oss',
  names: { post_attention_layernorm: behind.post_attention_layernorm },
  scalings: usualScalings,
  biases: 'qkv',
});

export const hunyuanLayout: LayoutOf<LlamaConfig> = layoutOf({
  name: 'hunyuan-dense',
  names: { 'self_attn.query_layernorm': 'attn_q_norm', 'self_attn.key_layernorm': 'attn_k_norm' },
  scalings: usualScalings,
  biases: 'qkv',
});

/** Pairs lie beside each other already; gate and up are one map there too. */
export const glm4Layout: LayoutOf<LlamaConfig> = layoutOf({
  name: 'glm4',
  names: { post_self_attn_layernorm: 'post_attention_norm', post_mlp_layernorm: 'post_ffw_norm' },
  scalings: usualScalings,
  biases: 'qkv',
});

/** There heads are as wide as the model together. */
export const glmLayout: LayoutOf<LlamaConfig> = layoutOf({
  name: 'chatglm',
  scalings: usualScalings,
  biases: 'qkv',
  refusal: ({ numHeads, headDim, hiddenSize }) =>
    numHeads * headDim === hiddenSize ? undefined : unsupported('head_dim', String(hiddenSize / numHeads), headDim),
});
