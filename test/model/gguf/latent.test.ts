/** Models of latent attention as GGUF. What llama.cpp makes of them: reference/check_gguf.mjs. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import { configs, modelOf } from '../../../property-tests/arbitraries/models.js';
import { attachLora } from '../../../src/model/adapters/adapter.js';
import { LoraConfig } from '../../../src/model/adapters/lora.js';
import { modelConfig } from '../../../src/model/architectures.js';
import { ggufLayout } from '../../../src/model/gguf/layouts.js';
import { exportGgufAdapter } from '../../../src/train/saving/exportGgufAdapter.js';
import { startUnderTest } from '../../engine.js';
import { exported, exportedAsMade, numbers, refusedAsMade, there } from '../../train/exportedGguf.js';
import { orThrow as made } from '../loadModel.js';

beforeAll(async () => {
  await startUnderTest();
});

/** Sizes of the golden models: 4 heads, of keys of 6 entries that stay and 4 that turn, and values of 5; latents of 6. */
const [heads, nope, rope, value, rank] = [4, 6, 4, 5, 6];

const range = (length: number): ReadonlyArray<number> => Array.from({ length }, (_, i) => i);

/** Entry i of what turns, where pairs lie beside each other, of two halves. */
const halfOf = (i: number): number => Math.floor(i / 2) + ((i % 2) * rope) / 2;

describe('the file of a model of latent attention', () => {
  test('has what makes keys turned, and what makes values as it is, of each head', () =>
    exported('deepseek_v3', 'f32', (read, model) => {
      const source = numbers(model, 'model.layers.2.self_attn.kv_b_proj.weight');
      const from = (head: number, row: number, column: number): number =>
        source[(head * (nope + value) + row) * rank + column] ?? NaN;
      expect(read.tensors.get('blk.2.attn_k_b.weight')?.shape).toEqual([heads, rank, nope]);
      expect(there(read, 'blk.2.attn_k_b.weight')).toEqual(
        range(heads).flatMap((h) => range(rank).flatMap((c) => range(nope).map((r) => from(h, r, c)))),
      );
      expect(read.tensors.get('blk.2.attn_v_b.weight')?.shape).toEqual([heads, value, rank]);
      expect(there(read, 'blk.2.attn_v_b.weight')).toEqual(
        range(heads).flatMap((h) => range(value).flatMap((r) => range(rank).map((c) => from(h, nope + r, c)))),
      );
      for (const [name, module] of [
        ['attn_q_a', 'q_a_proj'],
        ['attn_q_a_norm', 'q_a_layernorm'],
        ['attn_q_b', 'q_b_proj'],
        ['attn_kv_a_mqa', 'kv_a_proj_with_mqa'],
        ['attn_kv_a_norm', 'kv_a_layernorm'],
        ['attn_output', 'o_proj'],
      ] as const)
        expect({ name, values: there(read, `blk.2.${name}.weight`) }).toEqual({
          name,
          values: numbers(model, `model.layers.2.self_attn.${module}.weight`),
        });
      expect(read.metadata).toMatchObject({
        'general.architecture': 'deepseek2',
        'deepseek2.attention.head_count': heads,
        'deepseek2.attention.head_count_kv': 1,
        'deepseek2.attention.q_lora_rank': 8,
        'deepseek2.attention.kv_lora_rank': rank,
        'deepseek2.attention.key_length': rank + rope,
        'deepseek2.attention.value_length': rank,
        'deepseek2.attention.key_length_mla': nope + rope,
        'deepseek2.attention.value_length_mla': value,
        'deepseek2.rope.dimension_count': rope,
        'deepseek2.leading_dense_block_count': 1,
        'deepseek2.expert_count': 8,
        'deepseek2.expert_used_count': 3,
        'deepseek2.expert_group_count': 4,
        'deepseek2.expert_group_used_count': 2,
        'deepseek2.expert_shared_count': 1,
        'deepseek2.expert_gating_func': 2,
        'deepseek2.expert_weights_norm': true,
        'deepseek2.expert_weights_scale': 2.5,
        'deepseek2.rope.scaling.type': 'yarn',
        'deepseek2.rope.scaling.attn_factor': 1,
        'deepseek2.rope.scaling.yarn_log_multiplier': expect.closeTo(0.1, 6),
      });
      expect(there(read, 'blk.1.exp_probs_b.bias')).toEqual(
        numbers(model, 'model.layers.1.mlp.gate.e_score_correction_bias'),
      );
    }));

  test('has pairs beside each other, of models whose halves turn', () =>
    exported('deepseek_v3_flat', 'f32', (read, model) => {
      const rows = (name: string, order: ReadonlyArray<number>): ReadonlyArray<number> => {
        const ours = numbers(model, `model.layers.1.self_attn.${name}.weight`);
        return order.flatMap((row) => ours.slice(row * 16, (row + 1) * 16));
      };
      const width = nope + rope;
      const head = [...range(nope), ...range(rope).map((i) => nope + halfOf(i))];
      expect(there(read, 'blk.1.attn_q.weight')).toEqual(
        rows(
          'q_proj',
          range(heads).flatMap((h) => head.map((row) => h * width + row)),
        ),
      );
      expect(there(read, 'blk.1.attn_kv_a_mqa.weight')).toEqual(
        rows('kv_a_proj_with_mqa', [...range(rank), ...range(rope).map((i) => rank + halfOf(i))]),
      );
      expect(read.metadata['deepseek2.attention.q_lora_rank']).toBe(0);
    }));

  test('has latents that are larger by as much as the epsilon of their norms is there', () =>
    exportedAsMade({ ...configs['deepseek_v3'], rms_norm_eps: 1e-4 }, (read, model) => {
      const { hiddenSize } = model.config;
      const kvRank = Number(read.metadata['deepseek2.attention.kv_lora_rank']);
      const down = numbers(model, 'model.layers.0.self_attn.kv_a_proj_with_mqa.weight');
      expect(there(read, 'blk.0.attn_kv_a_mqa.weight')).toEqual(
        down.map((x, i): unknown => expect.closeTo(i < kvRank * hiddenSize ? 10 * x : x, 5)),
      );
      expect(there(read, 'blk.0.attn_q_a.weight')).toEqual(
        numbers(model, 'model.layers.0.self_attn.q_a_proj.weight').map((x): unknown => expect.closeTo(10 * x, 5)),
      );
      expect(there(read, 'blk.0.attn_q_b.weight')).toEqual(numbers(model, 'model.layers.0.self_attn.q_b_proj.weight'));
    }));

  test('tells what scores are multiplied by, that of a part of the logarithm too', async () => {
    await exported('deepseek_v2', 'f32', ({ metadata }) =>
      expect(metadata).toMatchObject({
        'deepseek2.expert_gating_func': 1,
        'deepseek2.expert_weights_norm': false,
        'deepseek2.rope.scaling.attn_factor': 1,
        'deepseek2.rope.scaling.yarn_log_multiplier': expect.closeTo(0.0707, 6),
      }),
    );
    // Neither scores nor what turns grow: there both would.
    const yarn = { rope_type: 'yarn', factor: 4, attention_factor: 1, original_max_position_embeddings: 6 };
    await exportedAsMade({ ...configs['deepseek_v3'], rope_scaling: yarn }, ({ metadata }) => {
      expect(metadata['deepseek2.rope.scaling.attn_factor']).toBeCloseTo(1 / (1 + 0.1 * Math.log(4)), 6);
      expect(metadata).not.toHaveProperty(['deepseek2.rope.scaling.yarn_log_multiplier']);
    });
    await exported('mistral4', 'f32', ({ metadata }) =>
      expect(metadata).toMatchObject({
        'general.architecture': 'mistral4',
        'mistral4.attention.temperature_scale': expect.closeTo(0.4, 6),
        'mistral4.attention.temperature_length': 3,
      }),
    );
    await exported('youtu', 'f32', ({ metadata, tensors }) => {
      expect(metadata).toMatchObject({
        'general.architecture': 'deepseek2',
        'deepseek2.leading_dense_block_count': 2,
        'deepseek2.expert_shared_count': 0,
        'deepseek2.expert_feed_forward_length': 24,
      });
      expect(tensors.has('output.weight')).toBe(false);
    });
  });

  const grouped = { n_routed_experts: 4, num_experts_per_tok: 2, n_group: 2, topk_group: 1 };
  test.each([
    ['topk_method', 'deepseek_v2', { ...grouped, topk_method: 'group_limited_greedy' }],
    ['attention_bias', 'deepseek_v3', { attention_bias: true }],
    ['q_lora_rank', 'deepseek_v3', { num_hidden_layers: 27 }],
    [
      'rope_scaling.mscale',
      'deepseek_v3',
      { rope_scaling: { rope_type: 'yarn', factor: 4, mscale: 1, original_max_position_embeddings: 6 } },
    ],
    ['mlp_only_layers', 'glm4_moe_lite', { mlp_layer_types: ['sparse', 'dense'] }],
  ])('is refused for %s', async (field, name, change) => {
    expect(await refusedAsMade({ ...configs[name], ...change })).toMatchObject({
      left: { code: 'E_GGUF_UNSUPPORTED', details: { field } },
    });
  });

  test('is not refused for as many layers where queries come of the input', () => {
    const raw = { ...configs['deepseek_v3'], num_hidden_layers: 27, q_lora_rank: null, vocab_size: 40 };
    expect(ggufLayout(made(modelConfig(raw)), {})).toMatchObject({ right: { architecture: 'deepseek2' } });
  });
});

test.each(['q_a_proj', 'q_b_proj', 'kv_a_proj_with_mqa', 'kv_b_proj', 'lm_head'])(
  'an adapter of %s is refused: llama.cpp adds none to it',
  async (module) => {
    const model = modelOf({ ...configs['deepseek_v3'], vocab_size: 40, tie_word_embeddings: false }, 1);
    const lora = made(LoraConfig.decode({ targetModules: [module, 'o_proj'], initLoraWeights: false }));
    const adapted = made(attachLora(model, lora, { seed: 1 }));
    expect(await exportGgufAdapter('/nowhere/adapter.gguf', adapted)()).toMatchObject({
      left: { code: 'E_GGUF_UNSUPPORTED', details: { field: expect.stringMatching(new RegExp(`${module}$`)) } },
    });
    dispose(Object.values(adapted.weights));
  },
);
