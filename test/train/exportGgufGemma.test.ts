/** Models of the Gemma family as GGUF files. What llama.cpp makes of them: reference/check_gguf.mjs. */
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import { configs, modelOf } from '../../property-tests/arbitraries/models.js';
import { orThrow } from '../../src/errors.js';
import { modelConfig } from '../../src/model/architectures.js';
import { ggufLayout } from '../../src/model/gguf/layouts.js';
import { exportGguf } from '../../src/train/saving/exportGguf.js';
import { inTemporary } from '../cli/rxtune.js';
import { startUnderTest } from '../engine.js';
import { readGguf } from '../formats/ggufReader.js';
import type { GgufRead } from '../formats/ggufReader.js';
import { orThrow as made } from '../model/loadModel.js';
import { exportedAsMade, numbers, origin, refusedAsMade } from './exportedGguf.js';
import { letters as tokenizer } from './letters.js';

beforeAll(async () => {
  await startUnderTest();
});

describe('the file of', () => {
  test('Gemma 2 has its caps and its window; what llama.cpp takes for granted of it is refused where it is otherwise', async () => {
    const raw = { ...configs['gemma2'], vocab_size: 40, query_pre_attn_scalar: 4 };
    await inTemporary(async (directory) => {
      const model = modelOf(raw, 1);
      const file = join(directory, 'model.gguf');
      expect(await orThrow(exportGguf(file, model, { tokenizer, outtype: 'f32', name: 'tiny' }))).toMatchObject([
        { field: 'eos_token' },
      ]);
      const { metadata, tensors } = readGguf(file);
      expect(metadata).toMatchObject({
        'general.architecture': 'gemma2',
        'gemma2.attention.sliding_window': 3,
        'gemma2.attention.key_length': 4,
        'gemma2.attn_logit_softcapping': 1.5,
        'gemma2.final_logit_softcapping': 2,
      });
      for (const [there, here] of [
        ['attn_norm', 'input_layernorm'],
        ['post_attention_norm', 'post_attention_layernorm'],
        ['ffn_norm', 'pre_feedforward_layernorm'],
        ['post_ffw_norm', 'post_feedforward_layernorm'],
      ] as const)
        expect(Array.from(tensors.get(`blk.1.${there}.weight`)?.values ?? [])).toEqual(
          numbers(model, `model.layers.1.${here}.weight`).map((gain) => Math.fround(gain + 1)),
        );
      dispose(Object.values(model.weights));
    });
    for (const [field, change] of [
      ['query_pre_attn_scalar', { query_pre_attn_scalar: 3 }],
      ['query_pre_attn_scalar', { num_hidden_layers: 46, hidden_size: 10 }],
      ['layer_types', { layer_types: ['full_attention', 'sliding_attention'] }],
      ['attn_logit_softcapping', { attn_logit_softcapping: null }],
      ['final_logit_softcapping', { final_logit_softcapping: null }],
    ] as const) {
      const model = modelOf({ ...raw, ...change }, 1);
      const result = await exportGguf('/nowhere/model.gguf', model, { tokenizer })();
      expect(result).toMatchObject({ left: { code: 'E_GGUF_UNSUPPORTED', details: { field } } });
      dispose(Object.values(model.weights));
    }
  });

  test('Gemma 3 and SmolLM3 of the usual pattern of layers have norms behind their blocks, windows, and pairs beside each other', async () => {
    const read = (raw: object): Promise<GgufRead> =>
      inTemporary(async (directory) => {
        const model = modelOf({ ...raw, vocab_size: 40 }, 1);
        const file = join(directory, 'model.gguf');
        expect(await orThrow(exportGguf(file, model, { tokenizer, outtype: 'f32', name: 'tiny' }))).toMatchObject([
          { field: 'eos_token' },
        ]);
        const k = numbers(model, 'model.layers.0.self_attn.k_proj.weight');
        const found = readGguf(file);
        const kThere = Array.from(found.tensors.get('blk.0.attn_k.weight')?.values ?? []);
        const moved = k.map((_, i) => k[origin(Math.floor(i / 8), 4) * 8 + (i % 8)]);
        expect(kThere).toEqual(found.metadata['general.architecture'] === 'smollm3' ? moved : k);
        dispose(Object.values(model.weights));
        return found;
      });
    const gemma = { ...configs['gemma3'], num_hidden_layers: 6, sliding_window_pattern: 6, query_pre_attn_scalar: 4 };
    const { metadata, tensors } = await read(gemma);
    expect(metadata).toMatchObject({ 'general.architecture': 'gemma3', 'gemma3.attention.sliding_window': 3 });
    for (const name of ['attn_norm', 'post_attention_norm', 'ffn_norm', 'post_ffw_norm'])
      expect(tensors.has(`blk.5.${name}.weight`)).toBe(true);
    await read({ ...configs['smollm3'], num_hidden_layers: 4, no_rope_layer_interval: 4 });
    for (const [field, change] of [
      ['query_pre_attn_scalar', { query_pre_attn_scalar: 3 }],
      ['rope_local_base_freq', { rope_local_base_freq: 500 }],
    ] as const)
      expect(await refusedAsMade({ ...gemma, ...change })).toMatchObject({ left: { details: { field } } });
  });

  test("Gemma 4 is told of layers that slide and that share keys; its experts' factors are factors of what they put out", async () => {
    const dense = { ...configs['gemma4'], vocab_size_per_layer_input: 40 };
    await exportedAsMade(dense, ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'gemma4',
        'gemma4.attention.sliding_window': 3,
        'gemma4.attention.sliding_window_pattern': [1, 0, 1, 0],
        'gemma4.attention.shared_kv_layers': 2,
        'gemma4.attention.key_length': 6,
        'gemma4.attention.key_length_swa': 4,
        'gemma4.rope.dimension_count': 6,
        'gemma4.rope.dimension_count_swa': 4,
        'gemma4.rope.freq_base': 1e6,
        'gemma4.rope.freq_base_swa': 1e4,
        'gemma4.embedding_length_per_layer_input': 6,
      });
      const width = model.weights['model.layers.0.mlp.gate_proj.weight']?.shape[0] ?? NaN;
      expect(metadata['gemma4.feed_forward_length']).toEqual([width, width, 2 * width, 2 * width]);
      // A quarter of three pairs turns: none.
      expect(Array.from(tensors.get('rope_freqs.weight')?.values ?? [])).toEqual([1e30, 1e30, 1e30].map(Math.fround));
      expect(tensors.has('blk.1.attn_k.weight')).toBe(true);
      expect(tensors.has('blk.2.attn_k.weight')).toBe(false);
      expect(tensors.get('blk.3.layer_output_scale.weight')?.shape).toEqual([1]);
      for (const [there, here] of [
        ['per_layer_token_embd', 'model.embed_tokens_per_layer'],
        ['blk.1.inp_gate', 'model.layers.1.per_layer_input_gate'],
        ['blk.1.ffn_norm', 'model.layers.1.pre_feedforward_layernorm'],
      ] as const)
        expect(Array.from(tensors.get(`${there}.weight`)?.values ?? [])).toEqual(numbers(model, `${here}.weight`));
    });
    const mixed = { ...configs['gemma4_experts'], layer_types: ['sliding_attention', 'full_attention'] };
    await exportedAsMade(mixed, ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'gemma4.expert_count': 3,
        'gemma4.expert_used_count': 3,
        'gemma4.expert_feed_forward_length': 6,
        'gemma4.attention.head_count_kv': [2, 1],
        'gemma4.final_logit_softcapping': 5,
      });
      expect(Array.from(tensors.get('rope_freqs.weight')?.values ?? [])).toEqual(
        [1, 1e30, 1e30, 1e30].map(Math.fround),
      );
      expect(tensors.has('blk.1.attn_v.weight')).toBe(false);
      expect(tensors.get('blk.1.ffn_gate_exps.weight')?.shape).toEqual([3, 6, 8]);
      for (const [there, here] of [
        ['ffn_gate_inp.scale', 'router.scale'],
        ['ffn_gate_inp.weight', 'router.proj.weight'],
        ['ffn_down_exps.scale', 'router.per_expert_scale'],
        ['pre_ffw_norm_2.weight', 'pre_feedforward_layernorm_2.weight'],
      ] as const)
        expect(Array.from(tensors.get(`blk.1.${there}`)?.values ?? [])).toEqual(
          numbers(model, `model.layers.1.${here}`),
        );
    });
    // llama.cpp caps at 30 where it is told nothing.
    await exportedAsMade({ ...mixed, final_logit_softcapping: null }, ({ metadata }) => {
      expect(metadata['gemma4.final_logit_softcapping']).toBe(0);
    });
    for (const [field, change] of [
      ['vocab_size_per_layer_input', { vocab_size_per_layer_input: 50 }],
      ['num_kv_shared_layers', { num_kv_shared_layers: 1 }],
      ['layer_types', { layer_types: Array(4).fill('full_attention'), num_kv_shared_layers: 0 }],
    ] as const)
      expect(await refusedAsMade({ ...dense, ...change })).toMatchObject({ left: { details: { field } } });
  });

  test("Gemma 3n's streams lie in one tensor, its table of all layers has rows for every token, and unread maps are others' again", async () => {
    const layers = 25;
    const raw = {
      ...configs['gemma3n'],
      num_hidden_layers: layers,
      layer_types: Array.from({ length: layers }, (_, i) => (i % 5 === 4 ? 'full_attention' : 'sliding_attention')),
      num_kv_shared_layers: 5,
      hidden_size_per_layer_input: 256,
      vocab_size_per_layer_input: 30,
      altup_num_inputs: 4,
      laurel_rank: 64,
      activation_sparsity_pattern: Array.from({ length: layers }, (_, i) => (i < 10 ? 0.95 : 0)),
    };
    await exportedAsMade(raw, ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'gemma3n',
        'gemma3n.attention.shared_kv_layers': 5,
        'gemma3n.rope.freq_base': 1e6,
        'gemma3n.rope.freq_base_swa': 1e4,
        'gemma3n.final_logit_softcapping': 30,
      });
      const there = (name: string): ReadonlyArray<number> => Array.from(tensors.get(`${name}.weight`)?.values ?? []);
      expect(tensors.get('altup_proj.weight')?.shape).toEqual([3, 8, 8]);
      for (const [stack, module] of [
        ['altup_proj', 'model.altup_projections'],
        ['altup_unembd_proj', 'model.altup_unembed_projections'],
      ] as const)
        expect(there(stack)).toEqual([0, 1, 2].flatMap((j) => numbers(model, `${module}.${j}.weight`)));
      const table = numbers(model, 'model.embed_tokens_per_layer.weight');
      expect(tensors.get('per_layer_token_embd.weight')?.shape).toEqual([40, layers * 256]);
      expect(there('per_layer_token_embd').slice(0, table.length)).toEqual(table);
      expect(
        there('per_layer_token_embd')
          .slice(table.length)
          .every((value) => value === 0),
      ).toBe(true);
      // Layer 21 slides, layer 24 sees all.
      expect(there('blk.21.attn_k')).toEqual(numbers(model, 'model.layers.18.self_attn.k_proj.weight'));
      expect(there('blk.24.attn_v')).toEqual(numbers(model, 'model.layers.19.self_attn.v_proj.weight'));
      for (const [name, module] of [
        ['altup_correct_coef', 'altup.correction_coefs'],
        ['altup_router', 'altup.modality_router'],
        ['laurel_r', 'laurel.linear_right'],
      ] as const)
        expect(there(`blk.7.${name}`)).toEqual(numbers(model, `model.layers.7.${module}.weight`));
      expect(there('blk.7.altup_correct_scale')).toEqual(numbers(model, 'model.layers.7.altup.correct_output_scale'));
    });
    for (const [field, change] of [
      ['altup_num_inputs', { altup_num_inputs: 3 }],
      ['altup_active_idx', { altup_active_idx: 1 }],
      ['altup_correct_scale', { altup_correct_scale: false }],
      ['laurel_rank', { laurel_rank: 3 }],
      ['hidden_size_per_layer_input', { hidden_size_per_layer_input: 6 }],
      ['vocab_size_per_layer_input', { vocab_size_per_layer_input: 41 }],
      ['activation_sparsity_pattern', { activation_sparsity_pattern: Array<number>(layers).fill(0) }],
      ['intermediate_size', { intermediate_size: Array.from({ length: layers }, (_, i) => (i === 0 ? 4 : 6)) }],
      [
        'layer_types',
        { layer_types: Array.from({ length: layers }, (_, i) => (i % 2 ? 'full_attention' : 'sliding_attention')) },
      ],
      ['num_kv_shared_layers', { num_kv_shared_layers: 0 }],
      ['final_logit_softcapping', { final_logit_softcapping: null }],
    ] as const)
      expect(ggufLayout(made(modelConfig({ ...raw, ...change, vocab_size: 40 })), {})).toMatchObject({
        left: { code: 'E_GGUF_UNSUPPORTED', details: { field } },
      });
  });
});
