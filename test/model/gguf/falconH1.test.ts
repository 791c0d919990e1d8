/** Falcon-H1 and Bamba as GGUF. What llama.cpp makes of them: reference/check_gguf.mjs. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { configs } from '../../../property-tests/arbitraries/models.js';
import { startUnderTest } from '../../engine.js';
import { exported, exportedAsMade, numbers, refusedAsMade, there } from '../../train/exportedGguf.js';

beforeAll(async () => {
  await startUnderTest();
});

/** As far from each other as float32 makes products in another order. */
const close = (values: ReadonlyArray<number>) => values.map((value): unknown => expect.closeTo(value, 6));

describe('the file of Falcon-H1', () => {
  test('has its factors multiplied into its weights', () =>
    exported('falcon_h1', 'f32', (read, model) => {
      const layer = 'model.layers.1';
      for (const [name, source, factor] of [
        ['token_embd.weight', 'model.embed_tokens.weight', 2],
        ['output.weight', 'lm_head.weight', 0.5],
        ['blk.1.attn_q.weight', `${layer}.self_attn.q_proj.weight`, 0.9],
        ['blk.1.attn_k.weight', `${layer}.self_attn.k_proj.weight`, 0.9 * 0.6],
        ['blk.1.attn_v.weight', `${layer}.self_attn.v_proj.weight`, 0.9],
        ['blk.1.attn_output.weight', `${layer}.self_attn.o_proj.weight`, 0.8],
        ['blk.1.ssm_out.weight', `${layer}.mamba.out_proj.weight`, 0.7],
        ['blk.1.ffn_gate.weight', `${layer}.feed_forward.gate_proj.weight`, 0.8],
        ['blk.1.ffn_up.weight', `${layer}.feed_forward.up_proj.weight`, 1],
        ['blk.1.ffn_down.weight', `${layer}.feed_forward.down_proj.weight`, 1.3],
        // This norm alone has no ending there.
        ['blk.1.ffn_norm', `${layer}.pre_ff_layernorm.weight`, 1],
        ['blk.1.attn_norm.weight', `${layer}.input_layernorm.weight`, 1],
        ['output_norm.weight', 'model.final_layernorm.weight', 1],
        ['blk.1.ssm_dt.bias', `${layer}.mamba.dt_bias`, 1],
      ] as const)
        expect({ name, values: there(read, name) }).toEqual({
          name,
          values: close(numbers(model, source).map((value) => value * factor)),
        });
      // z and x of 24 rows, B and C of two groups of 6, dt of 4 heads.
      const rows = [24, 24, 12, 12, 4].flatMap((size, part) =>
        Array<number>(size).fill(1.2 * ([0.5, 0.7, 1.2, 0.8, 1.5][part] ?? NaN)),
      );
      expect(there(read, 'blk.1.ssm_in.weight')).toEqual(
        close(
          numbers(model, `${layer}.mamba.in_proj.weight`).map((value, i) => value * (rows[Math.floor(i / 16)] ?? NaN)),
        ),
      );
      expect(read.metadata).toMatchObject({
        'general.architecture': 'falcon-h1',
        'falcon-h1.ssm.group_count': 2,
        'falcon-h1.ssm.inner_size': 24,
        'falcon-h1.attention.head_count_kv': 2,
        'falcon-h1.feed_forward_length': 24,
      });
      expect(read.tensors.has('blk.1.ssm_norm.weight')).toBe(false);
    }));

  test('has norms of each group, and a head of its own where it is the embedding', () =>
    exported('falcon_h1_normed', 'f32', (read, model) => {
      expect(read.tensors.get('blk.0.ssm_norm.weight')?.shape).toEqual([2, 12]);
      expect(there(read, 'blk.0.ssm_norm.weight')).toEqual(numbers(model, 'model.layers.0.mamba.norm.weight'));
      expect(there(read, 'output.weight')).toEqual(numbers(model, 'model.embed_tokens.weight'));
      // No factor changes a number.
      expect(there(read, 'blk.0.ssm_in.weight')).toEqual(numbers(model, 'model.layers.0.mamba.in_proj.weight'));
    }));

  test.each([
    ['mamba_norm_before_gate', {}],
    ['mlp_bias', { mamba_rms_norm: false, mlp_bias: true }],
    ['attention_bias', { mamba_rms_norm: false, attention_bias: true }],
    ['mamba_proj_bias', { mamba_rms_norm: false, projectors_bias: true }],
    ['time_step_limit', { mamba_rms_norm: false, time_step_limit: [0.1, 1] }],
  ])('is refused for %s', async (field, change) => {
    expect(await refusedAsMade({ ...configs['falcon_h1'], ...change })).toMatchObject({
      left: { code: 'E_GGUF_UNSUPPORTED', details: { field } },
    });
  });
});

describe('the file of Bamba', () => {
  const raw = { ...configs['bamba'], hidden_size: 16 };

  test("is Granite 4's, with factors of 1 and the half of each head that turns in pairs", () =>
    exportedAsMade(raw, (read, model) => {
      const heads = Number(read.metadata['granitehybrid.attention.head_count']);
      const width = 16 / heads;
      const turns = width / 2;
      expect(read.metadata).toMatchObject({
        'general.architecture': 'granitehybrid',
        'granitehybrid.rope.dimension_count': turns,
        'granitehybrid.rope.scaling.finetuned': true,
        'granitehybrid.attention.head_count_kv': [0, expect.any(Number)],
        'granitehybrid.embedding_scale': 1,
        'granitehybrid.residual_scale': 1,
        'granitehybrid.logit_scale': 1,
      });
      const ours = numbers(model, 'model.layers.1.self_attn.q_proj.weight');
      const origin = (row: number): number => {
        const within = row % width;
        return within < turns ? row - within + Math.floor(within / 2) + ((within % 2) * turns) / 2 : row;
      };
      expect(turns).toBeGreaterThan(2);
      expect(there(read, 'blk.1.attn_q.weight')).toEqual(
        ours.map((_, i) => ours[origin(Math.floor(i / 16)) * 16 + (i % 16)]),
      );
      expect(there(read, 'blk.0.ffn_up.weight')).toEqual(numbers(model, 'model.layers.0.feed_forward.up_proj.weight'));
    }));

  test.each([
    ['mamba_n_groups', { mamba_n_groups: 2 }],
    ['mamba_expand', { mamba_expand: 3 }],
  ])('is refused for %s', async (field, change) => {
    expect(await refusedAsMade({ ...raw, ...change })).toMatchObject({
      left: { code: 'E_GGUF_UNSUPPORTED', details: { field } },
    });
  });
});
