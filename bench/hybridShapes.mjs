/**
 * Shapes of bench/card.mjs alone: of models whose layers read earlier tokens through a state, some by attention, where `layers` counts periods of
 * them, each with one of attention; and of latent attention.
 */
import { isLeft } from 'fp-ts/lib/Either.js';
import { expectedTensors, modelConfig } from '../dist/index.js';

/** Three gated delta rules and one attention a period. */
const qwen35 = (periods) => ({
  model_type: 'qwen3_5_text',
  hidden_size: 1024,
  intermediate_size: 3584,
  num_hidden_layers: 4 * periods,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  head_dim: 256,
  linear_num_key_heads: 16,
  linear_num_value_heads: 16,
  linear_key_head_dim: 128,
  linear_value_head_dim: 128,
  linear_conv_kernel_dim: 4,
  full_attention_interval: 4,
  attn_output_gate: true,
  vocab_size: 248320,
  max_position_embeddings: 262144,
  rope_parameters: { rope_type: 'default', rope_theta: 10000000, partial_rotary_factor: 0.25 },
  tie_word_embeddings: true,
});

/** Seven scans of Mamba-2 and one attention a period. */
const granite4 = (periods) => ({
  model_type: 'granitemoehybrid',
  hidden_size: 768,
  num_hidden_layers: 8 * periods,
  layer_types: Array.from({ length: 8 * periods }, (_, i) => (i % 8 === 7 ? 'attention' : 'mamba')),
  num_attention_heads: 12,
  num_key_value_heads: 4,
  intermediate_size: 2048,
  shared_intermediate_size: 2048,
  num_local_experts: 0,
  num_experts_per_tok: 0,
  vocab_size: 100352,
  max_position_embeddings: 131072,
  position_embedding_type: 'nope',
  rope_theta: 10000,
  rms_norm_eps: 1e-5,
  attention_bias: false,
  attention_multiplier: 0.015625,
  embedding_multiplier: 12,
  logits_scaling: 6,
  residual_multiplier: 0.22,
  mamba_d_state: 128,
  mamba_d_conv: 4,
  mamba_expand: 2,
  mamba_n_groups: 1,
  mamba_n_heads: 48,
  mamba_d_head: 32,
  mamba_conv_bias: true,
  mamba_proj_bias: false,
  tie_word_embeddings: true,
});

/** Scans of Mamba in all layers. */
const mamba = (layers) => ({
  model_type: 'mamba',
  hidden_size: 2048,
  intermediate_size: 4096,
  num_hidden_layers: layers,
  state_size: 16,
  conv_kernel: 4,
  expand: 2,
  time_step_rank: 128,
  use_bias: false,
  use_conv_bias: true,
  vocab_size: 50280,
  layer_norm_epsilon: 1e-5,
  tie_word_embeddings: true,
});

/** Youtu-LLM 2B: latent attention in all layers, keys of 192 columns and values of 128. */
const youtu = (layers) => ({
  model_type: 'youtu',
  hidden_size: 2048,
  intermediate_size: 6144,
  num_hidden_layers: layers,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  q_lora_rank: 1536,
  kv_lora_rank: 512,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  vocab_size: 128256,
  max_position_embeddings: 131072,
  rope_parameters: { rope_type: 'default', rope_theta: 1600000 },
  tie_word_embeddings: true,
});

const withTensors = (config) => {
  const decoded = modelConfig(config);
  if (isLeft(decoded)) throw new Error(JSON.stringify(decoded.left));
  return {
    config,
    tensors: Object.fromEntries(expectedTensors(decoded.right).map(({ name, shape }) => [name, shape])),
  };
};

export const models = {
  'qwen3.5-0.8b': (periods) => withTensors(qwen35(periods)),
  'granite4-350m': (periods) => withTensors(granite4(periods)),
  'mamba-1.4b': (layers) => withTensors(mamba(layers)),
  'youtu-2b': (layers) => withTensors(youtu(layers)),
};

const mlp = (hidden, inner) => 3 * hidden * inner;

/** As in gpu/shapes.mjs; what scans compute is left out of the operations that a model asks for. */
export const shapes = {
  'qwen3.5-0.8b': {
    layers: 6,
    vocabulary: 248320,
    batch: 4,
    attentionWidth: 2048,
    matrixWeights:
      6 *
        (3 * (1024 * (6144 + 2048 + 32) + 2048 * 1024) +
          (1024 * (4096 + 2 * 512) + 2048 * 1024) +
          4 * mlp(1024, 3584)) +
      248320 * 1024,
  },
  'granite4-350m': {
    layers: 4,
    vocabulary: 100352,
    batch: 4,
    attentionWidth: 768,
    matrixWeights: 4 * (7 * (768 * 3376 + 1536 * 768) + 768 * (2 * 768 + 2 * 256) + 8 * mlp(768, 2048)) + 100352 * 768,
  },
  'mamba-1.4b': {
    layers: 48,
    vocabulary: 50280,
    batch: 4,
    attentionWidth: 0,
    matrixWeights: 48 * (2048 * 8192 + 4096 * (128 + 32) + 128 * 4096 + 4096 * 2048) + 50280 * 2048,
  },
  'youtu-2b': {
    layers: 32,
    vocabulary: 128256,
    batch: 4,
    // Scores have 192 columns a head, what they weigh 128.
    attentionWidth: (16 * (192 + 128)) / 2,
    matrixWeights:
      32 * (2048 * (1536 + 576) + 1536 * 16 * 192 + 512 * 16 * 256 + 16 * 128 * 2048 + mlp(2048, 6144)) + 128256 * 2048,
  },
};
