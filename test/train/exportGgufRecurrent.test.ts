/** Models whose layers convolve or keep a state, as GGUF files. What llama.cpp makes of them: reference/check_gguf.mjs. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { configs } from '../../property-tests/arbitraries/models.js';
import { startUnderTest } from '../engine.js';
import { exported, exportedAsMade, numbers, refusedAsMade } from './exportedGguf.js';

beforeAll(async () => {
  await startUnderTest();
});

/** Layers of both kinds, of which those of the delta rule have values as wide as their keys. */
const byTurns = { linear_value_head_dim: 6, layer_types: ['linear_attention', 'full_attention'] };

describe('the file of', () => {
  test('layers of LFM2 that convolve have no keys, and their convolutions are matrices of float32', async () => {
    await exported('lfm2', 'f16', ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({ 'lfm2.attention.head_count_kv': [0, 2, 0], 'lfm2.shortconv.l_cache': 3 });
      const convolution = tensors.get('blk.0.shortconv.conv.weight');
      expect(convolution).toMatchObject({ shape: [16, 3], type: 'f32' });
      expect(Array.from(convolution?.values ?? [])).toEqual(numbers(model, 'model.layers.0.conv.conv.weight'));
    });
  });

  test("Granite 4's layers that mix have no keys, and its joined maps go as two; without mixers it is Granite there", async () => {
    const hybrid = { ...configs['granitemoehybrid'], mamba_n_groups: 1 };
    await exportedAsMade(hybrid, ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'granitehybrid',
        'granitehybrid.attention.head_count_kv': [0, 1],
        'granitehybrid.rope.scaling.finetuned': false,
        'granitehybrid.feed_forward_length': 12,
        'granitehybrid.ssm.conv_kernel': 3,
        'granitehybrid.ssm.state_size': 3,
        'granitehybrid.ssm.group_count': 1,
        'granitehybrid.ssm.time_step_rank': 4,
        'granitehybrid.ssm.inner_size': 16,
        'granitehybrid.embedding_scale': 2,
      });
      const module = 'model.layers.0.mamba';
      const rates = tensors.get('blk.0.ssm_a');
      expect(rates?.shape).toEqual([4, 1]);
      numbers(model, `${module}.A_log`).forEach((log, i) => expect(rates?.values[i]).toBeCloseTo(-Math.exp(log), 6));
      expect(tensors.get('blk.0.ssm_d')?.shape).toEqual([4, 1]);
      expect(tensors.get('blk.0.ssm_norm.weight')?.shape).toEqual([1, 16]);
      expect(tensors.get('blk.0.ssm_conv1d.weight')?.shape).toEqual([22, 3]);
      for (const [there, here] of [
        ['ssm_in.weight', 'in_proj.weight'],
        ['ssm_dt.bias', 'dt_bias'],
        ['ssm_out.weight', 'out_proj.weight'],
      ] as const)
        expect(Array.from(tensors.get(`blk.0.${there}`)?.values ?? [])).toEqual(numbers(model, `${module}.${here}`));
      const joined = numbers(model, 'model.layers.1.shared_mlp.input_linear.weight');
      const half = joined.length / 2;
      expect(Array.from(tensors.get('blk.1.ffn_gate.weight')?.values ?? [])).toEqual(joined.slice(0, half));
      expect(Array.from(tensors.get('blk.1.ffn_up.weight')?.values ?? [])).toEqual(joined.slice(half));
    });
    await exported('granitemoeshared', 'f32', ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'granitemoe',
        'granitemoe.expert_count': 4,
        'granitemoe.expert_used_count': 3,
        'granitemoe.feed_forward_length': 12,
        'granitemoe.expert_shared_feed_forward_length': 20,
        'granitemoe.rope.scaling.finetuned': true,
      });
      expect(tensors.get('blk.0.ffn_up_shexp.weight')?.shape).toEqual([20, 16]);
      expect(tensors.get('blk.0.ffn_down_exps.weight')?.shape).toEqual([4, 16, 12]);
      expect(Array.from(tensors.get('blk.1.ffn_gate_inp.weight')?.values ?? [])).toEqual(
        numbers(model, 'model.layers.1.block_sparse_moe.router.layer.weight'),
      );
    });
    await exported('granite_hybrid_attention', 'f32', ({ metadata }) =>
      expect(metadata).toMatchObject({ 'general.architecture': 'granite', 'granite.feed_forward_length': 20 }),
    );
    for (const [field, change] of [
      ['mamba_n_groups', { mamba_n_groups: 2 }],
      ['mamba_conv_bias', { mamba_conv_bias: false }],
      ['mamba_proj_bias', { mamba_proj_bias: true }],
      ['time_step_limit', { time_step_limit: [0.1, 2] }],
      ['mamba_expand', { mamba_expand: 3, mamba_d_head: 6 }],
    ] as const)
      expect(await refusedAsMade({ ...hybrid, ...change })).toMatchObject({ left: { details: { field } } });
  });

  test('Mamba-2 has mixers alone, of one group under its norm', async () => {
    const raw = { ...configs['mamba2'], n_groups: 1 };
    await exportedAsMade(raw, ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'mamba2',
        'mamba2.context_length': 1_048_576,
        'mamba2.attention.head_count': 0,
        'mamba2.ssm.inner_size': 16,
        'mamba2.ssm.state_size': 3,
      });
      expect(tensors.get('blk.1.ssm_a')?.shape).toEqual([4, 1]);
      for (const [there, here] of [
        ['token_embd.weight', 'embeddings.weight'],
        ['blk.1.attn_norm.weight', 'layers.1.norm.weight'],
        ['blk.1.ssm_norm.weight', 'layers.1.mixer.norm.weight'],
        ['blk.1.ssm_conv1d.bias', 'layers.1.mixer.conv1d.bias'],
        ['blk.1.ssm_d', 'layers.1.mixer.D'],
      ] as const)
        expect(Array.from(tensors.get(there)?.values ?? [])).toEqual(numbers(model, `backbone.${here}`));
    });
    for (const [field, change] of [
      ['n_groups', { n_groups: 2 }],
      ['use_bias', { use_bias: true }],
      ['use_conv_bias', { use_conv_bias: false }],
      ['time_step_limit', { time_step_limit: [0.1, 2] }],
    ] as const)
      expect(await refusedAsMade({ ...raw, ...change })).toMatchObject({ left: { details: { field } } });
  });

  test.each([
    ['mamba', 'mamba', {}, false],
    ['falcon_mamba', 'mamba', { mixer_rms_eps: 1e-6 }, true],
  ] as const)('%s has mixers alone, with the rates of decay themselves', async (name, there, change, norms) => {
    const raw: Readonly<Record<string, unknown>> = { ...configs[name], ...change };
    await exportedAsMade(raw, ({ metadata, tensors }, model) => {
      const { hiddenSize } = model.config;
      expect(metadata).toMatchObject({
        'general.architecture': there,
        'mamba.attention.head_count': 0,
        'mamba.ssm.inner_size': 2 * hiddenSize,
        'mamba.ssm.state_size': raw['state_size'],
        'mamba.ssm.dt_b_c_rms': norms,
      });
      const logs = numbers(model, 'backbone.layers.1.mixer.A_log');
      expect(Array.from(tensors.get('blk.1.ssm_a')?.values ?? [])).toEqual(
        logs.map((log) => Math.fround(-Math.exp(log))),
      );
      expect(tensors.get('blk.1.ssm_conv1d.weight')?.shape).toEqual([2 * hiddenSize, raw['conv_kernel'] ?? 4]);
      for (const [called, here] of [
        ['token_embd.weight', 'embeddings.weight'],
        ['blk.1.attn_norm.weight', 'layers.1.norm.weight'],
        ['blk.1.ssm_x.weight', 'layers.1.mixer.x_proj.weight'],
        ['blk.1.ssm_dt.bias', 'layers.1.mixer.dt_proj.bias'],
        ['blk.1.ssm_d', 'layers.1.mixer.D'],
      ] as const)
        expect(Array.from(tensors.get(called)?.values ?? [])).toEqual(numbers(model, `backbone.${here}`));
    });
    for (const [field, other] of [
      ['expand', { expand: 3 }],
      ['use_bias', { use_bias: true }],
      ['use_conv_bias', { use_conv_bias: false }],
      ...(norms ? [['mixer_rms_eps', { mixer_rms_eps: 1e-3 }] as const] : []),
    ] as const)
      expect(await refusedAsMade({ ...raw, ...other })).toMatchObject({ left: { details: { field } } });
  });

  test("Jamba's layers without keys mix, and its experts lie together", async () => {
    const raw = { ...configs['jamba'] };
    await exportedAsMade(raw, ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'jamba',
        'jamba.attention.head_count_kv': [0, 1],
        'jamba.expert_count': 4,
        'jamba.expert_used_count': 2,
        'jamba.ssm.time_step_rank': 2,
      });
      expect(tensors.get('blk.1.ffn_up_exps.weight')?.shape).toEqual([4, 12, 8]);
      for (const [called, here] of [
        ['output_norm.weight', 'final_layernorm.weight'],
        ['blk.0.ssm_dt_norm.weight', 'layers.0.mamba.dt_layernorm.weight'],
        ['blk.0.ffn_gate.weight', 'layers.0.feed_forward.gate_proj.weight'],
        ['blk.1.attn_k.weight', 'layers.1.self_attn.k_proj.weight'],
        ['blk.1.ffn_gate_inp.weight', 'layers.1.feed_forward.router.weight'],
      ] as const)
        expect(Array.from(tensors.get(called)?.values ?? [])).toEqual(numbers(model, `model.${here}`));
    });
    expect(await refusedAsMade({ ...raw, mamba_conv_bias: false })).toMatchObject({
      left: { details: { field: 'mamba_conv_bias' } },
    });
  });

  test("Qwen3.5's heads of values are those of the key heads by turns, its rates of decay themselves", async () => {
    await exportedAsMade({ ...configs['qwen3_5_moe'], ...byTurns }, ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'qwen35moe',
        'qwen35moe.full_attention_interval': 2,
        'qwen35moe.ssm.group_count': 2,
        'qwen35moe.ssm.time_step_rank': 4,
      });
      const module = 'model.layers.0.linear_attn';
      const order = [0, 2, 1, 3];
      const logarithms = numbers(model, `${module}.A_log`);
      const rates = Array.from(tensors.get('blk.0.ssm_a')?.values ?? []);
      expect(rates).toHaveLength(4);
      order.forEach((head, i) => expect(rates[i]).toBeCloseTo(-Math.exp(logarithms[head] ?? NaN), 6));
      // 12 queries, 12 keys and 4 heads of 6 values, of 8 inputs each.
      const ours = numbers(model, `${module}.in_proj_qkv.weight`);
      const theirs = Array.from(tensors.get('blk.0.attn_qkv.weight')?.values ?? []);
      expect(theirs.slice(0, 24 * 8)).toEqual(ours.slice(0, 24 * 8));
      const values = (all: ReadonlyArray<number>, head: number) => all.slice((24 + 6 * head) * 8, (30 + 6 * head) * 8);
      order.forEach((head, i) => expect(values(theirs, i)).toEqual(values(ours, head)));
      const outputs = numbers(model, `${module}.out_proj.weight`);
      const turned = Array.from(tensors.get('blk.0.ssm_out.weight')?.values ?? []);
      order.forEach((head, i) => expect(turned.slice(6 * i, 6 * i + 6)).toEqual(outputs.slice(6 * head, 6 * head + 6)));
      expect(tensors.get('blk.0.ssm_conv1d.weight')?.shape[0]).toBe(48);
      const gains = numbers(model, 'model.layers.0.input_layernorm.weight');
      const norm = Array.from(tensors.get('blk.0.attn_norm.weight')?.values ?? []);
      gains.forEach((gain, i) => expect(norm[i]).toBeCloseTo(gain + 1, 6));
      expect(Array.from(tensors.get('blk.0.ssm_norm.weight')?.values ?? [])).toEqual(
        numbers(model, `${module}.norm.weight`),
      );
    });
  });

  test("Qwen3-Next's joined map goes as two, of all key heads", async () => {
    await exportedAsMade({ ...configs['qwen3_next'], ...byTurns }, ({ tensors }, model) => {
      // Of each of two key heads 6 queries, 6 keys, and 2 · 6 values and gates, of 8 inputs each.
      const joined = numbers(model, 'model.layers.0.linear_attn.in_proj_qkvz.weight');
      const rows = (first: number, count: number) =>
        [first, 36 + first].flatMap((at) => joined.slice(at * 8, (at + count) * 8));
      expect(Array.from(tensors.get('blk.0.attn_qkv.weight')?.values ?? [])).toEqual(
        [rows(0, 6), rows(6, 6), rows(12, 12)].flat(),
      );
      expect(Array.from(tensors.get('blk.0.attn_gate.weight')?.values ?? [])).toEqual(rows(24, 12));
    });
  });
});
