/** Tiny models of every architecture with random weights, and random documents for them. */
import { tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { expectedTensors, modelConfig } from '../../src/model/architectures.js';
import { makeCausalLm } from '../../src/model/model.js';
import type { CausalLM } from '../../src/model/model.js';
import type { Sequence, Targets } from '../../src/model/sequence.js';
import { random } from '../../src/seed.js';
import { values } from './ops.js';

export const vocabSize = 13;

const likeLlama = {
  vocab_size: vocabSize,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 24,
};

const likeDeltaNet = {
  linear_num_key_heads: 2,
  linear_num_value_heads: 4,
  linear_key_head_dim: 6,
  linear_value_head_dim: 3,
  linear_conv_kernel_dim: 3,
};

const { num_hidden_layers: _layers, ...ofAnyDepth } = likeLlama;

const likeNemotronH = {
  ...ofAnyDepth,
  head_dim: 4,
  mamba_num_heads: 4,
  mamba_head_dim: 3,
  n_groups: 2,
  ssm_state_size: 3,
  conv_kernel: 3,
};

const fewExperts = {
  num_experts: 2,
  num_experts_per_tok: 2,
  moe_intermediate_size: 5,
  shared_expert_intermediate_size: 6,
};

const likeGpt2 = { vocab_size: vocabSize, n_positions: 24, n_embd: 8, n_layer: 2, n_head: 2 };

const { num_key_value_heads: _, ...manyHeads } = likeLlama;

const latent = {
  ...manyHeads,
  kv_lora_rank: 4,
  qk_nope_head_dim: 3,
  qk_rope_head_dim: 2,
  v_head_dim: 4,
  moe_intermediate_size: 6,
  n_shared_experts: 1,
};

/** One config.json of each kind. */
export const configs: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  llama: { model_type: 'llama', ...likeLlama },
  mistral: { model_type: 'mistral', ...likeLlama, sliding_window: 3, tie_word_embeddings: true },
  qwen2: { model_type: 'qwen2', ...likeLlama, tie_word_embeddings: true },
  qwen3: { model_type: 'qwen3', ...likeLlama, head_dim: 6 },
  ministral3: {
    model_type: 'ministral3',
    ...likeLlama,
    head_dim: 4,
    rope_parameters: {
      rope_type: 'yarn',
      factor: 4,
      original_max_position_embeddings: 3,
      llama_4_scaling_beta: 0.4,
    },
  },
  gemma3_image: {
    model_type: 'gemma3',
    text_config: { ...likeLlama, head_dim: 4, sliding_window: 3, sliding_window_pattern: 2 },
  },
  mistral3: { model_type: 'mistral3', text_config: { model_type: 'mistral', ...likeLlama, head_dim: 4 } },
  qwen2_vl: { model_type: 'qwen2_vl', ...likeLlama, rope_scaling: { type: 'mrope', mrope_section: [1, 1] } },
  qwen2_5_vl: { model_type: 'qwen2_5_vl', ...likeLlama },
  qwen3_vl: { model_type: 'qwen3_vl', text_config: { ...likeLlama, head_dim: 6 } },
  qwen3_vl_moe: {
    model_type: 'qwen3_vl_moe',
    text_config: { ...likeLlama, ...fewExperts, head_dim: 6, mlp_only_layers: [1] },
  },
  lfm2_vl: {
    model_type: 'lfm2_vl',
    text_config: { ...likeLlama, block_auto_adjust_ff_dim: false, layer_types: ['full_attention', 'conv'] },
  },
  exaone4_5: {
    model_type: 'exaone4_5',
    text_config: { ...likeLlama, sliding_window: 3, sliding_window_pattern: 2 },
  },
  qwen3_5_image: {
    model_type: 'qwen3_5',
    text_config: { ...likeLlama, ...likeDeltaNet, head_dim: 8, layer_types: ['linear_attention', 'full_attention'] },
  },
  qwen3_5: {
    model_type: 'qwen3_5_text',
    ...likeLlama,
    ...likeDeltaNet,
    head_dim: 8,
    layer_types: ['full_attention', 'linear_attention'],
  },
  qwen3_next: {
    model_type: 'qwen3_next',
    ...likeLlama,
    ...likeDeltaNet,
    ...fewExperts,
    head_dim: 8,
    layer_types: ['linear_attention', 'full_attention'],
  },
  qwen3_5_moe_image: {
    model_type: 'qwen3_5_moe',
    text_config: { ...likeLlama, ...likeDeltaNet, ...fewExperts, head_dim: 8, full_attention_interval: 2 },
  },
  qwen3_5_moe: {
    model_type: 'qwen3_5_moe_text',
    ...likeLlama,
    ...likeDeltaNet,
    ...fewExperts,
    head_dim: 8,
    layer_types: ['full_attention', 'linear_attention'],
  },
  smolvlm: { model_type: 'smolvlm', text_config: likeLlama },
  idefics3: { model_type: 'idefics3', text_config: likeLlama },
  llava: { model_type: 'llava', text_config: likeLlama },
  llava_next: {
    model_type: 'llava_next',
    text_config: { model_type: 'granite', ...likeLlama, embedding_multiplier: 2, logits_scaling: 3 },
  },
  llava_next_video: { model_type: 'llava_next_video', text_config: likeLlama },
  llava_onevision: { model_type: 'llava_onevision', text_config: likeLlama },
  video_llava: { model_type: 'video_llava', text_config: likeLlama },
  vipllava: { model_type: 'vipllava', text_config: likeLlama },
  idefics2: { model_type: 'idefics2', text_config: likeLlama },
  internvl: { model_type: 'internvl', text_config: likeLlama },
  ovis2: { model_type: 'ovis2', text_config: likeLlama },
  aya_vision: { model_type: 'aya_vision', text_config: { ...likeLlama, sliding_window: 3 } },
  cohere2_vision: { model_type: 'cohere2_vision', text_config: { ...likeLlama, sliding_window: 3 } },
  granite4_vision: {
    model_type: 'granite4_vision',
    text_config: { ...likeLlama, embedding_multiplier: 2, logits_scaling: 3 },
  },
  deepseek_vl: { model_type: 'deepseek_vl', text_config: likeLlama },
  video_llama_3: { model_type: 'video_llama_3', text_config: likeLlama },
  minicpmv4_6: {
    model_type: 'minicpmv4_6',
    text_config: { ...likeLlama, ...likeDeltaNet, head_dim: 8, layer_types: ['linear_attention', 'full_attention'] },
  },
  muse_glimmer: { model_type: 'muse_glimmer', text_config: { ...likeLlama, head_dim: 4, sliding_window: 3 } },
  glm4v: { model_type: 'glm4v', text_config: likeLlama },
  glm46v: { model_type: 'glm46v', text_config: likeLlama },
  glm4v_moe: {
    model_type: 'glm4v_moe',
    text_config: { ...likeLlama, n_routed_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 5 },
  },
  gemma: { model_type: 'gemma', ...likeLlama, head_dim: 4 },
  gemma2: {
    model_type: 'gemma2',
    ...likeLlama,
    head_dim: 4,
    query_pre_attn_scalar: 3,
    sliding_window: 3,
    attn_logit_softcapping: 1.5,
    final_logit_softcapping: 2,
  },
  gemma3: {
    model_type: 'gemma3_text',
    ...likeLlama,
    head_dim: 4,
    query_pre_attn_scalar: 3,
    sliding_window: 3,
    sliding_window_pattern: 2,
  },
  smollm3: { model_type: 'smollm3', ...likeLlama, no_rope_layer_interval: 2 },
  gpt2: { model_type: 'gpt2', ...likeGpt2 },
  gpt_neo: {
    model_type: 'gpt_neo',
    vocab_size: vocabSize,
    max_position_embeddings: 24,
    hidden_size: 8,
    num_layers: 2,
    num_heads: 2,
    attention_types: [[['global', 'local'], 1]],
    window_size: 3,
  },
  bloom: { model_type: 'bloom', vocab_size: vocabSize, hidden_size: 12, n_layer: 2, n_head: 3, seq_length: 24 },
  opt: {
    model_type: 'opt',
    vocab_size: vocabSize,
    max_position_embeddings: 24,
    hidden_size: 8,
    ffn_dim: 12,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    do_layer_norm_before: false,
    word_embed_proj_dim: 4,
  },
  opt_norm_before: {
    model_type: 'opt',
    vocab_size: vocabSize,
    max_position_embeddings: 24,
    hidden_size: 8,
    ffn_dim: 12,
    num_hidden_layers: 2,
    num_attention_heads: 2,
  },
  phi: { model_type: 'phi', ...likeLlama },
  phi3: {
    model_type: 'phi3',
    ...likeLlama,
    original_max_position_embeddings: 4,
    rope_scaling: { type: 'longrope', short_factor: [1, 1.5], long_factor: [2, 5] },
  },
  olmo: { model_type: 'olmo', ...likeLlama, clip_qkv: 0.5 },
  olmo2: { model_type: 'olmo2', ...likeLlama },
  olmo3: { model_type: 'olmo3', ...likeLlama, sliding_window: 3, num_hidden_layers: 4 },
  granite: {
    model_type: 'granite',
    ...likeLlama,
    tie_word_embeddings: true,
    embedding_multiplier: 2,
    attention_multiplier: 0.4,
    residual_multiplier: 0.7,
    logits_scaling: 3,
  },
  helium: { model_type: 'helium', ...likeLlama, head_dim: 4 },
  cohere: { model_type: 'cohere', ...likeLlama, logit_scale: 0.5 },
  cohere2: { model_type: 'cohere2', ...likeLlama, sliding_window: 3, sliding_window_pattern: 2 },
  glm: { model_type: 'glm', ...likeLlama, head_dim: 4 },
  glm4: { model_type: 'glm4', ...likeLlama, head_dim: 4 },
  exaone4: { model_type: 'exaone4', ...likeLlama, sliding_window: 3, sliding_window_pattern: 2 },
  ernie4_5: { model_type: 'ernie4_5', ...likeLlama, head_dim: 4, use_bias: true },
  granitemoehybrid: {
    model_type: 'granitemoehybrid',
    ...likeLlama,
    shared_intermediate_size: 12,
    num_local_experts: 0,
    layer_types: ['mamba', 'attention'],
    mamba_n_heads: 4,
    mamba_n_groups: 2,
    mamba_d_state: 3,
    mamba_d_conv: 3,
    embedding_multiplier: 2,
    residual_multiplier: 0.6,
  },
  granitemoe: { model_type: 'granitemoe', ...likeLlama, num_local_experts: 4 },
  granitemoeshared: {
    model_type: 'granitemoeshared',
    ...likeLlama,
    num_local_experts: 4,
    shared_intermediate_size: 6,
  },
  falcon_h1: {
    model_type: 'falcon_h1',
    ...likeLlama,
    mamba_d_ssm: 12,
    mamba_n_heads: 4,
    mamba_n_groups: 2,
    mamba_d_state: 3,
    mamba_d_conv: 3,
    mamba_rms_norm: true,
    key_multiplier: 0.6,
    ssm_multipliers: [0.5, 0.7, 1.2, 0.8, 1.5],
    mlp_multipliers: [0.8, 1.3],
  },
  bamba: {
    model_type: 'bamba',
    ...likeLlama,
    attn_layer_indices: [1],
    mamba_n_heads: 4,
    mamba_d_state: 3,
  },
  lfm2_moe: {
    model_type: 'lfm2_moe',
    ...likeLlama,
    layer_types: ['full_attention', 'conv'],
    num_dense_layers: 1,
    moe_intermediate_size: 6,
    num_experts: 4,
    num_experts_per_tok: 2,
    tie_word_embeddings: false,
  },
  lfm2: {
    model_type: 'lfm2',
    ...likeLlama,
    intermediate_size: 18,
    block_multiple_of: 4,
    conv_L_cache: 3,
    conv_bias: true,
    layer_types: ['conv', 'full_attention'],
  },
  seed_oss: { model_type: 'seed_oss', ...likeLlama, head_dim: 4 },
  hunyuan_v1_dense: { model_type: 'hunyuan_v1_dense', ...likeLlama },
  starcoder2: { model_type: 'starcoder2', ...likeLlama, sliding_window: 3 },
  stablelm: { model_type: 'stablelm', ...likeLlama, partial_rotary_factor: 0.5, qk_layernorm: true },
  gpt_neox: { model_type: 'gpt_neox', ...manyHeads, rotary_pct: 0.5 },
  falcon: { model_type: 'falcon', ...manyHeads, num_kv_heads: 1, new_decoder_architecture: true },
  gptj: { model_type: 'gptj', ...likeGpt2, rotary_dim: 2 },
  mixtral: { model_type: 'mixtral', ...likeLlama, num_local_experts: 4 },
  jamba: {
    model_type: 'jamba',
    ...likeLlama,
    num_experts: 4,
    attn_layer_period: 2,
    attn_layer_offset: 1,
    mamba_d_state: 3,
    mamba_d_conv: 3,
    mamba_dt_rank: 2,
  },
  qwen2_moe: {
    model_type: 'qwen2_moe',
    ...likeLlama,
    num_experts: 5,
    num_experts_per_tok: 2,
    moe_intermediate_size: 6,
    shared_expert_intermediate_size: 10,
    mlp_only_layers: [0],
  },
  qwen3_moe: {
    model_type: 'qwen3_moe',
    ...likeLlama,
    num_experts: 4,
    num_experts_per_tok: 3,
    norm_topk_prob: true,
    moe_intermediate_size: 6,
  },
  // All experts are chosen: no step of a weight changes which.
  olmoe: { model_type: 'olmoe', ...likeLlama, num_experts: 3, num_experts_per_tok: 3, clip_qkv: 0.5 },
  gpt_oss: {
    model_type: 'gpt_oss',
    ...likeLlama,
    head_dim: 4,
    num_local_experts: 3,
    num_experts_per_tok: 3,
    sliding_window: 3,
    rope_parameters: { rope_type: 'default', rope_theta: 10_000 },
  },
  cohere_head_norms: { model_type: 'cohere', ...likeLlama, use_qk_norm: true },
  arcee: { model_type: 'arcee', ...likeLlama },
  nemotron: { model_type: 'nemotron', ...likeLlama },
  nemotron_h: {
    model_type: 'nemotron_h',
    ...likeNemotronH,
    num_hidden_layers: 3,
    hybrid_override_pattern: 'M-*',
  },
  nemotron_h_experts: {
    model_type: 'nemotron_h',
    ...likeNemotronH,
    layers_block_type: ['attention', 'mamba', 'moe'],
    n_routed_experts: 3,
    num_experts_per_tok: 3,
    moe_intermediate_size: 6,
    moe_shared_expert_intermediate_size: 5,
    moe_latent_size: 4,
  },
  mamba: {
    model_type: 'mamba',
    vocab_size: vocabSize,
    hidden_size: 8,
    num_hidden_layers: 2,
    state_size: 3,
    conv_kernel: 3,
  },
  falcon_mamba: {
    model_type: 'falcon_mamba',
    vocab_size: vocabSize,
    hidden_size: 17,
    num_hidden_layers: 2,
    state_size: 3,
    mixer_rms_eps: 1e-3,
  },
  mamba2: {
    model_type: 'mamba2',
    vocab_size: vocabSize,
    hidden_size: 8,
    num_hidden_layers: 2,
    num_heads: 4,
    head_dim: 4,
    state_size: 3,
    n_groups: 2,
  },
  phimoe: { model_type: 'phimoe', ...likeLlama, num_local_experts: 2, router_jitter_noise: 2 },
  olmo_hybrid: {
    model_type: 'olmo_hybrid',
    ...likeLlama,
    num_key_value_heads: 2,
    ...likeDeltaNet,
    layer_types: ['linear_attention', 'full_attention'],
  },
  jais2: { model_type: 'jais2', ...likeLlama },
  nanochat: { model_type: 'nanochat', ...likeLlama },
  ministral: { model_type: 'ministral', ...likeLlama, sliding_window: 3 },
  cwm: { model_type: 'cwm', ...likeLlama, head_dim: 4, sliding_window: 3 },
  hyperclovax: { model_type: 'hyperclovax', ...likeLlama, residual_multiplier: 0.7, logits_scaling: 0.5 },
  granite_swa: { model_type: 'granite_swa', ...likeLlama, sliding_window: 3, layer_rope_theta: [0, 100] },
  gpt_bigcode: { model_type: 'gpt_bigcode', ...likeGpt2 },
  mllama: {
    model_type: 'mllama',
    text_config: { ...likeLlama, num_hidden_layers: 3, cross_attention_layers: [0, 2] },
  },
  apertus: { model_type: 'apertus', ...likeLlama },
  mpt: { model_type: 'mpt', vocab_size: vocabSize, d_model: 12, n_layers: 2, n_heads: 3, max_seq_len: 24 },
  deepseek_v2: {
    model_type: 'deepseek_v2',
    ...latent,
    q_lora_rank: null,
    first_k_dense_replace: 1,
    n_routed_experts: 3,
    num_experts_per_tok: 3,
    routed_scaling_factor: 1.5,
  },
  deepseek_v3: {
    model_type: 'deepseek_v3',
    ...latent,
    q_lora_rank: 5,
    first_k_dense_replace: 0,
    n_routed_experts: 4,
    num_experts_per_tok: 4,
    n_group: 2,
    topk_group: 2,
  },
  glm4_moe: {
    model_type: 'glm4_moe',
    ...likeLlama,
    head_dim: 4,
    moe_intermediate_size: 6,
    n_routed_experts: 3,
    num_experts_per_tok: 3,
    first_k_dense_replace: 1,
    use_qk_norm: true,
  },
  glm4_moe_lite: {
    model_type: 'glm4_moe_lite',
    ...latent,
    q_lora_rank: 5,
    n_routed_experts: 3,
    num_experts_per_tok: 3,
  },
  dots1: {
    model_type: 'dots1',
    ...likeLlama,
    head_dim: 4,
    moe_intermediate_size: 6,
    n_routed_experts: 3,
    n_shared_experts: 2,
    num_experts_per_tok: 3,
    sliding_window: 3,
    max_window_layers: 1,
  },
  ernie4_5_moe: {
    model_type: 'ernie4_5_moe',
    ...likeLlama,
    moe_intermediate_size: 6,
    moe_num_experts: 3,
    moe_k: 3,
  },
  hunyuan_v1_moe: { model_type: 'hunyuan_v1_moe', ...likeLlama, num_experts: 3, moe_topk: 3 },
  minicpm3: { model_type: 'minicpm3', ...latent, q_lora_rank: 5, scale_emb: 2, dim_model_base: 4 },
  youtu: { model_type: 'youtu', ...latent, q_lora_rank: 5 },
  // Layers 2 and 3 read the keys and values of layers 0 and 1.
  gemma4: {
    model_type: 'gemma4_text',
    ...likeLlama,
    num_hidden_layers: 4,
    head_dim: 4,
    global_head_dim: 6,
    sliding_window: 3,
    layer_types: ['sliding_attention', 'full_attention', 'sliding_attention', 'full_attention'],
    num_kv_shared_layers: 2,
    use_double_wide_mlp: true,
    hidden_size_per_layer_input: 6,
    vocab_size_per_layer_input: vocabSize,
  },
  gemma4_experts: {
    model_type: 'gemma4_text',
    ...likeLlama,
    num_key_value_heads: 2,
    head_dim: 4,
    global_head_dim: 8,
    num_global_key_value_heads: 1,
    sliding_window: 3,
    attention_k_eq_v: true,
    hidden_size_per_layer_input: 0,
    enable_moe_block: true,
    num_experts: 3,
    top_k_experts: 3,
    moe_intermediate_size: 6,
    final_logit_softcapping: 5,
  },
  gemma4_image: {
    model_type: 'gemma4',
    text_config: {
      ...likeLlama,
      head_dim: 4,
      global_head_dim: 8,
      sliding_window: 3,
      hidden_size_per_layer_input: 4,
      vocab_size_per_layer_input: vocabSize,
    },
  },
  gemma4_unified_text: {
    model_type: 'gemma4_unified_text',
    ...likeLlama,
    head_dim: 4,
    global_head_dim: 8,
    sliding_window: 3,
  },
  gemma3n: {
    model_type: 'gemma3n_text',
    ...likeLlama,
    num_hidden_layers: 4,
    head_dim: 4,
    sliding_window: 3,
    layer_types: ['sliding_attention', 'full_attention', 'sliding_attention', 'full_attention'],
    num_kv_shared_layers: 2,
    hidden_size_per_layer_input: 6,
    vocab_size_per_layer_input: vocabSize,
    altup_num_inputs: 2,
    laurel_rank: 3,
    activation_sparsity_pattern: [0.5, 0, 0, 0],
  },
  gemma3n_image: {
    model_type: 'gemma3n',
    text_config: {
      ...likeLlama,
      head_dim: 4,
      sliding_window: 3,
      num_kv_shared_layers: 0,
      hidden_size_per_layer_input: 6,
      vocab_size_per_layer_input: vocabSize,
      altup_num_inputs: 2,
      laurel_rank: 3,
    },
  },
  gemma4_unified: {
    model_type: 'gemma4_unified',
    text_config: { ...likeLlama, head_dim: 4, global_head_dim: 8, sliding_window: 3 },
  },
  vaultgemma: {
    model_type: 'vaultgemma',
    ...likeLlama,
    head_dim: 4,
    query_pre_attn_scalar: 3,
    sliding_window: 3,
    attn_logit_softcapping: 1.5,
  },
  // Every token goes to all experts: what is chosen must not turn on a last bit.
  mistral4: {
    model_type: 'mistral4',
    ...latent,
    q_lora_rank: 5,
    n_routed_experts: 2,
    num_experts_per_tok: 2,
    rope_parameters: {
      rope_type: 'yarn',
      factor: 4,
      original_max_position_embeddings: 2,
      mscale_all_dim: 1,
      llama_4_scaling_beta: 0.4,
    },
  },
  llama4_text: {
    model_type: 'llama4_text',
    ...likeLlama,
    head_dim: 4,
    intermediate_size_mlp: 10,
    num_local_experts: 2,
    num_experts_per_tok: 2,
    moe_layers: [1],
    no_rope_layers: [1, 0],
    attention_chunk_size: 3,
    floor_scale: 2,
  },
  minimax_m2: {
    model_type: 'minimax_m2',
    ...likeLlama,
    head_dim: 4,
    rotary_dim: 2,
    num_local_experts: 2,
    num_experts_per_tok: 2,
  },
  solar_open: {
    model_type: 'solar_open',
    ...likeLlama,
    head_dim: 4,
    moe_intermediate_size: 6,
    n_routed_experts: 3,
    num_experts_per_tok: 3,
  },
  afmoe: {
    model_type: 'afmoe',
    ...likeLlama,
    head_dim: 4,
    moe_intermediate_size: 5,
    num_experts: 2,
    num_experts_per_tok: 2,
    global_attn_every_n_layers: 2,
    sliding_window: 3,
    mup_enabled: true,
  },
  exaone_moe: {
    model_type: 'exaone_moe',
    ...likeLlama,
    sliding_window: 3,
    sliding_window_pattern: 2,
    moe_intermediate_size: 6,
    num_experts: 3,
    num_experts_per_tok: 3,
  },
  flex_olmo: { model_type: 'flex_olmo', ...likeLlama, num_experts: 2, num_experts_per_tok: 2 },
  mellum: {
    model_type: 'mellum',
    ...likeLlama,
    head_dim: 6,
    ...fewExperts,
    layer_types: ['sliding_attention', 'full_attention'],
    mlp_layer_types: ['sparse', 'dense'],
    sliding_window: 3,
  },
  hy_v3: { model_type: 'hy_v3', ...likeLlama, head_dim: 6, ...fewExperts, attention_bias: true, mlp_bias: true },
  cohere2_moe: {
    model_type: 'cohere2_moe',
    ...likeLlama,
    num_hidden_layers: 3,
    head_dim: 4,
    num_experts: 2,
    num_experts_per_tok: 2,
    num_shared_experts: 1,
    first_k_dense_replace: 1,
    prefix_dense_intermediate_size: 10,
    sliding_window: 3,
    sliding_window_pattern: 2,
  },
  granitemoe_swa: {
    model_type: 'granitemoe_swa',
    ...likeLlama,
    num_local_experts: 2,
    num_experts_per_tok: 2,
    shared_intermediate_size: 5,
    residual_multiplier: 0.7,
    sliding_window: 3,
    layer_rope_theta: [0, 100],
  },
  mimo_v2_flash: {
    model_type: 'mimo_v2_flash',
    ...likeLlama,
    head_dim: 6,
    v_head_dim: 5,
    sliding_window: 3,
    layer_types: ['full_attention', 'sliding_attention'],
    moe_intermediate_size: 6,
    n_routed_experts: 3,
    num_experts_per_tok: 3,
  },
  axk1: {
    model_type: 'axk1',
    ...latent,
    q_lora_rank: 5,
    n_routed_experts: 2,
    num_experts_per_tok: 2,
    n_group: 1,
    topk_group: 1,
  },
  aria_text: { model_type: 'aria_text', ...likeLlama, moe_num_experts: 3, moe_num_shared_experts: 1 },
  aria: {
    model_type: 'aria',
    text_config: { ...likeLlama, moe_num_experts: 3, moe_num_shared_experts: 1 },
  },
  doge: { model_type: 'doge', ...likeLlama },
  biogpt: { model_type: 'biogpt', ...likeLlama },
  laguna: {
    model_type: 'laguna',
    ...likeLlama,
    head_dim: 4,
    ...fewExperts,
    num_attention_heads_per_layer: [1, 2],
    layer_types: ['sliding_attention', 'full_attention'],
    sliding_window: 3,
    moe_router_logit_softcapping: 2,
  },
  codegen: { model_type: 'codegen', ...likeGpt2, n_embd: 16, n_head: 4, rotary_dim: 2 },
  xglm: {
    model_type: 'xglm',
    vocab_size: vocabSize,
    d_model: 8,
    ffn_dim: 12,
    num_layers: 2,
    attention_heads: 2,
    max_position_embeddings: 24,
    pad_token_id: 3,
  },
  persimmon: { model_type: 'persimmon', ...manyHeads },
  llama4: {
    model_type: 'llama4',
    text_config: {
      ...likeLlama,
      head_dim: 4,
      intermediate_size_mlp: 10,
      num_local_experts: 1,
      attention_chunk_size: 2,
      use_qk_norm: false,
    },
  },
};

const right = <A>(result: E.Either<Error, A>): A => {
  if (E.isLeft(result)) throw result.left;
  return result.right;
};

/** The model of a config.json with random weights, which the caller disposes. */
export const modelOf = (raw: Readonly<Record<string, unknown>>, seed: number): CausalLM => {
  const config = right(modelConfig(raw));
  const lessOne = config.modelType.startsWith('gemma') && !/^gemma(?:3n|4)/.test(config.modelType);
  const weights = expectedTensors(config).map(({ name, shape, kind }, i) => {
    const centre = name.endsWith('layer_scalar') || (kind === 'norm' && name.endsWith('weight') && !lessOne) ? 1 : 0;
    return [
      name,
      tensor(
        values(seed + i, shape).map((x) => centre + 0.3 * x),
        [...shape],
      ),
    ] as const;
  });
  return right(makeCausalLm(config, Object.fromEntries(weights)));
};

export const architectureNames = fc.constantFrom(...Object.keys(configs));
export const modelSeeds = fc.integer({ min: 0, max: 1 << 16 });

/** Some documents, each with the positions whose next token is supervised. */
export interface Documents {
  readonly ids: ReadonlyArray<ReadonlyArray<number>>;
  readonly supervised: ReadonlyArray<ReadonlyArray<boolean>>;
}

export const documents = (options: { readonly maxDocuments?: number } = {}): fc.Arbitrary<Documents> =>
  fc
    .array(fc.array(fc.tuple(fc.nat(vocabSize - 1), fc.boolean()), { minLength: 1, maxLength: 7 }), {
      minLength: 1,
      maxLength: options.maxDocuments ?? 3,
    })
    .map((rows) => ({
      ids: rows.map((row) => row.map(([id]) => id)),
      supervised: rows.map((row) => row.map(([, flag]) => flag)),
    }));

/** The documents laid end to end; every target weighs `weight`. */
export const laidOut = (
  { ids, supervised }: Documents,
  weight: number,
): { readonly sequence: Sequence; readonly targets: Targets } => {
  const flat = ids.flat();
  const starts = ids.map((_, d) => ids.slice(0, d).reduce((sum, row) => sum + row.length, 0));
  const targets = ids.flatMap((row, d) =>
    row.flatMap((label, t) => (t > 0 && supervised[d]?.[t] === true ? [{ row: (starts[d] ?? 0) + t - 1, label }] : [])),
  );
  return {
    sequence: {
      inputIds: Int32Array.from(flat),
      positionIds: Int32Array.from(ids.flatMap((row) => row.map((_, t) => t))),
      cuSeqlens: Int32Array.from([...starts, flat.length]),
    },
    targets: {
      rows: Int32Array.from(targets, ({ row }) => row),
      labels: Int32Array.from(targets, ({ label }) => label),
      weights: new Float32Array(targets.length).fill(weight),
    },
  };
};

/** Noise for weights that begin at zero, such as an adapter's B. */
export const noise = (seed: number, size: number): Float32Array => {
  const { normal } = random(seed, 'init', 7);
  return Float32Array.from({ length: size }, () => 0.3 * normal());
};
