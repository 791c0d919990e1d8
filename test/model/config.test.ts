import { describe, expect, it } from '@jest/globals';
import { tensor } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../src/errors.js';
import { render } from '../../src/errors.js';
import type { StoredTensor } from '../../src/formats/tensors/storedTensor.js';
import {
  architectureOf,
  expectedTensors,
  knownModelTypes,
  matchTensors,
  modelConfig,
  registerArchitecture,
} from '../../src/model/architectures.js';
import { configWarnings } from '../../src/model/config.js';
import { llama } from '../../src/model/architectures/llama.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { mergeAndUnload } from '../../src/model/adapters/merge.js';
import { makeCausalLm, training } from '../../src/model/model.js';
import type { Gemma4Config } from '../../src/model/architectures/gemma4Config.js';
import { makeRaw } from './rawConfigs.js';
import { orThrow } from './loadModel.js';

const failure = (result: E.Either<FatalError, unknown>): FatalError => {
  if (E.isRight(result)) throw new Error('expected a refusal');
  return result.left;
};

describe('config.json', () => {
  it('of an unknown architecture is refused with those of like names, and where all are told', () => {
    const error = failure(modelConfig({ model_type: 'qwen4', hidden_size: 4 }));
    expect(error.code).toBe('E_UNKNOWN_ARCHITECTURE');
    expect(error.details).toEqual({
      field: 'model_type',
      expected: 'a model type; docs/models.md lists all',
      actual: 'qwen4',
      hint: 'near it are qwen2, qwen3, qwen3_5; registerArchitecture adds one of your own',
    });
    const other = failure(modelConfig({ model_type: 'no_such_thing', hidden_size: 4 }));
    expect(other.details.hint).toBe('registerArchitecture adds one of your own');
  });

  it('of the families that all know is known', () => {
    for (const type of [
      'llama',
      'mistral',
      'qwen2',
      'qwen3',
      'gpt2',
      'opt',
      'gpt_neo',
      'gemma',
      'phi',
      'gemma2',
      'gemma3_text',
      'smollm3',
      'phi3',
      'olmo',
      'olmo2',
      'olmo3',
      'granite',
      'helium',
      'cohere',
      'starcoder2',
      'stablelm',
      'gpt_neox',
      'falcon',
      'gptj',
    ])
      expect(knownModelTypes()).toContain(type);
  });

  it.each([
    ['hidden_size', undefined, 'lacks'],
    ['hidden_size', '64', 'a whole number > 0'],
    ['num_hidden_layers', -1, 'a whole number from 1 to 4096'],
    // A list of so many layers would fill the memory before anything else is looked at.
    ['num_hidden_layers', 4294967296, 'a whole number from 1 to 4096'],
    ['num_hidden_layers', 1e9, 'a whole number from 1 to 4096'],
    ['num_key_value_heads', 2.5, 'a whole number > 0'],
    ['hidden_act', 'tanhshrink', 'one of gelu'],
    ['rms_norm_eps', 0, 'a number > 0'],
    ['tie_word_embeddings', 'yes', 'boolean'],
    ['eos_token_id', 'x', '"x"'],
    ['num_attention_heads', 3, 'a divisor of hidden_size 8'],
    ['num_key_value_heads', 3, 'a divisor of num_attention_heads'],
  ])('with %s = %p says so', (field, value, text) => {
    const error = failure(modelConfig({ ...makeRaw('llama'), [field]: value }));
    expect(error.code).toBe('E_MODEL_CONFIG');
    expect(error.details.field).toBe(field);
    expect(render(error)).toContain(text);
  });

  it.each(knownModelTypes())('of %s with more layers than any model has is refused', (type) => {
    // A list of so many would be too long to make, or fill the memory.
    const many = (raw: object): object =>
      Object.fromEntries(
        Object.entries(raw).map(([name, value]: [string, unknown]) => {
          if (/^(?:num_hidden_layers|num_layers|n_layers?)$/.test(name)) return [name, 1e10];
          return [name, name === 'text_config' ? many(value as object) : value];
        }),
      );
    expect(failure(modelConfig(many(makeRaw(type)))).details).toMatchObject({ actual: '10000000000' });
  });

  it('of Gemma 3n says beyond which length its keys turn otherwise', () => {
    const raw = makeRaw('gemma3n_text');
    expect(architectureOf(orThrow(modelConfig(raw))).turnsOtherwiseBeyond).toBeUndefined();
    const factors = (length: number): ReadonlyArray<number> => Array.from({ length }, () => 2);
    const limits = [1, 2, 4, 8, 16, 32].flatMap((half) => {
      const scaled = { short_factor: factors(half), long_factor: factors(half), original_max_position_embeddings: 5 };
      const full_attention = { rope_type: 'longrope', rope_theta: 10_000, ...scaled };
      const config = modelConfig({ ...raw, rope_parameters: { full_attention } });
      return E.isRight(config) ? [architectureOf(config.right).turnsOtherwiseBeyond] : [];
    });
    expect(limits).toEqual([5]);
  });

  it('that is no object is refused', () => {
    expect(failure(modelConfig([1])).code).toBe('E_MODEL_CONFIG');
    expect(failure(modelConfig(null)).code).toBe('E_MODEL_CONFIG');
    expect(failure(modelConfig({})).details.field).toBe('model_type');
  });

  it('names a nested field by its path', () => {
    const error = failure(modelConfig({ ...makeRaw('llama'), rope_scaling: { rope_type: 'linear', factor: 'two' } }));
    expect(error.details.field).toBe('rope_scaling.factor');
  });

  it.each([
    [{ rope_type: 'ropey' }, 'rope_scaling.rope_type'],
    [{ rope_type: 'longrope' }, 'rope_scaling.short_factor'],
    [{ rope_type: 'longrope', short_factor: [1, 2], long_factor: [1] }, 'rope_scaling.long_factor'],
    [{ rope_type: 'longrope', short_factor: [1, 2], long_factor: [1, 0] }, 'rope_scaling.long_factor.1'],
    [{ rope_type: 'linear' }, 'rope_scaling.factor'],
    [{ type: 'llama3', factor: 2 }, 'rope_scaling.low_freq_factor'],
    [{ type: 'llama3', factor: 2, low_freq_factor: 1 }, 'rope_scaling.high_freq_factor'],
  ])('with rope_scaling %j is refused', (scaling, field) => {
    const error = failure(modelConfig({ ...makeRaw('llama'), rope_scaling: scaling }));
    expect(error.code).toBe('E_MODEL_CONFIG');
    expect(error.details.field).toBe(field);
  });

  it('of Mistral that says nothing of a window means 4096, null none', () => {
    const { sliding_window: _, ...silent } = makeRaw('mistral');
    expect(orThrow(modelConfig(silent))).toMatchObject({ windows: [4096, 4096] });
    expect(orThrow(modelConfig({ ...silent, sliding_window: null }))).toMatchObject({ windows: [0, 0] });
  });

  it('of Qwen2-MoE has biases of queries, keys and values as its own field says, and no other', () => {
    const { qkv_bias: _, ...silent } = makeRaw('qwen2_moe');
    const biased = (change: object): ReadonlyArray<string> => [
      ...new Set(
        expectedTensors(orThrow(modelConfig({ ...silent, ...change }))).flatMap(
          ({ name }) => /\w+(?=\.bias$)/.exec(name)?.[0] ?? [],
        ),
      ),
    ];
    for (const attention_bias of [true, false]) {
      expect(biased({ attention_bias })).toEqual(['q_proj', 'k_proj', 'v_proj']);
      expect(biased({ attention_bias, qkv_bias: false })).toEqual([]);
      expect(biased({ attention_bias, qkv_bias: null })).toEqual([]);
    }
    expect(failure(modelConfig({ ...silent, qkv_bias: 0 })).details.field).toBe('qkv_bias');
  });

  it('of Granite 4 without experts may say that a token goes to none', () => {
    const dense = { ...makeRaw('granitemoehybrid'), num_local_experts: 0, num_experts_per_tok: 0 };
    expect(orThrow(modelConfig(dense)).experts).toBeUndefined();
  });

  it('of a mixture may weigh the load-balancing loss as heavily as it likes', () => {
    const asked = { ...makeRaw('mixtral'), output_router_logits: true };
    expect(orThrow(modelConfig({ ...asked, router_aux_loss_coef: 1.5 })).experts?.auxLossCoef).toBe(1.5);
    expect(failure(modelConfig({ ...asked, router_aux_loss_coef: -1 })).details.field).toBe('router_aux_loss_coef');
  });

  it.each([
    ['llama', 'partial_rotary_factor', 0.5],
    ['gemma', 'use_bidirectional_attention', true],
    ['gpt_oss', 'sliding_window', null],
    ['gpt_oss', 'swiglu_limit', 6],
    ['gpt_oss', 'hidden_act', 'gelu'],
    ['bloom', 'apply_residual_connection_post_layernorm', true],
    ['bloom', 'n_head', 5],
    ['gemma2', 'sliding_window', null],
    ['gemma2', 'attn_logit_softcapping', 0],
    ['gemma2', 'final_logit_softcapping', -30],
    ['gemma2', 'use_bidirectional_attention', true],
    ['gemma3_text', 'attn_logit_softcapping', 50],
    ['gemma3_text', 'final_logit_softcapping', 30],
    ['gemma3_text', 'sliding_window', null],
    ['gemma3_text', 'rope_parameters', { rope_type: 'default' }],
    ['gemma3_text', 'rope_parameters', { sliding_attention: { partial_rotary_factor: 0.5 } }],
    ['smollm3', 'no_rope_layers', [1]],
    ['qwen2', 'layer_types', ['full_attention']],
    ['opt', 'layerdrop', 0.1],
    ['gpt2', 'add_cross_attention', true],
    ['gpt2', 'n_head', 3],
    ['gpt_neo', 'num_heads', 3],
    ['phi3', 'rope_scaling', { type: 'linear', factor: 2 }],
    ['phi3', 'attention_bias', true],
    ['phi3', 'embd_pdrop', 0.1],
    ['phi3', 'lm_head_bias', true],
    ['olmo', 'mlp_bias', true],
    ['olmo', 'clip_qkv', 0],
    ['olmo2', 'clip_qkv', 8],
    ['olmo3', 'rope_parameters', { rope_type: 'default' }],
    ['olmo3', 'rope_parameters', { sliding_attention: { partial_rotary_factor: 0.5 } }],
    ['olmo3', 'mlp_bias', true],
    ['olmo3', 'sliding_window', null],
    ['falcon', 'num_kv_heads', 3],
    ['granite', 'logits_scaling', 0],
    ['helium', 'partial_rotary_factor', 0.5],
    ['cohere', 'use_qk_norm', 1],
    ['nanochat', 'mlp_bias', true],
    ['jais2', 'attention_bias', 1],
    ['granite_swa', 'layer_rope_theta', [1]],
    ['granite_swa', 'layer_rope_theta', [1, -1]],
    ['gpt_bigcode', 'add_cross_attention', true],
    ['gpt_bigcode', 'n_head', 3],
    ['mpt', 'n_heads', 5],
    ['mpt', 'no_bias', false],
    ['mpt', 'attn_config.alibi', false],
    ['mpt', 'attn_config.attn_type', 'multiquery_attention'],
    ['cohere2', 'sliding_window', null],
    ['cohere2', 'use_qk_norm', true],
    ['glm', 'mlp_bias', true],
    ['glm4', 'hidden_act', 'relu6'],
    ['exaone4', 'attention_bias', true],
    ['exaone4', 'sliding_window_pattern', -1],
    ['exaone4', 'sliding_window_pattern', 'LG'],
    ['ernie4_5', 'use_bias', 1],
    ['granitemoehybrid', 'shared_intermediate_size', 0],
    ['granitemoe', 'num_experts_per_tok', 5],
    ['granitemoe', 'num_experts_per_tok', 0],
    ['granitemoehybrid', 'layer_types', ['mamba']],
    ['granitemoehybrid', 'layer_types', ['mamba', 'rwkv']],
    ['granitemoehybrid', 'mamba_n_heads', 3],
    ['granitemoehybrid', 'mamba_n_groups', 3],
    ['granitemoehybrid', 'time_step_limit', [0]],
    ['granitemoehybrid', 'hidden_act', 'gelu'],
    ['lfm2_moe', 'num_experts_per_tok', 5],
    ['lfm2_moe', 'num_dense_layers', -1],
    ['falcon_h1', 'mamba_n_heads', 5],
    ['falcon_h1', 'ssm_multipliers', [1, 1]],
    ['falcon_h1', 'hidden_act', 'gelu'],
    ['bamba', 'z_loss_coefficient', 0.1],
    ['bamba', 'mamba_n_groups', 3],
    ['lfm2', 'layer_types', ['conv']],
    ['lfm2', 'layer_types', ['conv', 'sliding_attention']],
    ['lfm2', 'conv_L_cache', 0],
    ['nemotron_h', 'hybrid_override_pattern', 'M-A'],
    ['nemotron_h', 'hybrid_override_pattern', ''],
    ['nemotron_h', 'layers_block_type', ['mamba', 'conv']],
    ['nemotron_h', 'n_groups', 3],
    ['nemotron_h', 'mamba_hidden_act', 'gelu'],
    ['nemotron_h', 'sliding_window', 4],
    ['nemotron_h', 'num_key_value_heads', 3],
    ['mamba2', 'num_heads', 3],
    ['mamba2', 'n_groups', 3],
    ['mamba2', 'hidden_act', 'gelu'],
    ['mamba2', 'time_step_limit', [0]],
    ['mamba', 'hidden_act', 'gelu'],
    ['mamba', 'time_step_rank', 'half'],
    ['mamba', 'state_size', 0],
    ['falcon_mamba', 'mixer_rms_eps', 0],
    ['jamba', 'attn_layer_offset', 8],
    ['jamba', 'expert_layer_offset', 2],
    ['jamba', 'num_experts_per_tok', 17],
    ['jamba', 'hidden_act', 'gelu'],
    ['jamba', 'mamba_dt_rank', 0],
    ['phimoe', 'num_experts_per_tok', 1],
    ['phimoe', 'rope_scaling', { type: 'longrope', short_factor: [1, 1], long_factor: [1, 1] }],
    ['phimoe', 'rope_parameters', { rope_type: 'longrope', short_mscale: 1.2, long_mscale: 1.3 }],
    ['olmo_hybrid', 'layer_types', ['linear_attention']],
    ['olmo_hybrid', 'layer_types', ['linear_attention', 'linear_attention']],
    ['olmo_hybrid', 'linear_num_value_heads', 3],
    ['olmo_hybrid', 'hidden_act', 'gelu'],
    ['qwen3_5_text', 'layer_types', ['linear_attention']],
    ['qwen3_5_text', 'layer_types', ['linear_attention', 'sliding_attention']],
    ['qwen3_5_text', 'linear_num_value_heads', 3],
    ['qwen3_5_text', 'attn_output_gate', false],
    ['qwen3_5_text', 'hidden_act', 'gelu'],
    ['seed_oss', 'residual_dropout', 1],
    ['hunyuan_v1_dense', 'mlp_bias', true],
    ['gemma3_text', 'use_bidirectional_attention', true],
    ['gemma3n_text', 'intermediate_size', [12, 12]],
    ['gemma3n_text', 'activation_sparsity_pattern', [0.5]],
    ['gemma3n_text', 'activation_sparsity_pattern', [1, 0, 0, 0]],
    ['gemma3n_text', 'altup_active_idx', 2],
    ['gemma3n_text', 'num_kv_shared_layers', 3],
    ['gemma3n_text', 'hidden_size_per_layer_input', 0],
    ['vaultgemma', 'sliding_window', null],
    ['mistral4', 'n_group', 2],
    ['mistral4', 'num_experts_per_tok', 3],
    ['llama4_text', 'attention_chunk_size', null],
    ['llama4_text', 'layer_types', ['chunked_attention']],
    ['llama4_text', 'layer_types', ['chunked_attention', 'sliding_attention']],
    ['llama4_text', 'no_rope_layers', [1]],
    ['llama4_text', 'num_experts_per_tok', 3],
    ['llama4_text', 'floor_scale', 0],
    ['gemma4_text', 'use_bidirectional_attention', 'all'],
    ['gemma4_text', 'sliding_window', null],
    ['gemma4_text', 'num_kv_shared_layers', 3],
    ['gemma4_text', 'num_kv_shared_layers', 4],
    ['gemma4_text', 'per_layer_config', { 1: { head_dim: 5 }, 3: { head_dim: 6 } }],
    ['gemma4_text', 'per_layer_config', { 1: { num_key_value_heads: 3 } }],
    ['gemma4_text', 'rope_parameters', { rope_type: 'default' }],
    [
      'gemma4_text',
      'rope_parameters',
      { full_attention: { rope_type: 'linear', factor: 2, partial_rotary_factor: 0.7 } },
    ],
    ['starcoder2', 'norm_type', 'rms_norm'],
    ['stablelm', 'attention_bias', true],
    ['stablelm', 'head_dim', 2],
    ['gpt_neox', 'head_dim', 2],
    ['falcon', 'parallel_attn', false],
    ['falcon', 'num_ln_in_parallel_attn', 3],
    ['gptj', 'rope_scaling', { type: 'linear', factor: 2 }],
    ['gptj', 'rotary_dim', 3],
    ['gptj', 'rotary_dim', 6],
    ['deepseek_v2', 'topk_method', 'noaux_tc'],
    ['deepseek_v2', 'norm_topk_prob', true],
    ['deepseek_v2', 'num_experts_per_tok', 4],
    ['deepseek_v2', 'num_experts_per_tok', null],
    ['deepseek_v2', 'v_head_dim', 6],
    ['deepseek_v2', 'num_key_value_heads', 1],
    ['deepseek_v3', 'scoring_func', 'softmax'],
    ['deepseek_v3', 'moe_layer_freq', 2],
    ['deepseek_v3', 'n_group', 3],
    // A group counts as its best two.
    ['deepseek_v3', 'n_group', 4],
    ['deepseek_v3', 'topk_group', 3],
    ['deepseek_v3', 'kv_lora_rank', 0],
    ['glm4_moe_lite', 'first_k_dense_replace', 2],
    ['glm4_moe_lite', 'mlp_layer_types', ['dense']],
    ['dots1', 'n_routed_experts', null],
    ['dots1', 'n_shared_experts', null],
    ['ernie4_5_moe', 'use_bias', true],
    ['ernie4_5_moe', 'moe_num_experts', [4, 4]],
    ['hunyuan_v1_moe', 'moe_topk', [2, 3]],
    ['hunyuan_v1_moe', 'num_shared_expert', 2],
    ['minicpm3', 'mlp_bias', true],
    ['youtu', 'partial_rotary_factor', 0.5],
    ['minimax_m2', 'output_router_logits', true],
    ['minimax_m2', 'rotary_dim', 0],
    ['minimax_m2', 'scoring_func', 'softmax'],
    ['solar_open', 'partial_rotary_factor', 0.5],
    ['solar_open', 'first_k_dense_replace', 1],
    ['solar_open', 'n_group', 2],
    ['afmoe', 'sliding_window', null],
    ['afmoe', 'route_norm', false],
    ['afmoe', 'num_experts_per_tok', 3],
    ['exaone_moe', 'mlp_layer_types', ['sparse']],
    ['exaone_moe', 'mlp_layer_types', ['sparse', 'moe']],
    ['exaone_moe', 'sliding_window_pattern', 'LG'],
    ['flex_olmo', 'clip_qkv', 8],
    ['mellum', 'sliding_window', null],
    ['mellum', 'rope_parameters', { rope_type: 'default' }],
    ['mellum', 'rope_parameters', { sliding_attention: { partial_rotary_factor: 0.34 } }],
    ['mellum', 'mlp_layer_types', ['sparse']],
    ['hy_v3', 'mlp_layer_types', ['dense', 'sparse', 'sparse']],
    ['hy_v3', 'router_scaling_factor', 0],
    ['cohere2_moe', 'sliding_window', null],
    ['cohere2_moe', 'expert_selection_fn', 'relu'],
    ['cohere2_moe', 'shared_expert_combination_strategy', 'max'],
    ['cohere2_moe', 'use_qk_norm', true],
    ['cohere2_moe', 'prefix_dense_sliding_window_pattern', 0],
    ['granitemoe_swa', 'layer_rope_theta', [1]],
    ['granitemoe_swa', 'layer_types', ['attention', 'sliding_attention']],
    ['granitemoe_swa', 'num_experts_per_tok', 3],
    ['mimo_v2_flash', 'v_head_dim', 7],
    ['mimo_v2_flash', 'num_key_value_heads', 2],
    ['mimo_v2_flash', 'n_shared_experts', 1],
    ['mimo_v2_flash', 'sliding_window', null],
    ['mimo_v2_flash', 'rope_parameters', { rope_type: 'default' }],
    ['laguna', 'num_attention_heads_per_layer', [2]],
    ['laguna', 'gating', 'per-layer'],
    ['laguna', 'output_router_logits', true],
    ['laguna', 'moe_apply_router_weight_on_input', true],
    ['laguna', 'moe_router_logit_softcapping', -1],
    ['laguna', 'sliding_window', null],
    ['codegen', 'n_head', 2],
    ['codegen', 'rotary_dim', 6],
    ['xglm', 'd_model', 2],
    ['xglm', 'attention_heads', 3],
    ['xglm', 'add_cross_attention', true],
    ['xglm', 'activation_dropout', 0.1],
    ['xglm', 'layerdrop', 0.1],
    ['biogpt', 'layerdrop', 0.1],
    ['biogpt', 'activation_dropout', 0.1],
    ['biogpt', 'num_attention_heads', 3],
    ['doge', 'keep_window_size', 23],
    ['doge', 'is_moe', true],
    ['doge', 'hidden_dropout', 0.1],
    ['aria_text', 'mlp_bias', true],
    ['aria_text', 'hidden_act', 'gelu'],
    ['aria_text', 'moe_topk', 4],
    ['persimmon', 'head_dim', 2],
    ['persimmon', 'qk_layernorm', 1],
    ['axk1', 'q_lora_rank', null],
    ['axk1', 'scoring_func', 'softmax'],
  ])('of %s that asks for %s %j is refused by its name', (name, field, value) => {
    const [outer = field, inner] = field.split('.');
    const given = inner === undefined ? value : { [inner]: value };
    const error = failure(modelConfig({ ...makeRaw(name), [outer]: given }));
    expect(error.code).toBe('E_MODEL_CONFIG');
    expect(error.details.field).toMatch(new RegExp(`^${field}`));
  });

  it.each([
    ['deepseek_v3', 'kimi_k2'],
    ['gpt2', 'gpt-sw3'],
  ])('of %s is read under the name of another that is built so, %s', (architecture, modelType) => {
    const raw = { ...makeRaw(architecture), model_type: modelType };
    expect(orThrow(modelConfig(raw))).toMatchObject({ architecture, modelType });
  });

  it('of mixtures has experts in the layers that it names, and after the first ones where it names none', () => {
    const routed = (name: string, more: object): unknown => {
      const { mlp_layer_types: _, ...raw } = makeRaw(name);
      return orThrow(modelConfig({ ...raw, num_hidden_layers: 3, layer_types: null, ...more }));
    };
    const named = { mlp_layer_types: ['sparse', 'dense', 'sparse'], first_k_dense_replace: 3 };
    for (const name of ['exaone_moe', 'hy_v3', 'mellum', 'glm4_moe_lite'])
      expect(routed(name, named)).toMatchObject({ routed: [true, false, true] });
    expect(routed('exaone_moe', {})).toMatchObject({ routed: [false, true, true] });
    expect(routed('exaone_moe', { first_k_dense_replace: 2 })).toMatchObject({ routed: [false, false, true] });
    expect(routed('hy_v3', {})).toMatchObject({ routed: [false, true, true] });
    expect(routed('mellum', {})).toMatchObject({ routed: [true, true, true] });
    expect(routed('afmoe', { num_dense_layers: 2 })).toMatchObject({ routed: [false, false, true] });
  });

  it('of Cohere 2 with experts has other windows in its first layers, which turn whatever they see', () => {
    const raw = { ...makeRaw('cohere2_moe'), num_hidden_layers: 6, first_k_dense_replace: 3 };
    const of = (more: object): unknown => orThrow(modelConfig({ ...raw, ...more }));
    expect(of({})).toMatchObject({
      windows: [0, 0, 0, 3, 0, 3],
      turns: [true, true, true, true, false, true],
      intermediateSize: 10,
      expertSize: 12,
      mixtureScale: 0.5,
    });
    expect(of({ prefix_dense_sliding_window_pattern: 2 })).toMatchObject({
      windows: [3, 0, 3, 3, 0, 3],
      turns: [true, false, true, true, false, true],
    });
    expect(of({ num_shared_experts: 0 })).toMatchObject({ mixtureScale: 1, sharedSize: 0 });
  });

  it('of MiMo-V2-Flash may have what its own class reads, and scales values by what it says', () => {
    const { layer_types: _, ...raw } = makeRaw('mimo_v2_flash');
    const of = (more: object): unknown => orThrow(modelConfig({ ...raw, ...more }));
    const published = { moe_layer_freq: [0, 1], hybrid_layer_pattern: [0, 1], n_shared_experts: null };
    expect(of(published)).toMatchObject({ routed: [false, true], valueScale: 0.707, windows: [0, 3] });
    expect(of({ attention_value_scale: null })).toMatchObject({ valueScale: 1 });
    expect(of({ head_dim: 192, v_head_dim: 128 })).toMatchObject({
      rope: { theta: 5e6, rotaryDim: 64 },
      localRope: { theta: 10_000, rotaryDim: 64 },
    });
  });

  it('of Laguna turns half of each head that sees all where it says nothing, and as it says otherwise', () => {
    const rope = (more: object): unknown => orThrow(modelConfig({ ...makeRaw('laguna'), head_dim: 8, ...more }));
    expect(rope({ partial_rotary_factor: 0.25 })).toMatchObject({
      rope: { theta: 500_000, rotaryDim: 4 },
      localRope: { theta: 10_000, rotaryDim: 8 },
    });
    const own = { full_attention: { rope_theta: 7 }, sliding_attention: { rope_theta: 5, partial_rotary_factor: 0.5 } };
    expect(rope({ rope_parameters: own })).toMatchObject({
      rope: { theta: 7, rotaryDim: 8 },
      localRope: { theta: 5, rotaryDim: 4 },
    });
  });

  it('of Laguna has a gate for each head, or for each of their columns', () => {
    const gates = (gating: unknown): unknown =>
      expectedTensors(orThrow(modelConfig({ ...makeRaw('laguna'), gating }))).flatMap(({ name, shape }) =>
        name.endsWith('.g_proj.weight') ? [shape[0]] : [],
      );
    for (const gating of [undefined, null, true, 'per-head']) expect(gates(gating)).toEqual([1, 2]);
    for (const gating of [false, 'per-element']) expect(gates(gating)).toEqual([4, 8]);
  });

  it('of Mellum says of both kinds of layers how they turn, and of neither beside them', () => {
    const rope = (more: object): unknown => orThrow(modelConfig({ ...makeRaw('mellum'), ...more }));
    expect(rope({ rope_theta: 7, rope_scaling: { type: 'linear', factor: 2 } })).toMatchObject({
      rope: { theta: 500_000, scaling: { kind: 'default' } },
      localRope: { theta: 10_000 },
    });
    const own = { full_attention: { rope_theta: 7 }, sliding_attention: { rope_theta: 5 } };
    expect(rope({ rope_parameters: own })).toMatchObject({ rope: { theta: 7 }, localRope: { theta: 5 } });
  });

  it('of Hunyuan with experts may say the same of every layer', () => {
    const raw = { ...makeRaw('hunyuan_v1_moe'), moe_topk: [2, 2], num_shared_expert: [1, 1] };
    expect(orThrow(modelConfig(raw))).toMatchObject({ experts: { perToken: 2 } });
  });

  it('of latent attention scales scores by the magnitude of YaRN where that is spread over whole heads', () => {
    const yarn = {
      type: 'yarn',
      factor: 40,
      mscale: 0.707,
      mscale_all_dim: 0.707,
      original_max_position_embeddings: 4,
    };
    const scale = (rope_scaling: object): unknown => orThrow(modelConfig({ ...makeRaw('deepseek_v2'), rope_scaling }));
    const magnitude = 0.1 * 0.707 * Math.log(40) + 1;
    expect(scale(yarn)).toMatchObject({ attentionScale: magnitude ** 2 / Math.sqrt(5) });
    expect(scale({ ...yarn, mscale_all_dim: 0 })).toMatchObject({ attentionScale: 1 / Math.sqrt(5) });
  });

  it('of LFM2 has the widths and layers that older files say otherwise', () => {
    const { layer_types: _, ...old } = makeRaw('lfm2');
    const config = { ...old, block_ff_dim: 12_288, block_multiple_of: 256, full_attn_idxs: [0], tie_embedding: false };
    expect(orThrow(modelConfig(config))).toMatchObject({
      intermediateSize: 8192,
      convolves: [false, true],
      tieWordEmbeddings: false,
    });
    expect(orThrow(modelConfig({ ...config, block_auto_adjust_ff_dim: false }))).toMatchObject({
      intermediateSize: 12_288,
    });
    expect(orThrow(modelConfig(old))).toMatchObject({ convolves: [false, false], tieWordEmbeddings: true });
  });

  it('of Nemotron-H has a block a letter or a name, whatever number of layers it says', () => {
    const { hybrid_override_pattern: _, ...raw } = makeRaw('nemotron_h');
    const blocksOf = (more: object): unknown => {
      const { numLayers, ...config } = orThrow(modelConfig({ ...raw, ...more }));
      return { numLayers, blocks: 'blocks' in config ? config.blocks : undefined };
    };
    const blocks = ['mamba', 'mlp', 'attention', 'mamba'];
    expect(blocksOf({ hybrid_override_pattern: 'M-*M' })).toEqual({ numLayers: 4, blocks });
    const names = ['linear_attention', 'mlp', 'full_attention', 'mamba'];
    expect(blocksOf({ layers_block_type: names, hybrid_override_pattern: 'E' })).toEqual({ numLayers: 4, blocks });
  });

  it('of OLMo Hybrid attends every fourth layer, once at least', () => {
    const { layer_types: _, ...raw } = makeRaw('olmo_hybrid');
    const recurs = (num_hidden_layers: number): unknown => orThrow(modelConfig({ ...raw, num_hidden_layers }));
    expect(recurs(5)).toMatchObject({ recurs: [true, true, true, false, true] });
    expect(recurs(2)).toMatchObject({ recurs: [true, false] });
  });

  it("of LFM2-VL ties its head as the whole says, whatever its text's part does", () => {
    const raw = makeRaw('lfm2_vl');
    const text_config = { ...(raw['text_config'] as object), tie_embedding: true };
    expect(orThrow(modelConfig({ ...raw, text_config }))).toMatchObject({ tieWordEmbeddings: true });
    for (const name of ['tie_word_embeddings', 'tie_embedding'])
      expect(orThrow(modelConfig({ ...raw, text_config, [name]: false }))).toMatchObject({ tieWordEmbeddings: false });
  });

  it('of Qwen has windows by its layer types, by their number, and 4096 where it names none', () => {
    const sliding = { ...makeRaw('qwen2'), use_sliding_window: true, max_window_layers: 1 };
    expect(orThrow(modelConfig({ ...sliding, sliding_window: 5 }))).toMatchObject({ windows: [0, 5] });
    expect(orThrow(modelConfig(sliding))).toMatchObject({ windows: [0, 4096] });
    expect(orThrow(modelConfig({ ...sliding, sliding_window: null }))).toMatchObject({ windows: [0, 0] });
    const types = { layer_types: ['sliding_attention', 'full_attention'] };
    expect(orThrow(modelConfig({ ...sliding, ...types }))).toMatchObject({ windows: [4096, 0] });
    const error = failure(modelConfig({ ...sliding, layer_types: ['full_attention', 'linear_attention'] }));
    expect(error.details.field).toBe('layer_types.1');
  });

  it('has as many key heads as transformers takes where it says nothing, as many as heads for null', () => {
    const { num_key_value_heads: _, ...others } = makeRaw('mistral');
    const silent = { ...others, num_attention_heads: 16, hidden_size: 32 };
    expect(orThrow(modelConfig(silent))).toMatchObject({ numKvHeads: 8 });
    expect(orThrow(modelConfig({ ...silent, num_key_value_heads: null }))).toMatchObject({ numKvHeads: 16 });
  });

  it('of Gemma means the tanh form by "gelu" and what it says otherwise', () => {
    const gate = (act: object): unknown => orThrow(modelConfig({ ...makeRaw('gemma'), ...act }));
    for (const act of [{}, { hidden_act: 'gelu' }, { hidden_act: 'gelu_pytorch_tanh' }])
      expect(gate(act)).toMatchObject({ activation: 'gelu_new' });
    expect(gate({ hidden_act: 'silu' })).toMatchObject({ activation: 'silu' });
  });

  it('of Gemma 3 in its old form says the same as in its new', () => {
    const { raw: _old, ...old } = orThrow(
      modelConfig({
        ...makeRaw('gemma3_text'),
        rope_theta: 500,
        rope_local_base_freq: 50,
        rope_scaling: { rope_type: 'linear', factor: 8 },
      }),
    );
    const { raw: _now, ...now } = orThrow(
      modelConfig({
        ...makeRaw('gemma3_text'),
        rope_parameters: {
          full_attention: { rope_type: 'linear', factor: 8, rope_theta: 500 },
          sliding_attention: { rope_type: 'default', rope_theta: 50 },
        },
      }),
    );
    expect(old).toEqual(now);
    expect(now).toMatchObject({ windows: [3, 0], rope: { theta: 500 }, localRope: { theta: 50 } });
  });

  it('of Gemma 4 with experts says how many, how wide, and how many a token goes to', () => {
    const raw = { ...makeRaw('gemma4_text'), enable_moe_block: true };
    const field = (given: object): unknown => failure(modelConfig({ ...raw, ...given })).details.field;
    expect(field({})).toBe('num_experts');
    expect(field({ num_experts: 4 })).toBe('moe_intermediate_size');
    expect(field({ num_experts: 4, moe_intermediate_size: 6, top_k_experts: 5 })).toBe('top_k_experts');
  });

  it('of Gemma 4 has heads of layers that see all by fields of their own, or by those of each layer', () => {
    const heads = {
      ...makeRaw('llama'),
      model_type: 'gemma4_text',
      num_hidden_layers: 3,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      head_dim: 4,
    };
    const layers = { layer_types: ['full_attention', 'sliding_attention', 'sliding_attention'] };
    const sizesOf = (fields: object): unknown =>
      (orThrow(modelConfig({ ...heads, ...layers, ...fields })) as Gemma4Config).sizes;
    const [own, wide, wider] = [
      { headDim: 4, numKvHeads: 4 },
      { headDim: 6, numKvHeads: 4 },
      { headDim: 6, numKvHeads: 2 },
    ];
    expect(sizesOf({})).toEqual([512, 4, 512].map((headDim) => ({ headDim, numKvHeads: 4 })));
    const global = { global_head_dim: 6, num_global_key_value_heads: 2 };
    // The last layer sees all, whatever the file says.
    expect(sizesOf(global)).toEqual([wide, own, wide]);
    expect(sizesOf({ ...global, attention_k_eq_v: true })).toEqual([wider, own, wider]);
    const one = { head_dim: 6, num_key_value_heads: 2 };
    expect(sizesOf({ ...global, per_layer_config: { '00': one, '02': one } })).toEqual([wider, own, wider]);
    expect(sizesOf({ ...global, per_layer_config: {} })).toEqual([own, own, own]);
  });

  it('of Gemma 4 lets its last layers read keys and values of the last before them of their kind', () => {
    const types = ['sliding_attention', 'full_attention', 'sliding_attention', 'sliding_attention', 'full_attention'];
    const raw = {
      ...makeRaw('llama'),
      model_type: 'gemma4_text',
      num_hidden_layers: 5,
      head_dim: 4,
      layer_types: types,
    };
    expect(orThrow(modelConfig({ ...raw, num_kv_shared_layers: 2 }))).toMatchObject({ keysOf: [0, 1, 2, 2, 1] });
    const names = expectedTensors(orThrow(modelConfig({ ...raw, num_kv_shared_layers: 2 }))).map(({ name }) => name);
    expect(names.filter((name) => /[kv]_proj/.test(name))).toHaveLength(6);
  });

  it('of the first Phi-3 files calls LongRoPE by other names', () => {
    const { rope_scaling: scaling, ...others } = makeRaw('phi3');
    const named = (type: string): unknown =>
      orThrow(modelConfig({ ...others, rope_scaling: { ...(scaling as object), type } }));
    for (const type of ['su', 'yarn', 'longrope'])
      expect(named(type)).toMatchObject({ rope: { scaling: { kind: 'longrope', originalMaxPositions: 4 } } });
    // The ratio of both lengths makes vectors longer: √(1 + ln 6 / ln 4).
    expect(named('su')).toMatchObject({
      rope: { scaling: { attentionFactor: Math.sqrt(1 + Math.log(6) / Math.log(4)) } },
    });
    expect(orThrow(modelConfig({ ...others, original_max_position_embeddings: null }))).toMatchObject({
      rope: { scaling: { kind: 'default' } },
    });
  });

  it('of Falcon may have one key, one a head, or groups, and the norms that go with it', () => {
    const { num_kv_heads: _, new_decoder_architecture: _new, ...older } = makeRaw('falcon');
    const config = (fields: object): unknown => orThrow(modelConfig({ ...older, ...fields }));
    expect(config({})).toMatchObject({ numKvHeads: 1, norms: 'one' });
    expect(config({ multi_query: false })).toMatchObject({ numKvHeads: 2, norms: 'one' });
    expect(config({ parallel_attn: false })).toMatchObject({ norms: 'inTurn' });
    const newer = { new_decoder_architecture: true, num_kv_heads: 2 };
    expect(config(newer)).toMatchObject({ numKvHeads: 2, norms: 'two' });
    expect(config({ ...newer, num_ln_in_parallel_attn: 1 })).toMatchObject({ norms: 'one' });
    const refused = (fields: object): unknown => failure(modelConfig({ ...older, ...fields })).details.field;
    expect(refused({ multi_query: false, num_kv_heads: 1 })).toBe('num_kv_heads');
    expect(refused({ num_ln_in_parallel_attn: 2 })).toBe('num_ln_in_parallel_attn');
  });

  it.each([
    ['gpt_neox', {}, { theta: 10_000, rotaryDim: 2 }],
    ['gpt_neox', { rotary_emb_base: 500, rotary_pct: 1 }, { theta: 500, rotaryDim: 4 }],
    ['gpt_neox', { rope_parameters: { rope_type: 'linear', factor: 2, partial_rotary_factor: 1 } }, { rotaryDim: 4 }],
    ['helium', {}, { theta: 100_000 }],
    ['stablelm', { partial_rotary_factor: undefined, hidden_size: 16 }, { rotaryDim: 2 }],
  ])('of %s with %j turns by %j', (name, fields, rope) => {
    expect(orThrow(modelConfig({ ...makeRaw(name), ...fields }))).toMatchObject({ rope });
  });

  it('of Phi may have heads of their own width', () => {
    const config = orThrow(modelConfig({ ...makeRaw('phi'), head_dim: 8 }));
    const shapes = Object.fromEntries(expectedTensors(config).map(({ name, shape }) => [name, shape]));
    expect(shapes['model.layers.0.self_attn.q_proj.weight']).toEqual([16, 8]);
    expect(shapes['model.layers.0.self_attn.dense.weight']).toEqual([8, 16]);
  });

  it('keeps what it was made from, and ids under one name', () => {
    const raw = { ...makeRaw('llama'), eos_token_id: [2, 3], bos_token_id: 1, pad_token_id: -1, something_else: true };
    const config = orThrow(modelConfig(raw));
    expect(config.raw).toEqual(raw);
    expect(config).toMatchObject({ bosTokenId: 1, eosTokenIds: [2, 3] });
    expect(config.padTokenId).toBeUndefined();
  });

  it('of GPT-Neo wants a kind for each layer', () => {
    const error = failure(modelConfig({ ...makeRaw('gpt_neo'), attention_types: [[['global'], 1]] }));
    expect(error.details.field).toBe('attention_types');
  });

  it('knows the parameters of real models', () => {
    const count = (raw: object): number =>
      expectedTensors(orThrow(modelConfig(raw))).reduce(
        (sum, { shape }) => sum + shape.reduce((size, n) => size * n, 1),
        0,
      );
    const opt350m = {
      model_type: 'opt',
      vocab_size: 50272,
      hidden_size: 1024,
      ffn_dim: 4096,
      num_hidden_layers: 24,
      num_attention_heads: 16,
      max_position_embeddings: 2048,
      word_embed_proj_dim: 512,
      do_layer_norm_before: false,
    };
    expect(count(opt350m)).toBe(331_196_416);
    const neo125m = {
      model_type: 'gpt_neo',
      vocab_size: 50257,
      max_position_embeddings: 2048,
      hidden_size: 768,
      num_layers: 12,
      num_heads: 12,
      attention_types: [[['global', 'local'], 6]],
    };
    expect(count(neo125m)).toBe(125_198_592);
    expect(
      count({ model_type: 'gpt2', vocab_size: 50257, n_positions: 1024, n_embd: 768, n_layer: 12, n_head: 12 }),
    ).toBe(124_439_808);
    const tinyLlama = {
      model_type: 'llama',
      vocab_size: 32000,
      hidden_size: 2048,
      intermediate_size: 5632,
      num_hidden_layers: 22,
      num_attention_heads: 32,
      num_key_value_heads: 4,
    };
    expect(count(tinyLlama)).toBe(1_100_048_384);
  });
});

describe('tensors of a checkpoint', () => {
  const config = orThrow(modelConfig(makeRaw('gpt2')));
  const stored = expectedTensors(config).map(({ name, shape }) => ({ name, shape }));

  it('are found with and without the base prefix, buffers and a tied head passed over', () => {
    const bare = [
      ...stored.map(({ name, shape }) => ({ name: name.replace(/^transformer\./, ''), shape })),
      { name: 'h.0.attn.bias', shape: [1, 1, 24, 24] },
      { name: 'lm_head.weight', shape: [13, 8] },
      { name: 'classifier.weight', shape: [2, 8] },
    ];
    const { tensors, unexpected } = orThrow(matchTensors(config, bare));
    expect(tensors.map(({ name }) => name).sort()).toEqual(stored.map(({ name }) => name).sort());
    expect(unexpected).toEqual(['classifier.weight']);
  });

  it('may have the names of a whole that they were taken out of (Qwen3.5)', () => {
    const stored = (name: string): StoredTensor => {
      const unread = (): never => {
        throw new Error('nothing is to be read');
      };
      const file = 'model.safetensors';
      return { name, dtype: 'F32', shape: [8], byteLength: 32, file, read: unread, readBytes: unread, part: unread };
    };
    const { fileLayout } = architectureOf(orThrow(modelConfig(makeRaw('qwen3_5_text'))));
    const named = ['model.language_model.norm.weight', 'lm_head.weight'].map((name) => [name, stored(name)] as const);
    const read = orThrow(fileLayout?.read(new Map(named)) ?? E.right(new Map<string, StoredTensor>()));
    expect([...read.keys()]).toEqual(['model.norm.weight', 'lm_head.weight']);
  });

  it('are passed over where they guess tokens further ahead (Qwen3.5, Qwen3-Next, Nemotron-H, K-EXAONE)', () => {
    for (const modelType of ['qwen3_5_text', 'qwen3_5_moe_text', 'qwen3_next', 'nemotron_h', 'exaone_moe']) {
      const config = orThrow(modelConfig(makeRaw(modelType)));
      const stored = [...expectedTensors(config), { name: 'mtp.layers.0.mlp.down_proj.weight', shape: [8, 12] }];
      const { tensors, unexpected } = orThrow(matchTensors(config, stored));
      expect(tensors).toHaveLength(stored.length - 1);
      expect(unexpected).toEqual([]);
    }
  });

  it.each([
    ['exaone_moe', 'model.layers.1.mlp.gate.e_score_correction_bias', 'model.layers.1.mlp.e_score_correction_bias'],
    [
      'minimax_m2',
      'model.layers.1.mlp.e_score_correction_bias',
      'model.layers.1.block_sparse_moe.e_score_correction_bias',
    ],
    [
      'ernie4_5_moe',
      'model.layers.1.mlp.gate.moe_statics.e_score_correction_bias',
      'model.layers.1.mlp.moe_statics.e_score_correction_bias',
    ],
    ['mimo_v2_flash', 'model.layers.1.self_attn.sinks', 'model.layers.1.self_attn.attention_sink_bias'],
    ['axk1', 'model.layers.1.mlp.post_mlp_layernorm.weight', 'model.layers.1.post_mlp_layernorm.weight'],
  ])('of %s may be called as in classes, %s', (modelType, name, inFiles) => {
    const config = orThrow(modelConfig(makeRaw(modelType)));
    const shape = expectedTensors(config).find((spec) => spec.name === inFiles)?.shape;
    expect(shape).toBeDefined();
    expect(architectureOf(config).packed).toContainEqual({ name, shape, parts: [inFiles] });
  });

  it('that are missing or of a wrong shape are named', () => {
    const missing = failure(matchTensors(config, stored.slice(1)));
    expect(missing.code).toBe('E_WEIGHTS_MISSING');
    expect(render(missing)).toContain('transformer.wte.weight [13, 8]');
    const wrong = failure(matchTensors(config, [{ name: 'wte.weight', shape: [12, 8] }, ...stored.slice(1)]));
    expect(wrong.code).toBe('E_WEIGHTS_SHAPE');
    expect(render(wrong)).toContain('[12, 8]');
  });

  it('make a model under their full names', () => {
    const weights = Object.fromEntries(
      stored.map(({ name, shape }) => [
        name.replace(/^transformer\./, ''),
        tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), [...shape]),
      ]),
    );
    const model = orThrow(makeCausalLm(config, weights));
    expect(Object.keys(model.weights)).toEqual(stored.map(({ name }) => name));
    expect(model.trainable).toEqual(stored.map(({ name }) => name));
    expect(training(model, ['transformer.ln_f.bias']).trainable).toEqual(['transformer.ln_f.bias']);
    expect(() => training(model, ['nowhere'])).toThrow(RangeError);
    Object.values(weights).forEach((weight) => weight.dispose());
  });
});

describe('buffers', () => {
  const config = orThrow(modelConfig(makeRaw('deepseek_v3')));
  const buffer = 'model.layers.0.mlp.gate.e_score_correction_bias';

  it('are kept with the weights and trained by nothing, whatever trains beside an adapter', () => {
    const weights = Object.fromEntries(
      expectedTensors(config).map(({ name, shape }) => [
        name,
        tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), [...shape]),
      ]),
    );
    const model = orThrow(makeCausalLm(config, weights));
    expect(model.weights).toHaveProperty([buffer]);
    expect(model.trainable).toHaveLength(Object.keys(weights).length - config.numLayers);
    expect(model.trainable).not.toContain(buffer);
    const options = { r: 2, targetModules: ['o_proj'], bias: 'all', modulesToSave: ['gate'] };
    const adapted = orThrow(attachLora(model, orThrow(LoraConfig.decode(options)), { seed: 1 }));
    expect(adapted.trainable).toContain('model.layers.0.mlp.gate.weight');
    expect(adapted.trainable).not.toContain(buffer);
    const plain = orThrow(mergeAndUnload(adapted)).model;
    expect(plain.trainable).toContain('model.layers.0.mlp.gate.weight');
    expect(plain.trainable).not.toContain(buffer);
    Object.values(plain.weights).forEach((weight) => weight.dispose());
  });
});

describe('registerArchitecture', () => {
  it("makes a model type of one's own known", () => {
    registerArchitecture({
      ...llama,
      name: 'mine',
      modelTypes: ['mine'],
      config: (raw, modelType) =>
        E.Functor.map(llama.config(raw, modelType), (config) => ({ ...config, architecture: 'mine' })),
    });
    const config = orThrow(modelConfig({ ...makeRaw('llama'), model_type: 'mine' }));
    expect(config).toMatchObject({ architecture: 'mine', modelType: 'mine' });
    expect(architectureOf(config).tensors).toEqual(expectedTensors(orThrow(modelConfig(makeRaw('llama')))));
  });
});

describe('warnings', () => {
  it('tell that dropout on attention weights is left out', () => {
    const codes = (raw: object, disableDropout = false) =>
      configWarnings(orThrow(modelConfig(raw)), { disableDropout }).map(({ code }) => code);
    expect(codes(makeRaw('gpt2'))).toEqual(['W_ATTENTION_DROPOUT']);
    expect(codes(makeRaw('gpt2'), true)).toEqual([]);
    expect(codes({ ...makeRaw('gpt2'), attn_pdrop: 0 })).toEqual([]);
    expect(codes(makeRaw('llama'))).toEqual([]);
  });
});
