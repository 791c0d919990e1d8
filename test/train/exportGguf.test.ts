/** Models as GGUF files, read back by a reader of the tests' own. What llama.cpp makes of them: reference/check_gguf.mjs. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import { orThrow } from '../../src/errors.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import type { CausalLM } from '../../src/model/model.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { modelConfig } from '../../src/model/architectures.js';
import { ggufLayout } from '../../src/model/gguf/layouts.js';
import { dequantizeModel } from '../../src/model/quantize/base.js';
import { float16ToFloat32, float32ToFloat16 } from '../../src/formats/tensors/float16.js';
import { exportGguf } from '../../src/train/saving/exportGguf.js';
import { loadModel } from '../../src/train/loading/load.js';
import { built, inTemporary, rxtune } from '../cli/rxtune.js';
import { startUnderTest } from '../engine.js';
import { configs, modelOf } from '../../property-tests/arbitraries/models.js';
import { readGguf } from '../formats/ggufReader.js';
import type { GgufRead } from '../formats/ggufReader.js';
import { orThrow as made } from '../model/loadModel.js';
import { exported, exportedAsMade, numbers, refusedAsMade } from './exportedGguf.js';
import { letters as tokenizer } from './letters.js';

const models = resolve(import.meta.dirname, '..', 'golden', 'models');
beforeAll(async () => {
  await startUnderTest();
});

/** Layers of both kinds, of which those of the delta rule have values as wide as their keys. */
const byTurns = { linear_value_head_dim: 6, layer_types: ['linear_attention', 'full_attention'] };

/** Where number i of a head of `size` comes from: pairs that turn together lie beside each other. */
const origin = (row: number, size: number): number =>
  Math.floor(row / size) * size + (row % 2) * (size / 2) + Math.floor((row % size) / 2);

describe('the file of', () => {
  test.each(['gpt2', 'llama'])('a quantised %s has the numbers that its weights stand for', (name) =>
    inTemporary(async (directory) => {
      const read = async (way: (model: CausalLM) => CausalLM) => {
        const { model } = await orThrow(loadModel(join(models, name), { loadIn8bit: true }));
        const file = join(directory, 'model.gguf');
        await orThrow(exportGguf(file, way(model), { tokenizer, outtype: 'f32', name }));
        return readGguf(file).tensors;
      };
      expect(await read((model) => model)).toEqual(await read(dequantizeModel));
    }),
  );

  test('Llama has its numbers, and heads whose pairs lie beside each other', () =>
    exported('llama_biased_tied', 'f32', ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'llama',
        'general.name': 'llama_biased_tied',
        'general.file_type': 0,
        'llama.block_count': 2,
        'llama.embedding_length': 16,
        'llama.attention.head_count': 4,
        'llama.attention.head_count_kv': 2,
        'llama.rope.freq_base': 10_000,
      });
      expect(tensors.has('output.weight')).toBe(false);
      expect(Array.from(tensors.get('token_embd.weight')?.values ?? [])).toEqual(
        numbers(model, 'model.embed_tokens.weight'),
      );
      expect(tensors.get('blk.1.ffn_down.weight')?.shape).toEqual([16, 24]);
      for (const [there, here, width] of [
        ['blk.1.attn_k.weight', 'model.layers.1.self_attn.k_proj.weight', 16],
        ['blk.0.attn_q.bias', 'model.layers.0.self_attn.q_proj.bias', 1],
      ] as const) {
        const ours = numbers(model, here);
        const expected = ours.map((_, i) => ours[origin(Math.floor(i / width), 4) * width + (i % width)]);
        expect(Array.from(tensors.get(there)?.values ?? [])).toEqual(expected);
      }
    }));

  test.each([
    ['mistral', 'llama', 'blk.0.attn_norm.weight', ['W_GGUF_WINDOW']],
    ['qwen2', 'qwen2', 'blk.0.attn_q.bias', ['W_GGUF_WINDOW']],
    ['qwen3', 'qwen3', 'blk.1.attn_k_norm.weight', []],
    ['gemma', 'gemma', 'blk.0.ffn_gate.weight', []],
    ['gpt2', 'gpt2', 'position_embd.weight', []],
    ['phi', 'phi2', 'output.bias', []],
    ['llama_dynamic', 'llama', 'output.weight', ['W_GGUF_ROPE']],
    ['olmo', 'olmo', 'blk.0.ffn_gate.weight', []],
    ['olmo2', 'olmo2', 'blk.0.post_ffw_norm.weight', []],
    ['granite', 'granite', 'blk.1.ffn_norm.weight', []],
    ['helium', 'llama', 'blk.0.attn_q.bias', []],
    ['cohere', 'command-r', 'blk.0.ffn_gate.weight', []],
    ['starcoder2', 'starcoder2', 'blk.0.ffn_up.bias', ['W_GGUF_WINDOW']],
    ['stablelm', 'stablelm', 'output.weight', []],
    ['gpt_neox', 'gptneox', 'blk.0.attn_qkv.bias', []],
    ['falcon', 'falcon', 'blk.0.attn_norm.bias', []],
    ['falcon_groups', 'falcon', 'blk.0.attn_norm_2.weight', []],
    ['phi3_partial', 'phi3', 'blk.0.attn_qkv.weight', ['W_GGUF_WINDOW']],
    ['arcee', 'arcee', 'blk.0.ffn_up.weight', []],
    ['jais2', 'jais2', 'blk.1.attn_output.bias', []],
    ['hunyuan_v1_dense', 'hunyuan-dense', 'blk.0.attn_q_norm.weight', []],
    ['glm4', 'glm4', 'blk.0.post_ffw_norm.weight', []],
    ['exaone4_full', 'exaone4', 'blk.0.post_attention_norm.weight', []],
    ['bloom', 'bloom', 'token_embd_norm.bias', []],
    ['gpt_bigcode', 'starcoder', 'position_embd.weight', []],
    ['qwen2_5_vl', 'qwen2vl', 'blk.0.attn_k.bias', []],
    ['qwen3_vl', 'qwen3vl', 'blk.0.attn_k_norm.weight', []],
  ])('%s is one of %s, with %s', async (name, architecture, tensor, codes) => {
    const warned = await exported(name, 'f16', ({ metadata, tensors }, model) => {
      expect(metadata['general.architecture']).toBe(architecture);
      expect(Object.keys(metadata).filter((key) => key.startsWith(`${architecture}.`)).length).toBeGreaterThan(5);
      expect(tensors.has(tensor)).toBe(true);
      expect(tensors.size).toBe(Object.keys(model.weights).length);
      for (const [key, { shape, type }] of tensors)
        expect({ key, type }).toEqual({
          key,
          type: shape.length === 1 || key === 'position_embd.weight' ? 'f32' : 'f16',
        });
    });
    expect(warned).toEqual(codes);
  });

  test("Gemma has gains of 1 more; GPT-2's Conv1D lies as outputs by inputs", async () => {
    await exported('gemma', 'f32', ({ tensors }, model) => {
      const gains = numbers(model, 'model.layers.0.input_layernorm.weight').map((gain) => Math.fround(gain + 1));
      expect(Array.from(tensors.get('blk.0.attn_norm.weight')?.values ?? [])).toEqual(gains);
    });
    await exported('gpt2', 'f32', ({ tensors }, model) => {
      const { shape = [], values = [] } = tensors.get('blk.0.attn_qkv.weight') ?? {};
      expect(shape).toEqual([48, 16]);
      const ours = numbers(model, 'transformer.h.0.attn.c_attn.weight');
      expect(values[5 * 16 + 3]).toBe(ours[3 * 48 + 5]);
    });
  });

  test("GPT-NeoX's queries of all heads come first, then keys, then values; so do Falcon's of all groups", async () => {
    const rows = async (name: string, source: string): Promise<ReadonlyArray<number>> => {
      const order: number[] = [];
      await exported(name, 'f32', ({ tensors }, model) => {
        const ours = numbers(model, source);
        const { values = [] } = tensors.get('blk.1.attn_qkv.weight') ?? {};
        for (let row = 0; row < values.length / 16; row++)
          order.push(
            Array.from({ length: ours.length / 16 }, (_, i) => i).findIndex((i) => ours[i * 16] === values[row * 16]),
          );
      });
      return order;
    };
    const heads = (size: number, ...starts: ReadonlyArray<number>): ReadonlyArray<number> =>
      starts.flatMap((start) => Array.from({ length: size }, (_, i) => start * size + i));
    // Four heads of 4 rows: q k v q k v …
    expect(await rows('gpt_neox', 'gpt_neox.layers.1.attention.query_key_value.weight')).toEqual(
      heads(4, 0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11),
    );
    // Two groups: q q k v q q k v.
    expect(await rows('falcon_groups', 'transformer.h.1.self_attention.query_key_value.weight')).toEqual(
      heads(4, 0, 1, 4, 5, 2, 6, 3, 7),
    );
  });

  test('pairs of OLMo lie beside each other in the file, those of Helium and Cohere do in the checkpoint', async () => {
    const source = 'model.layers.0.self_attn.k_proj.weight';
    for (const [name, moved] of [
      ['olmo', true],
      ['granite', true],
      ['helium', false],
      ['cohere', false],
      ['olmo2', false],
    ] as const)
      await exported(name, 'f32', ({ tensors }, model) => {
        const ours = numbers(model, source);
        const there = ours.map((_, i) => (moved ? ours[origin(Math.floor(i / 16), 4) * 16 + (i % 16)] : ours[i]));
        expect({ name, values: Array.from(tensors.get('blk.0.attn_k.weight')?.values ?? []) }).toEqual({
          name,
          values: there,
        });
      });
  });

  test("Granite's factors, Cohere's, OLMo's limit and a parallel residual are told", async () => {
    for (const [name, told] of [
      [
        'granite',
        {
          'granite.attention.scale': 0.4,
          'granite.embedding_scale': 3,
          'granite.residual_scale': 0.7,
          'granite.logit_scale': 2.5,
        },
      ],
      ['cohere', { 'command-r.logit_scale': 0.4 }],
      ['olmo', { 'olmo.attention.clamp_kqv': 0.8 }],
      ['gpt_neox', { 'gptneox.rope.dimension_count': 2 }],
      ['stablelm', { 'stablelm.rope.dimension_count': 2 }],
    ] as const)
      await exported(name, 'f32', ({ metadata }) => {
        for (const [key, value] of Object.entries(told))
          expect({ key, value: metadata[key] }).toEqual({ key, value: expect.closeTo(value, 6) });
      });
    await exported('gpt_neox', 'f32', ({ metadata }) => expect(metadata['gptneox.use_parallel_residual']).toBe(true));
    await exported('stablelm', 'f32', ({ metadata }) => expect(metadata['stablelm.use_parallel_residual']).toBe(false));
  });

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

  test('models of whose layers every fourth sees all have their windows, in this pattern alone', async () => {
    const of = async (raw: object): Promise<unknown> =>
      inTemporary(async (directory) => {
        const model = modelOf({ ...raw, vocab_size: 40 }, 1);
        const file = join(directory, 'model.gguf');
        const result = await exportGguf(file, model, { tokenizer, outtype: 'f16' })();
        dispose(Object.values(model.weights));
        return result._tag === 'Left' ? result : readGguf(file).metadata;
      });
    const sliding = { sliding_window: 3, sliding_window_pattern: 4 };
    const cohere2 = { ...configs['cohere2'], ...sliding, num_hidden_layers: 4 };
    expect(await of(cohere2)).toMatchObject({ 'cohere2.attention.sliding_window': 3 });
    const exaone4 = { ...configs['exaone4'], ...sliding, num_hidden_layers: 64 };
    expect(await of(exaone4)).toMatchObject({ 'exaone4.attention.sliding_window': 3 });
    expect(await of({ ...configs['exaone4'], sliding_window: null })).not.toHaveProperty([
      'exaone4.attention.sliding_window',
    ]);
    expect(await of(configs['olmo3'] ?? {})).toMatchObject({
      'general.architecture': 'olmo2',
      'olmo2.attention.sliding_window': 3,
    });
    for (const [field, raw] of [
      ['layer_types', { ...cohere2, sliding_window_pattern: 2 }],
      ['head_dim', { ...cohere2, head_dim: 6 }],
      ['tie_word_embeddings', { ...cohere2, tie_word_embeddings: false }],
      ['layer_types', { ...exaone4, sliding_window_pattern: 2 }],
      ['sliding_window', { ...exaone4, num_hidden_layers: 4 }],
      [
        'layer_types',
        { ...configs['olmo3'], num_hidden_layers: 2, layer_types: ['full_attention', 'sliding_attention'] },
      ],
      [
        'rope_parameters.sliding_attention.rope_theta',
        { ...configs['olmo3'], rope_parameters: { full_attention: { rope_theta: 99 }, sliding_attention: {} } },
      ],
    ] as const)
      expect(await of(raw)).toMatchObject({ left: { code: 'E_GGUF_UNSUPPORTED', details: { field } } });
  });

  test('what llama.cpp takes for granted of others is refused where it is otherwise', async () => {
    for (const [name, field, change] of [
      ['cohere', 'use_qk_norm', { use_qk_norm: true }],
      ['ernie4_5', 'mlp_bias', { use_bias: true }],
      ['seed_oss', 'attention_bias', { attention_out_bias: true }],
      ['arcee', 'hidden_act', { hidden_act: 'relu' }],
      ['jais2', 'mlp_bias', { mlp_bias: false }],
      ['nemotron', 'head_dim', { head_dim: 8 }],
      ['mpt', 'attn_config.softmax_scale', { attn_config: { softmax_scale: 0.3 } }],
      ['gpt_bigcode', 'multi_query', { multi_query: false }],
      ['qwen2_5_vl', 'rope_scaling.mrope_section', {}],
    ] as const) {
      const model = modelOf({ ...configs[name], vocab_size: 40, ...change }, 1);
      const result = await exportGguf('/nowhere/model.gguf', model, { tokenizer })();
      expect(result).toMatchObject({ left: { code: 'E_GGUF_UNSUPPORTED', details: { field } } });
      dispose(Object.values(model.weights));
    }
  });

  test("Nemotron's gains are 1 more, its biases are not; gains of each head stay float32", async () => {
    await exportedAsMade(configs['nemotron'] ?? {}, ({ tensors }, model) => {
      const norm = (kind: string): ReadonlyArray<number> => numbers(model, `model.layers.1.input_layernorm.${kind}`);
      const there = (kind: string): ReadonlyArray<number> =>
        Array.from(tensors.get(`blk.1.attn_norm.${kind}`)?.values ?? []);
      expect(there('weight')).toEqual(norm('weight').map((gain) => Math.fround(gain + 1)));
      expect(there('bias')).toEqual(norm('bias'));
    });
    await inTemporary(async (directory) => {
      const raw = { ...configs['cohere_head_norms'], vocab_size: 40, num_hidden_layers: 64 };
      const model = modelOf(raw, 1);
      const file = join(directory, 'model.gguf');
      await orThrow(exportGguf(file, model, { tokenizer, outtype: 'f16' }));
      const { type, values } = readGguf(file).tensors.get('blk.63.attn_q_norm.weight') ?? {};
      expect(type).toBe('f32');
      expect(Array.from(values ?? [])).toEqual(numbers(model, 'model.layers.63.self_attn.q_norm.weight'));
      dispose(Object.values(model.weights));
    });
  });

  const expertTensors = async (
    model: CausalLM,
    block: string,
    maps: Readonly<Record<string, string>>,
    numExperts: number,
  ): Promise<GgufRead> =>
    inTemporary(async (directory) => {
      const file = join(directory, 'model.gguf');
      await orThrow(exportGguf(file, model, { tokenizer, outtype: 'f16', name: 'tiny' }));
      const read = readGguf(file);
      for (const layer of [0, 1])
        for (const [here, there] of Object.entries(maps)) {
          const names = Array.from(
            { length: numExperts },
            (_, e) => `model.layers.${layer}.${block}.experts.${e}.${here}.weight`,
          );
          const { shape, type, values } = read.tensors.get(`blk.${layer}.${there}.weight`) ?? {};
          expect({ there, shape, type }).toEqual({
            there,
            shape: [numExperts, ...(model.weights[names[0] ?? '']?.shape ?? [])],
            type: 'f16',
          });
          const ours = Float32Array.from(names.flatMap((name) => numbers(model, name)));
          const rounded = Array.from(float16ToFloat32(float32ToFloat16(ours)));
          expect(Array.from(values ?? [])).toEqual(rounded);
          const router = read.tensors.get(`blk.${layer}.ffn_gate_inp.weight`);
          expect(router?.type).toBe('f32');
          expect(Array.from(router?.values ?? [])).toEqual(
            numbers(model, `model.layers.${layer}.${block}.gate.weight`),
          );
        }
      dispose(Object.values(model.weights));
      return read;
    });
  const gated = { gate_proj: 'ffn_gate_exps', up_proj: 'ffn_up_exps', down_proj: 'ffn_down_exps' };

  test('experts of a layer lie one after the other in one tensor, and routers stay float32', async () => {
    const load = async (name: string): Promise<CausalLM> => (await orThrow(loadModel(join(models, name)))).model;
    const mixtral = await expertTensors(
      await load('mixtral'),
      'block_sparse_moe',
      { w1: 'ffn_gate_exps', w3: 'ffn_up_exps', w2: 'ffn_down_exps' },
      4,
    );
    expect(mixtral.metadata).toMatchObject({
      'general.architecture': 'llama',
      'llama.expert_count': 4,
      'llama.expert_used_count': 2,
      'llama.feed_forward_length': 24,
    });
    expect(mixtral.tensors.size).toBe(3 + 2 * 10);
    const qwen2 = await expertTensors(await load('qwen2_moe'), 'mlp', gated, 5);
    expect(qwen2.metadata).toMatchObject({
      'general.architecture': 'qwen2moe',
      'qwen2moe.expert_count': 5,
      'qwen2moe.expert_feed_forward_length': 12,
      'qwen2moe.expert_shared_feed_forward_length': 20,
    });
    expect(qwen2.tensors.get('blk.1.ffn_gate_inp_shexp.weight')).toMatchObject({ shape: [1, 16], type: 'f32' });
    expect(qwen2.tensors.get('blk.0.ffn_down_shexp.weight')?.shape).toEqual([16, 20]);
    const qwen3 = await expertTensors(await load('qwen3_moe'), 'mlp', gated, 6);
    expect(qwen3.metadata).toMatchObject({
      'general.architecture': 'qwen3moe',
      'qwen3moe.expert_used_count': 3,
      'qwen3moe.expert_feed_forward_length': 8,
    });
    const olmoe = { ...configs['olmoe'], vocab_size: 40, clip_qkv: null, num_key_value_heads: 2, num_hidden_layers: 2 };
    const { metadata, tensors } = await expertTensors(modelOf(olmoe, 1), 'mlp', gated, 3);
    expect(metadata).toMatchObject({ 'general.architecture': 'olmoe', 'olmoe.expert_count': 3 });
    expect(tensors.has('blk.1.attn_k_norm.weight')).toBe(true);
    expect(tensors.has('output.weight')).toBe(true);
  });

  test("gpt-oss's sinks and the biases of its experts stay float32, and where YaRN is cut is told", async () => {
    const warned = await exported('gpt_oss', 'f16', ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'gpt-oss',
        'gpt-oss.attention.sliding_window': 4,
        'gpt-oss.expert_count': 4,
        'gpt-oss.expert_feed_forward_length': 24,
      });
      const sinks = tensors.get('blk.1.attn_sinks.weight');
      expect(sinks).toMatchObject({ shape: [4], type: 'f32' });
      expect(Array.from(sinks?.values ?? [])).toEqual(numbers(model, 'model.layers.1.self_attn.sinks'));
      const biases = tensors.get('blk.0.ffn_gate_exps.bias');
      expect(biases).toMatchObject({ shape: [4, 24], type: 'f32' });
      expect(Array.from(biases?.values ?? []).slice(24, 48)).toEqual(
        numbers(model, 'model.layers.0.mlp.experts.1.gate_proj.bias'),
      );
    });
    expect(warned).toEqual(['W_GGUF_ROPE']);
  });

  test('what routers are corrected by, what they count by and where experts begin is told', async () => {
    await exported('glm4_moe', 'f32', ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({
        'glm4moe.expert_gating_func': 2,
        'glm4moe.expert_weights_norm': true,
        'glm4moe.expert_weights_scale': 1.5,
        'glm4moe.expert_shared_count': 1,
        'glm4moe.leading_dense_block_count': 1,
      });
      expect(Array.from(tensors.get('blk.1.exp_probs_b.bias')?.values ?? [])).toEqual(
        numbers(model, 'model.layers.1.mlp.gate.e_score_correction_bias'),
      );
    });
    await exported('ernie4_5_moe', 'f32', ({ tensors }, model) => {
      const { shape, values } = tensors.get('blk.1.exp_probs_b.bias') ?? {};
      expect(shape).toEqual([5]);
      expect(Array.from(values ?? [])).toEqual(
        numbers(model, 'model.layers.1.mlp.moe_statics.e_score_correction_bias'),
      );
    });
  });

  test('layers of LFM2 that convolve have no keys, and their convolutions are matrices of float32', async () => {
    await exported('lfm2', 'f16', ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({ 'lfm2.attention.head_count_kv': [0, 2, 0], 'lfm2.shortconv.l_cache': 3 });
      const convolution = tensors.get('blk.0.shortconv.conv.weight');
      expect(convolution).toMatchObject({ shape: [16, 3], type: 'f32' });
      expect(Array.from(convolution?.values ?? [])).toEqual(numbers(model, 'model.layers.0.conv.conv.weight'));
    });
  });

  test('Ministral 3 is told how its queries grow, and is refused without YaRN', async () => {
    await exportedAsMade(configs['ministral3'] ?? {}, ({ metadata }) =>
      expect(metadata).toMatchObject({
        'general.architecture': 'mistral3',
        'mistral3.attention.temperature_scale': expect.closeTo(0.4, 6),
        'mistral3.rope.scaling.type': 'yarn',
        'mistral3.rope.scaling.factor': 4,
        'mistral3.rope.scaling.original_context_length': 3,
      }),
    );
    const plain = { ...configs['ministral3'], rope_parameters: { rope_type: 'default' } };
    expect(await refusedAsMade(plain)).toMatchObject({ left: { details: { field: 'rope_scaling' } } });
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

  test("Phi-3's LongRoPE goes as two tensors of factors", async () => {
    const warned = await exported('phi3', 'f32', ({ metadata, tensors }) => {
      expect(Array.from(tensors.get('rope_factors_long.weight')?.values ?? [])).toEqual([2, 6]);
      expect(Array.from(tensors.get('rope_factors_short.weight')?.values ?? [])).toEqual([1, 1.5]);
      expect(metadata).toMatchObject({
        'phi3.rope.scaling.original_context_length': 12,
        'phi3.rope.scaling.attn_factor': expect.closeTo(Math.sqrt(1 + Math.log(32 / 12) / Math.log(12)), 6),
        'phi3.attention.sliding_window': 0,
      });
    });
    expect(warned).toEqual(['W_GGUF_ROPE']);
  });

  test("Llama 3's rotary scaling goes as a factor a frequency, YaRN's as metadata", async () => {
    await exported('llama_llama3', 'f32', ({ tensors }) => {
      const factors = Array.from(tensors.get('rope_freqs.weight')?.values ?? []);
      expect(factors).toHaveLength(4);
      expect(factors).toEqual(factors.toSorted((a, b) => a - b));
      expect(factors[0]).toBeGreaterThanOrEqual(1);
      expect(factors[3]).toBeCloseTo(8, 5);
    });
    await exported('llama_yarn', 'f32', ({ metadata }) => {
      expect(metadata).toMatchObject({
        'llama.rope.scaling.type': 'yarn',
        'llama.rope.scaling.factor': 4,
        'llama.rope.scaling.original_context_length': 12,
      });
    });
    await exported('llama_linear', 'f32', ({ metadata }) => {
      expect(metadata).toMatchObject({ 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 4 });
    });
  });

  test('q8_0: long rows in blocks, off by half a step at most; short ones float16', () =>
    exported('llama_llama3', 'q8_0', ({ metadata, tensors }, model) => {
      expect(metadata).toMatchObject({ 'general.file_type': 7, 'general.quantization_version': 2 });
      expect(tensors.get('blk.0.ffn_down.weight')?.type).toBe('f16');
      const { type, values = [] } = tensors.get('output.weight') ?? {};
      expect(type).toBe('q8_0');
      const ours = numbers(model, 'lm_head.weight');
      ours.forEach((value, i) => {
        const block = ours.slice(i - (i % 32), i - (i % 32) + 32).map(Math.abs);
        expect(Math.abs(value - (values[i] ?? NaN))).toBeLessThan(0.51 * (Math.max(...block) / 127) + 127 * 2 ** -18);
      });
    }));
});

describe('refused, and no file is left:', () => {
  test.each([
    ['opt', 'model_type'],
    ['gpt_neo', 'model_type'],
    ['gpt2_by_layer', 'scale_attn_by_inverse_layer_idx'],
    ['gpt2_unscaled', 'activation_function'],
    ['phi_headnorm', 'qk_layernorm'],
    ['gemma3', 'layer_types'],
    ['smollm3', 'no_rope_layers'],
    ['gptj', 'model_type'],
    ['olmoe', 'clip_qkv'],
    ['gpt_oss_balanced', 'attention_bias'],
    ['dots1', 'num_key_value_heads'],
    ['lfm2_biased', 'conv_bias'],
    ['qwen3_5_text', 'attention_bias'],
    ['qwen3_next', 'mlp_only_layers'],
    ['qwen3_5_moe_text', 'linear_value_head_dim'],
    ['minicpm3', 'scale_emb'],
    ['gptj', 'model_type'],
    ['falcon_alibi', 'bias'],
    ['gpt_neox_in_turn', 'attention_bias'],
    ['falcon_in_turn', 'bias'],
    ['stablelm_parallel', 'qk_layernorm'],
  ])('%s for its %s', (name, field) =>
    inTemporary(async (directory) => {
      const { model } = await orThrow(loadModel(join(models, name)));
      const file = join(directory, 'model.gguf');
      expect(await exportGguf(file, model, { tokenizer })()).toMatchObject({
        left: { code: 'E_GGUF_UNSUPPORTED', details: { field } },
      });
      expect(existsSync(file)).toBe(false);
      dispose(Object.values(model.weights));
    }),
  );

  test.each([
    ['olmoe', 'num_key_value_heads', { clip_qkv: null }],
    ['olmoe', 'norm_topk_prob', { clip_qkv: null, norm_topk_prob: true }],
    ['qwen2_moe', 'mlp_only_layers', {}],
    ['qwen2_moe', 'norm_topk_prob', { norm_topk_prob: true, mlp_only_layers: [] }],
    ['qwen3_moe', 'norm_topk_prob', { norm_topk_prob: false }],
  ])('a mixture, %s, for its %s', async (name, field, change) => {
    const model = modelOf({ ...configs[name], vocab_size: 40, ...change }, 1);
    expect(await exportGguf('/nowhere/model.gguf', model, { tokenizer })()).toMatchObject({
      left: { code: 'E_GGUF_UNSUPPORTED', details: { field } },
    });
    dispose(Object.values(model.weights));
  });

  test('a model whose adapter is not merged', () =>
    inTemporary(async (directory) => {
      const base = (await orThrow(loadModel(join(models, 'llama')))).model;
      const model = made(attachLora(base, made(LoraConfig.decode({})), { seed: 1 }));
      const result = await exportGguf(join(directory, 'model.gguf'), model, { tokenizer })();
      expect(result).toMatchObject({ left: { code: 'E_LORA_PRESENT', kind: 'usage' } });
      dispose(Object.values(model.weights));
    }));
});

test('rxtune export', () =>
  inTemporary(async (directory) => {
    built();
    const file = join(directory, 'base.gguf');
    const base = ['--model', 'examples/quickstart/base', '--out', file];
    expect(await rxtune('export', ...base, '--outtype', 'q8_0')).toMatchObject({ code: 0, out: '' });
    const { metadata, tensors } = readGguf(file);
    expect(metadata).toMatchObject({ 'general.name': 'base', 'tokenizer.ggml.eos_token_id': 2 });
    expect(tensors.get('token_embd.weight')).toMatchObject({ shape: [512, 64], type: 'q8_0' });
    expect(await rxtune('export', ...base, '--outtype', 'bf16')).toMatchObject({ code: 0 });
    const halved = readGguf(file);
    expect(halved.metadata['general.file_type']).toBe(32);
    const { type, values } = halved.tensors.get('token_embd.weight') ?? {};
    expect(type).toBe('bf16');
    const whole = tensors.get('token_embd.weight')?.values ?? [];
    expect(values?.every((value, i) => Math.abs(value - (whole[i] ?? NaN)) < 0.05)).toBe(true);
    const adapter = join(directory, 'adapter');
    const dataset = ['--train-dataset', 'examples/quickstart/train.jsonl', '--max-length', '256', '--max-steps', '1'];
    const run = ['--model', 'examples/quickstart/base', ...dataset, '--lora-r', '2', '--output-dir', adapter];
    expect(await rxtune('sft', ...run)).toMatchObject({ code: 0 });
    const exportAdapter = ['export', ...base, '--adapter', adapter, '--format', 'gguf-lora'];
    expect(await rxtune(...exportAdapter)).toMatchObject({ code: 0 });
    expect(readGguf(file)).toMatchObject({ metadata: { 'general.name': 'adapter', 'general.type': 'adapter' } });
    const none = await rxtune('export', ...base, '--format', 'gguf-lora');
    expect(none.code).toBe(2);
    expect(none.err).toContain('--adapter');
  }));
