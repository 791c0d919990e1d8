/** Cohere 2 with experts, MiMo-V2-Flash, Laguna, Solar Open, Hunyuan 3, Granite with windows and Muse Glimmer as GGUF files. What llama.cpp makes of them: reference/check_gguf.mjs. */
import { beforeAll, expect, test } from '@jest/globals';
import { configs } from '../../property-tests/arbitraries/models.js';
import { startUnderTest } from '../engine.js';
import { exportedAsMade, numbers, refusedAsMade, there } from './exportedGguf.js';

beforeAll(async () => {
  await startUnderTest();
});

const layers = (...slides: ReadonlyArray<boolean>) => ({
  num_hidden_layers: slides.length,
  layer_types: slides.map((does) => (does ? 'sliding_attention' : 'full_attention')),
});
const cohere = { ...configs['cohere2_moe'], expert_selection_fn: 'sigmoid' };
const turning = { rope_theta: 1000, rope_type: 'default' };
const stretched = { ...turning, rope_type: 'linear', factor: 2 };
const mimo = {
  ...configs['mimo_v2_flash'],
  rope_parameters: { full_attention: turning, sliding_attention: { ...turning, rope_theta: 10 } },
};
const laguna = {
  ...configs['laguna'],
  moe_router_logit_softcapping: 0,
  num_attention_heads_per_layer: [1, 2, 2],
  ...layers(false, true, true),
};

test.each([
  [
    'cohere2moe',
    cohere,
    {
      'cohere2moe.attention.sliding_window': 3,
      'cohere2moe.attention.sliding_window_pattern': [0, 1, 0],
      'cohere2moe.attention.layer_norm_rms_epsilon': 0,
      'cohere2moe.attention.layer_norm_epsilon': Math.fround(1e-5),
      'cohere2moe.logit_scale': 0.0625,
      'cohere2moe.leading_dense_block_count': 1,
      'cohere2moe.feed_forward_length': 10,
      'cohere2moe.expert_shared_count': 1,
      'cohere2moe.expert_gating_func': 2,
    },
    [
      ['blk.0.ffn_gate.weight', 'layers.0.mlp.gate_proj.weight'],
      ['blk.1.ffn_up_shexp.weight', 'layers.1.mlp.shared_experts.up_proj.weight'],
    ],
    {
      shared_expert_combination_strategy: { shared_expert_combination_strategy: 'sum' },
      prefix_dense_sliding_window_pattern: {
        prefix_dense_sliding_window_pattern: 3,
        sliding_window: 2,
        ...layers(false, true, false),
      },
    },
  ],
  [
    'cohere2moe',
    { ...cohere, rms_norm_eps: 0.5 },
    { 'cohere2moe.attention.layer_norm_rms_epsilon': 0.5, 'cohere2moe.attention.layer_norm_epsilon': 0 },
    [['blk.0.attn_norm.weight', 'layers.0.input_layernorm.weight']],
    {},
  ],
  [
    'mimo2',
    mimo,
    {
      'mimo2.attention.sliding_window': 3,
      'mimo2.attention.sliding_window_pattern': [0, 1],
      'mimo2.attention.head_count_kv': [1, 2],
      'mimo2.attention.key_length': 6,
      'mimo2.attention.value_length': 5,
      'mimo2.attention.value_scale': Math.fround(0.707),
      'mimo2.rope.freq_base': 1000,
      'mimo2.rope.freq_base_swa': 10,
    },
    [
      ['blk.1.attn_sinks.weight', 'layers.1.self_attn.attention_sink_bias'],
      ['blk.1.exp_probs_b.bias', 'layers.1.mlp.gate.e_score_correction_bias'],
    ],
    {
      attention_bias: { attention_bias: true },
      routed_scaling_factor: { routed_scaling_factor: 2 },
      'rope_parameters.sliding_attention.rope_type': {
        rope_parameters: { full_attention: turning, sliding_attention: stretched },
      },
      'rope_parameters.sliding_attention.partial_rotary_factor': {
        rope_parameters: { full_attention: turning, sliding_attention: { ...turning, partial_rotary_factor: 1 } },
      },
    },
  ],
  [
    'laguna',
    laguna,
    {
      'laguna.attention.head_count': [1, 2, 2],
      'laguna.attention.sliding_window': 3,
      'laguna.attention.sliding_window_pattern': 3,
      'laguna.rope.freq_base': 500_000,
      'laguna.rope.freq_base_swa': 10_000,
      'laguna.rope.dimension_count': 2,
      'laguna.rope.dimension_count_swa': 4,
      'laguna.expert_shared_feed_forward_length': 6,
    },
    [
      ['blk.0.attn_gate.weight', 'layers.0.self_attn.g_proj.weight'],
      ['blk.1.exp_probs_b.bias', 'layers.1.mlp.gate.e_score_correction_bias'],
    ],
    {
      moe_router_logit_softcapping: { moe_router_logit_softcapping: 2 },
      layer_types: layers(true, false, true),
      'rope_parameters.sliding_attention.rope_type': {
        rope_parameters: { full_attention: turning, sliding_attention: stretched },
      },
    },
  ],
  [
    'glm4moe',
    configs['solar_open'] ?? {},
    { 'glm4moe.leading_dense_block_count': 0, 'glm4moe.expert_gating_func': 2 },
    [['blk.0.exp_probs_b.bias', 'layers.0.mlp.gate.e_score_correction_bias']],
    {},
  ],
  [
    'hy_v3',
    { ...configs['hy_v3'], attention_bias: false, mlp_bias: false, num_experts: 4, num_experts_per_tok: 2 },
    { 'hy_v3.leading_dense_block_count': 1, 'hy_v3.expert_gating_func': 2, 'hy_v3.expert_weights_norm': true },
    [
      ['blk.1.exp_probs_b', 'layers.1.mlp.e_score_correction_bias'],
      ['blk.1.ffn_gate_shexp.weight', 'layers.1.mlp.shared_experts.gate_proj.weight'],
    ],
    { mlp_bias: { mlp_bias: true }, num_shared_experts: { num_shared_experts: 0 } },
  ],
  [
    'granite_swa',
    { ...configs['granite_swa'], ...layers(true, false), layer_rope_theta: [100, 0], embedding_multiplier: 2 },
    {
      'granite_swa.attention.sliding_window': 3,
      'granite_swa.attention.sliding_window_pattern': [1, 0],
      'granite_swa.attention.rope_pattern': [1, 0],
      'granite_swa.rope.freq_base': 100,
      'granite_swa.embedding_scale': 2,
    },
    [['blk.1.attn_sinks.weight', 'layers.1.self_attn.sinks']],
    { layer_rope_theta: { layer_rope_theta: [100, 10] } },
  ],
] as const)('%s is told of its layers', async (architecture, raw, told, tensors, refused) => {
  await exportedAsMade(raw, (read, model) => {
    expect(read.metadata).toMatchObject({ 'general.architecture': architecture, ...told });
    for (const [called, here] of tensors) expect(there(read, called)).toEqual(numbers(model, `model.${here}`));
  });
  for (const [field, change] of Object.entries<object>(refused))
    expect(await refusedAsMade({ ...raw, ...change })).toMatchObject({ left: { details: { field } } });
});

test('Laguna without windows is told of none', async () => {
  await exportedAsMade({ ...laguna, ...layers(false, false, false) }, ({ metadata }) => {
    expect(Object.keys(metadata).filter((key) => /sliding|swa/.test(key))).toEqual([]);
  });
});

test("Muse Glimmer's heads have norms whose gains are its factors", async () => {
  const { text_config: text } = configs['muse_glimmer'] as { readonly text_config: object };
  const raw = { ...configs['muse_glimmer'], text_config: { ...text, vocab_size: 40 } };
  await exportedAsMade(raw, (read, model) => {
    expect(read.metadata).toMatchObject({
      'general.architecture': 'muse-glimmer',
      'muse-glimmer.attention.sliding_window': 3,
      'muse-glimmer.attention.sliding_window_pattern': [1, 0],
      'muse-glimmer.final_logit_softcapping': 20,
    });
    expect(there(read, 'blk.1.attn_q_norm.weight')).toEqual(Array.from({ length: 4 }, () => Math.fround(3.87)));
    expect(there(read, 'blk.1.attn_k_norm.weight')).toEqual([1, 1, 1, 1]);
    const gains = numbers(model, 'model.layers.1.post_feedforward_layernorm.weight');
    expect(there(read, 'blk.1.post_ffw_norm.weight')).toEqual(gains.map((gain) => Math.fround(gain + 1)));
    expect(there(read, 'output_norm.weight')).toEqual(numbers(model, 'model.norm.weight'));
  });
  for (const [field, change] of Object.entries<object>({
    post_norm_eps: { post_norm_eps: 1e-5 },
    layer_rope_theta: { layer_rope_theta: [1, 1] },
  }))
    expect(await refusedAsMade({ ...raw, text_config: { ...raw.text_config, ...change } })).toMatchObject({
      left: { details: { field } },
    });
});
