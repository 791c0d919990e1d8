/** Shapes of mixtures of experts that bench/card.mjs alone counts, beside OLMoE's under LoRA on attention (gpu/shapes.mjs). */
import { models as plainModels, shapes as plainShapes } from './gpu/shapes.mjs';

const { loraTargets: _, ...olmoe } = plainShapes['olmoe-7b'];

/** Qwen3-30B-A3B. */
const qwen3 = {
  width: 2048,
  heads: 32,
  keyHeads: 4,
  headDim: 128,
  mlp: 768,
  experts: 128,
  perToken: 8,
  vocabulary: 151936,
};

const qwen3Model = (layers) => {
  const { width, heads, keyHeads, headDim, mlp, experts, perToken, vocabulary } = qwen3;
  const [queries, keys] = [heads * headDim, keyHeads * headDim];
  return {
    config: {
      model_type: 'qwen3_moe',
      hidden_size: width,
      intermediate_size: 6144,
      moe_intermediate_size: mlp,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      num_key_value_heads: keyHeads,
      head_dim: headDim,
      vocab_size: vocabulary,
      max_position_embeddings: 40960,
      hidden_act: 'silu',
      rms_norm_eps: 1e-6,
      rope_theta: 1000000,
      tie_word_embeddings: false,
      num_experts: experts,
      num_experts_per_tok: perToken,
      norm_topk_prob: true,
      decoder_sparse_step: 1,
      mlp_only_layers: [],
    },
    tensors: Object.fromEntries([
      ['model.embed_tokens.weight', [vocabulary, width]],
      ...Array.from({ length: layers }, (_, i) =>
        [
          ['input_layernorm.weight', [width]],
          ['self_attn.q_proj.weight', [queries, width]],
          ['self_attn.k_proj.weight', [keys, width]],
          ['self_attn.v_proj.weight', [keys, width]],
          ['self_attn.o_proj.weight', [width, queries]],
          ['self_attn.q_norm.weight', [headDim]],
          ['self_attn.k_norm.weight', [headDim]],
          ['post_attention_layernorm.weight', [width]],
          ['mlp.gate.weight', [experts, width]],
          ...Array.from({ length: experts }, (__, e) => [
            [`mlp.experts.${e}.gate_proj.weight`, [mlp, width]],
            [`mlp.experts.${e}.up_proj.weight`, [mlp, width]],
            [`mlp.experts.${e}.down_proj.weight`, [width, mlp]],
          ]).flat(),
        ].map(([name, dims]) => [`model.layers.${i}.${name}`, dims]),
      ).flat(),
      ['model.norm.weight', [width]],
      ['lm_head.weight', [vocabulary, width]],
    ]),
  };
};

/** As those of gpu/shapes.mjs; of its experts a token reads `perToken`, and those count. LoRA is on all linear maps. */
export const shapes = {
  'olmoe-7b-experts': olmoe,
  'qwen3-30b-a3b': {
    layers: 48,
    vocabulary: qwen3.vocabulary,
    batch: 4,
    attentionWidth: qwen3.heads * qwen3.headDim,
    matrixWeights:
      48 *
        (2 * qwen3.width * qwen3.headDim * (qwen3.heads + qwen3.keyHeads) +
          qwen3.experts * qwen3.width +
          3 * qwen3.perToken * qwen3.width * qwen3.mlp) +
      qwen3.vocabulary * qwen3.width,
  },
};

export const models = { 'olmoe-7b-experts': plainModels['olmoe-7b'], 'qwen3-30b-a3b': qwen3Model };
