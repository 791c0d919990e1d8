/** Models as GGUF files, read back by a reader of the tests' own. What llama.cpp makes of them: reference/check_gguf.mjs. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import { configs, modelOf } from '../../property-tests/arbitraries/models.js';
import { orThrow } from '../../src/errors.js';
import { float16ToFloat32, float32ToFloat16 } from '../../src/formats/tensors/float16.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import type { CausalLM } from '../../src/model/model.js';
import { dequantizeModel } from '../../src/model/quantize/base.js';
import { loadModel } from '../../src/train/loading/load.js';
import { exportGguf } from '../../src/train/saving/exportGguf.js';
import { built, inTemporary, rxtune } from '../cli/rxtune.js';
import { startUnderTest } from '../engine.js';
import { readGguf } from '../formats/ggufReader.js';
import type { GgufRead } from '../formats/ggufReader.js';
import { orThrow as made } from '../model/loadModel.js';
import { exported, exportedAsMade, numbers, origin, refusedAsMade } from './exportedGguf.js';
import { letters as tokenizer } from './letters.js';

const models = resolve(import.meta.dirname, '..', 'golden', 'models');
beforeAll(async () => {
  await startUnderTest();
});

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
