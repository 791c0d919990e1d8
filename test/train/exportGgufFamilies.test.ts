/** Nemotron-H, MiniCPM3, Qwen3-VL with experts, mixtures with windows, MiniMax-M2, GLM, Llama 4 as GGUF files. What llama.cpp makes of them: reference/check_gguf.mjs. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import { configs, modelOf } from '../../property-tests/arbitraries/models.js';
import { ggufLayout } from '../../src/model/gguf/layouts.js';
import { startUnderTest } from '../engine.js';
import { orThrow as made } from '../model/loadModel.js';
import { exportedAsMade, numbers, refusedAsMade, there } from './exportedGguf.js';

beforeAll(async () => {
  await startUnderTest();
});

/** Fields of config.json that a model is refused for, with what they are set to. */
const refuses = async (raw: object, changes: Readonly<Record<string, object>>): Promise<void> => {
  for (const [field, change] of Object.entries(changes))
    expect(await refusedAsMade({ ...raw, ...change })).toMatchObject({ left: { details: { field } } });
};

/** What a layout tells of a configuration. */
const layoutOf = (raw: object) => {
  const { config, weights } = modelOf({ ...raw, vocab_size: 40 }, 1);
  const layout = made(ggufLayout(config, weights));
  dispose(Object.values(weights));
  return layout;
};

describe('Nemotron-H', () => {
  const plain = { ...configs['nemotron_h'], time_step_min: 0.001 };
  const mixed = { ...configs['nemotron_h_experts'], time_step_min: 0.001 };

  test('has layers of one part each, which are told by keys and MLPs', async () => {
    await exportedAsMade(plain, (read, model) => {
      const { metadata, tensors } = read;
      const width = model.weights['model.layers.1.mixer.up_proj.weight']?.shape[0] ?? NaN;
      const keys = metadata['nemotron_h.attention.head_count_kv'] as ReadonlyArray<number>;
      expect(metadata['general.architecture']).toBe('nemotron_h');
      expect(metadata['nemotron_h.feed_forward_length']).toEqual([0, width, 0]);
      expect(Array.from(keys, (count) => count > 0)).toEqual([false, false, true]);
      expect(metadata['nemotron_h.attention.layer_norm_epsilon']).toBe(Math.fround(1e-5));
      expect(tensors.has('output.weight')).toBe(true);
      const rates = numbers(model, 'model.layers.0.mixer.A_log').map((rate) => Math.fround(-Math.exp(rate)));
      expect(there(read, 'blk.0.ssm_a')).toEqual(rates);
      for (const [own, here] of [
        ['token_embd', 'embeddings'],
        ['output_norm', 'norm_f'],
        ['blk.0.attn_norm', 'layers.0.norm'],
        ['blk.1.ffn_down', 'layers.1.mixer.down_proj'],
        ['blk.2.attn_k', 'layers.2.mixer.k_proj'],
      ] as const)
        expect(there(read, `${own}.weight`)).toEqual(numbers(model, `model.${here}.weight`));
    });
    expect(layoutOf(plain).warnings).toMatchObject([{ code: 'W_GGUF_RATES' }]);
    expect(layoutOf({ ...plain, time_step_min: 0 }).warnings).toEqual([]);
  });

  test('with experts has another name; maps to and from their latent take no adapter', async () => {
    await exportedAsMade(mixed, (read, model) => {
      const { metadata, tensors } = read;
      expect(metadata).toMatchObject({
        'general.architecture': 'nemotron_h_moe',
        'nemotron_h_moe.feed_forward_length': [0, 0, 6],
        'nemotron_h_moe.expert_count': 3,
        'nemotron_h_moe.expert_used_count': 3,
        'nemotron_h_moe.expert_shared_feed_forward_length': 5,
        'nemotron_h_moe.moe_latent_size': 4,
      });
      expect(tensors.get('blk.2.ffn_up_exps.weight')?.shape).toEqual([3, 6, 4]);
      expect(there(read, 'blk.2.exp_probs_b.bias')).toEqual(
        numbers(model, 'model.layers.2.mixer.gate.e_score_correction_bias'),
      );
    });
    const bare = layoutOf(mixed).tensors.filter(({ fixed = false }) => fixed);
    expect(bare.map(({ name }) => name).toSorted()).toEqual([
      'blk.2.ffn_latent_down.weight',
      'blk.2.ffn_latent_up.weight',
    ]);
  });

  test('is refused for what llama.cpp has no place for', async () => {
    await refuses(plain, { time_step_min: { time_step_min: 0.1 }, use_bias: { use_bias: true } });
    await refuses(mixed, {
      mlp_bias: { mlp_bias: true },
      layers_block_type: { layers_block_type: ['attention', 'mlp', 'moe'] },
    });
  });
});

test('MiniCPM3 has the factors that llama.cpp takes for granted, and is refused with others', async () => {
  const published = { ...configs['minicpm3'], scale_emb: 12, scale_depth: 1.4, dim_model_base: 256 };
  await exportedAsMade(published, (read, model) => {
    expect(read.metadata).toMatchObject({
      'general.architecture': 'minicpm3',
      'minicpm3.attention.q_lora_rank': 5,
      'minicpm3.attention.kv_lora_rank': 4,
      'minicpm3.attention.key_length': 5,
      'minicpm3.attention.value_length': 4,
      'minicpm3.rope.dimension_count': 2,
    });
    for (const [own, here] of [
      ['attn_q_b', 'q_b_proj'],
      ['attn_kv_b', 'kv_b_proj'],
    ] as const)
      expect(there(read, `blk.0.${own}.weight`)).toEqual(numbers(model, `model.layers.0.self_attn.${here}.weight`));
  });
  const bare = layoutOf(published).tensors.filter(({ fixed = false }) => fixed);
  expect(bare.map(({ name }) => name)).toContain('blk.1.attn_kv_b.weight');
  await refuses(published, {
    scale_emb: { scale_emb: 2 },
    scale_depth: { scale_depth: 1 },
    dim_model_base: { dim_model_base: 4 },
    q_lora_rank: { q_lora_rank: null },
  });
});

test('Qwen3-VL with experts is told of sections of positions and of layers that images are given to', async () => {
  const { text_config: text, ...whole } = configs['qwen3_vl_moe'] as { readonly text_config: object };
  const fields = { ...text, mlp_only_layers: [], norm_topk_prob: true, vocab_size: 40 };
  const rope = { rope_type: 'default', rope_theta: 10_000, mrope_section: [1, 1, 1] };
  const read = { ...whole, text_config: { ...fields, rope_parameters: rope } };
  await exportedAsMade(read, ({ metadata, tensors }) => {
    expect(metadata).toMatchObject({
      'general.architecture': 'qwen3vlmoe',
      'qwen3vlmoe.rope.dimension_sections': [1, 1, 1, 0],
      'qwen3vlmoe.n_deepstack_layers': 3,
    });
    expect(tensors.get('blk.1.ffn_down_exps.weight')?.shape).toHaveLength(3);
  });
  expect(await refusedAsMade({ ...whole, text_config: fields })).toMatchObject({
    left: { details: { field: 'rope_scaling.mrope_section' } },
  });
});

describe('mixtures with windows', () => {
  /** Every fourth of five layers sees all. */
  const fifth = {
    num_hidden_layers: 5,
    layer_types: [1, 2, 3, 4, 5].map((i) => (i % 4 === 0 ? 'full_attention' : 'sliding_attention')),
    mlp_layer_types: undefined,
  };
  const one = { layer_types: Array.from({ length: 5 }, () => 'sliding_attention') };
  const alike = { rope_theta: 1000, rope_type: 'default' };

  test.each([
    [
      'exaone_moe',
      { ...configs['exaone_moe'], ...fifth },
      {
        'exaone-moe.attention.sliding_window': 3,
        'exaone-moe.leading_dense_block_count': 1,
        'exaone-moe.expert_gating_func': 2,
      },
      [
        ['blk.1.exp_probs_b.bias', 'layers.1.mlp.e_score_correction_bias'],
        ['blk.1.ffn_up_shexp.weight', 'layers.1.mlp.shared_experts.up_proj.weight'],
      ],
      { layer_types: one },
    ],
    [
      'afmoe',
      { ...configs['afmoe'], ...fifth, global_attn_every_n_layers: 4, num_dense_layers: 1 },
      { 'afmoe.attention.sliding_window': 3, 'afmoe.leading_dense_block_count': 1, 'afmoe.expert_weights_norm': true },
      [
        ['blk.1.exp_probs_b.bias', 'layers.1.mlp.expert_bias'],
        ['blk.1.attn_gate.weight', 'layers.1.self_attn.gate_proj.weight'],
        ['blk.1.post_attention_norm.weight', 'layers.1.post_attention_layernorm.weight'],
        ['blk.1.ffn_norm.weight', 'layers.1.pre_mlp_layernorm.weight'],
      ],
      { layer_types: one, mup_enabled: { mup_enabled: false } },
    ],
    [
      'mellum',
      {
        ...configs['mellum'],
        ...fifth,
        rope_parameters: { full_attention: { ...alike, rope_type: 'yarn', factor: 4 }, sliding_attention: alike },
      },
      { 'mellum.attention.sliding_window': 3, 'mellum.rope.scaling.type': 'yarn', 'mellum.rope.freq_base': 1000 },
      [['blk.1.attn_q_norm.weight', 'layers.1.self_attn.q_norm.weight']],
      {
        layer_types: one,
        'rope_parameters.sliding_attention.rope_theta': {
          rope_parameters: { full_attention: alike, sliding_attention: { ...alike, rope_theta: 10 } },
        },
      },
    ],
  ] as const)('%s', async (_, raw, told, tensors, refused) => {
    await exportedAsMade(raw, (read, model) => {
      expect(read.metadata).toMatchObject(told);
      for (const [called, here] of tensors) expect(there(read, called)).toEqual(numbers(model, `model.${here}`));
    });
    await refuses(raw, refused);
  });
});

test("MiniMax-M2's corrections are of its routers, which are told to be sigmoids", async () => {
  await exportedAsMade({ ...configs['minimax_m2'] }, (read, model) => {
    expect(read.metadata).toMatchObject({
      'general.architecture': 'minimax-m2',
      'minimax-m2.expert_gating_func': 2,
      'minimax-m2.rope.dimension_count': 2,
    });
    const moe = 'model.layers.1.block_sparse_moe';
    expect(there(read, 'blk.1.exp_probs_b.bias')).toEqual(numbers(model, `${moe}.e_score_correction_bias`));
    expect(there(read, 'blk.1.attn_k_norm.weight')).toEqual(numbers(model, 'model.layers.1.self_attn.k_norm.weight'));
    expect(there(read, 'blk.1.ffn_gate_exps.weight').slice(0, 12 * 8)).toEqual(
      numbers(model, `${moe}.experts.0.w1.weight`),
    );
  });
});

test('GLM of 2024 is ChatGLM there, whose heads are as wide as the model together', async () => {
  const raw = { ...configs['glm'] };
  await exportedAsMade(raw, (read, model) => {
    expect(read.metadata).toMatchObject({ 'general.architecture': 'chatglm', 'chatglm.rope.dimension_count': 2 });
    expect(there(read, 'blk.1.ffn_up.weight')).toEqual(numbers(model, 'model.layers.1.mlp.gate_up_proj.weight'));
    expect(there(read, 'blk.1.attn_q.bias')).toEqual(numbers(model, 'model.layers.1.self_attn.q_proj.bias'));
  });
  await refuses(raw, { head_dim: { head_dim: 8 } });
});

test('Llama 4 has experts in turns that are told, and all else as the published models', async () => {
  const raw = {
    ...configs['llama4_text'],
    num_hidden_layers: 5,
    no_rope_layers: [1, 1, 1, 0, 1],
    attention_chunk_size: 8192,
    floor_scale: 8192,
    moe_layers: [1, 3],
  };
  await exportedAsMade(raw, (read, model) => {
    expect(read.metadata).toMatchObject({
      'general.architecture': 'llama4',
      'llama4.interleave_moe_layer_step': 2,
      'llama4.feed_forward_length': 10,
      'llama4.expert_feed_forward_length': 12,
    });
    const expert = 'model.layers.1.feed_forward.experts.1.down_proj.weight';
    expect(there(read, 'blk.1.ffn_down_exps.weight').slice(8 * 12)).toEqual(numbers(model, expert));
    expect(there(read, 'blk.1.ffn_up_shexp.weight')).toEqual(
      numbers(model, 'model.layers.1.feed_forward.shared_expert.up_proj.weight'),
    );
    expect(there(read, 'blk.0.ffn_gate.weight')).toEqual(
      numbers(model, 'model.layers.0.feed_forward.gate_proj.weight'),
    );
    // Pairs lie beside each other here, too.
    expect(there(read, 'blk.0.attn_q.weight')).toEqual(numbers(model, 'model.layers.0.self_attn.q_proj.weight'));
  });
  await refuses(raw, {
    no_rope_layers: { no_rope_layers: [1, 0, 1, 0, 1] },
    attention_chunk_size: { attention_chunk_size: 4096 },
    attn_scale: { attn_scale: 0.2 },
    use_qk_norm: { use_qk_norm: false },
    moe_layers: { moe_layers: [0, 1] },
  });
});
