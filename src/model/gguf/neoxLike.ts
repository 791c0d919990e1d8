/** Models with layer norms, whose heads turn in halves, in GGUF: GPT-NeoX, Falcon, StarCoder2, StableLM. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { bool, float32, string } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { FalconConfig } from '../architectures/falcon.js';
import type { GptNeoxConfig } from '../architectures/gptNeox.js';
import type { StableLmConfig } from '../architectures/stablelm.js';
import type { Starcoder2Config } from '../architectures/starcoder2.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import type { ModelConfig } from '../config.js';
import type { TensorSpec } from '../weights.js';
import { asIs, renamed, unsupported, withHead } from './layout.js';
import type { Arrangement, GgufLayout, LayoutOf } from './layout.js';
import { positionWarnings, ropeMetadata, ropeRefusal, sizesMetadata } from './metadata.js';

interface NeoxLike extends ModelConfig {
  readonly intermediateSize: number;
  readonly layerNormEps: number;
  readonly rope: RopeConfig;
  readonly windows?: ReadonlyArray<number>;
}

interface Form {
  /** llama.cpp's name. */
  readonly name: string;
  /** Paths of layers here, up to the module. */
  readonly layers: RegExp;
  readonly inLayer: Readonly<Record<string, string>>;
  readonly outside: Readonly<Record<string, string>>;
  /** Path of the embedding, where a tied head is written as its own. */
  readonly ownHead?: string;
  readonly arrangement?: (module: string) => Arrangement;
  readonly metadata?: GgufMetadata;
  readonly refusal?: FatalError | undefined;
}

const layout = (config: NeoxLike, specs: ReadonlyArray<TensorSpec>, form: Form): E.Either<FatalError, GgufLayout> => {
  const { name, ownHead, arrangement = () => asIs } = form;
  const refused = form.refusal ?? ropeRefusal(config.rope, ['default', 'linear', 'yarn']);
  if (refused !== undefined) return E.left(refused);
  const tensors = renamed(specs, form.layers, form.inLayer, form.outside).map(({ spec, module, name: called }) => ({
    sources: [spec.name],
    name: called,
    arrangement: arrangement(module),
  }));
  return E.right({
    architecture: name,
    metadata: {
      ...sizesMetadata(name, config),
      [`${name}.attention.layer_norm_epsilon`]: float32(config.layerNormEps),
      ...ropeMetadata(name, config.rope),
      ...form.metadata,
    },
    tensors: ownHead === undefined ? tensors : withHead(tensors, ownHead),
    extra: [],
    warnings: positionWarnings(config),
  });
};

/** Activations have one form for each architecture there. */
const onlyActivation = (
  field: string,
  expected: string,
  { activation }: { readonly activation: string },
): FatalError | undefined => (activation === expected ? undefined : unsupported(field, expected, activation));

export const gptNeoxLayout: LayoutOf<GptNeoxConfig> = (config, specs) =>
  layout(config, specs, {
    name: 'gptneox',
    layers: /^gpt_neox\.layers\.(\d+)\.(.*)$/,
    inLayer: {
      input_layernorm: 'attn_norm',
      'attention.query_key_value': 'attn_qkv',
      'attention.dense': 'attn_output',
      post_attention_layernorm: 'ffn_norm',
      'mlp.dense_h_to_4h': 'ffn_up',
      'mlp.dense_4h_to_h': 'ffn_down',
    },
    outside: { 'gpt_neox.embed_in': 'token_embd', 'gpt_neox.final_layer_norm': 'output_norm', lm_head: 'output' },
    ownHead: 'gpt_neox.embed_in',
    arrangement: (module) =>
      module === 'attention.query_key_value'
        ? { kind: 'ungrouped', groups: config.numHeads, sizes: [config.headDim, config.headDim, config.headDim] }
        : asIs,
    metadata: { 'gptneox.use_parallel_residual': bool(config.parallel) },
    refusal: config.attentionBias
      ? onlyActivation('hidden_act', 'gelu', config)
      : unsupported('attention_bias', 'true', false),
  });

const falconRefusal = ({ bias, norms, ...config }: FalconConfig): FatalError | undefined => {
  if (bias) return unsupported('bias', 'false', true);
  if (config.alibi !== undefined) return unsupported('alibi', 'false', true);
  if (norms === 'inTurn') return unsupported('parallel_attn', 'true', false);
  return onlyActivation('activation', 'gelu', config);
};

export const falconLayout: LayoutOf<FalconConfig> = (config, specs) => {
  const { numHeads, numKvHeads, headDim } = config;
  return layout(config, specs, {
    name: 'falcon',
    layers: /^transformer\.h\.(\d+)\.(.*)$/,
    inLayer: {
      input_layernorm: 'attn_norm',
      ln_mlp: 'attn_norm',
      ln_attn: 'attn_norm_2',
      'self_attention.query_key_value': 'attn_qkv',
      'self_attention.dense': 'attn_output',
      'mlp.dense_h_to_4h': 'ffn_up',
      'mlp.dense_4h_to_h': 'ffn_down',
    },
    outside: { 'transformer.word_embeddings': 'token_embd', 'transformer.ln_f': 'output_norm', lm_head: 'output' },
    arrangement: (module) =>
      module === 'self_attention.query_key_value'
        ? { kind: 'ungrouped', groups: numKvHeads, sizes: [(numHeads / numKvHeads) * headDim, headDim, headDim] }
        : asIs,
    metadata: { 'falcon.tensor_data_layout': string('jploski') },
    refusal: falconRefusal(config),
  });
};

const likeLlama = {
  layers: /^model\.layers\.(\d+)\.(.*)$/,
  inLayer: {
    input_layernorm: 'attn_norm',
    'self_attn.q_proj': 'attn_q',
    'self_attn.k_proj': 'attn_k',
    'self_attn.v_proj': 'attn_v',
    'self_attn.o_proj': 'attn_output',
    post_attention_layernorm: 'ffn_norm',
    'mlp.gate_proj': 'ffn_gate',
    'mlp.up_proj': 'ffn_up',
    'mlp.down_proj': 'ffn_down',
    'mlp.c_fc': 'ffn_up',
    'mlp.c_proj': 'ffn_down',
  },
  outside: { 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', lm_head: 'output' },
} as const;

export const starcoder2Layout: LayoutOf<Starcoder2Config> = (config, specs) =>
  layout(config, specs, {
    ...likeLlama,
    name: 'starcoder2',
    refusal: config.bias ? onlyActivation('hidden_act', 'gelu_new', config) : unsupported('use_bias', 'true', false),
  });

export const stableLmLayout: LayoutOf<StableLmConfig> = (config, specs) =>
  layout(config, specs, {
    ...likeLlama,
    name: 'stablelm',
    ownHead: 'model.embed_tokens',
    metadata: { 'stablelm.use_parallel_residual': bool(config.parallel) },
    refusal: config.ownHeadNorms
      ? unsupported('qk_layernorm', 'false', true)
      : onlyActivation('hidden_act', 'silu', config),
  });
