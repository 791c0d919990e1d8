/** The shapes of bench/gpu.mjs and what a step of them costs in floating-point operations. The same as in reference/torch_gpu.py, but for the mixture, which bench/card.mjs alone counts. */
const gpt2 = (layers, width, vocabulary, batch) => ({
  layers,
  vocabulary,
  batch,
  attentionWidth: width,
  // c_attn, c_proj, the MLP's two, and the head
  matrixWeights: layers * 12 * width * width + vocabulary * width,
});
const llama = (layers, width, keyWidth, mlp, vocabulary, batch) => ({
  layers,
  vocabulary,
  batch,
  attentionWidth: width,
  matrixWeights: layers * (2 * width * width + 2 * width * keyWidth + 3 * width * mlp) + vocabulary * width,
});

/** OLMoE: of its experts a token reads `perToken`, and those count. */
const olmoe = (layers, width, mlp, experts, perToken, vocabulary, batch) => ({
  layers,
  vocabulary,
  batch,
  attentionWidth: width,
  matrixWeights: layers * (4 * width * width + experts * width + 3 * perToken * width * mlp) + vocabulary * width,
  loraTargets: ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
});

/** By name; `batch` is the default of rows of 2048 tokens a step. */
export const shapes = {
  'gpt2-124m': gpt2(12, 768, 50257, 8),
  'llama-1.1b': llama(22, 2048, 256, 5632, 32000, 4),
  'olmoe-7b': olmoe(16, 2048, 1024, 64, 8, 50304, 4),
  'gpt2-tiny': gpt2(2, 64, 320, 2),
  'llama-tiny': llama(2, 64, 32, 96, 320, 2),
};

/**
 * Operations a token that the model itself asks for: 2 a weight of a matrix forwards, 2 backwards to the inputs, and 2 to the weights
 * where they train; attention's two products over the half of the square that is seen, three times. Adapters, norms, the update and
 * anything computed again are left out, for both sides.
 */
export const operationsPerToken = ({ layers, matrixWeights, attentionWidth }, seq, mode) =>
  (mode === 'full' ? 6 : 4) * matrixWeights + 6 * layers * seq * attentionWidth;

const gpt2Model = (layers, width, vocabulary, headDim = 64) => ({
  config: {
    model_type: 'gpt2',
    n_embd: width,
    n_head: width / headDim,
    n_layer: layers,
    n_positions: 2048,
    vocab_size: vocabulary,
    activation_function: 'gelu_new',
    attn_pdrop: 0,
    embd_pdrop: 0,
    resid_pdrop: 0,
    layer_norm_epsilon: 1e-5,
    tie_word_embeddings: true,
  },
  tensors: Object.fromEntries([
    ['transformer.wte.weight', [vocabulary, width]],
    ['transformer.wpe.weight', [2048, width]],
    ...Array.from({ length: layers }, (_, i) =>
      [
        ['ln_1.weight', [width]],
        ['ln_1.bias', [width]],
        ['attn.c_attn.weight', [width, 3 * width]],
        ['attn.c_attn.bias', [3 * width]],
        ['attn.c_proj.weight', [width, width]],
        ['attn.c_proj.bias', [width]],
        ['ln_2.weight', [width]],
        ['ln_2.bias', [width]],
        ['mlp.c_fc.weight', [width, 4 * width]],
        ['mlp.c_fc.bias', [4 * width]],
        ['mlp.c_proj.weight', [4 * width, width]],
        ['mlp.c_proj.bias', [width]],
      ].map(([name, dims]) => [`transformer.h.${i}.${name}`, dims]),
    ).flat(),
    ['transformer.ln_f.weight', [width]],
    ['transformer.ln_f.bias', [width]],
  ]),
});
const llamaModel = (layers, width, keyWidth, mlp, vocabulary, headDim = 64) => ({
  config: {
    model_type: 'llama',
    hidden_size: width,
    intermediate_size: mlp,
    num_hidden_layers: layers,
    num_attention_heads: width / headDim,
    num_key_value_heads: keyWidth / headDim,
    vocab_size: vocabulary,
    max_position_embeddings: 2048,
    hidden_act: 'silu',
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
  },
  tensors: Object.fromEntries([
    ['model.embed_tokens.weight', [vocabulary, width]],
    ...Array.from({ length: layers }, (_, i) =>
      [
        ['input_layernorm.weight', [width]],
        ['self_attn.q_proj.weight', [width, width]],
        ['self_attn.k_proj.weight', [keyWidth, width]],
        ['self_attn.v_proj.weight', [keyWidth, width]],
        ['self_attn.o_proj.weight', [width, width]],
        ['post_attention_layernorm.weight', [width]],
        ['mlp.gate_proj.weight', [mlp, width]],
        ['mlp.up_proj.weight', [mlp, width]],
        ['mlp.down_proj.weight', [width, mlp]],
      ].map(([name, dims]) => [`model.layers.${i}.${name}`, dims]),
    ).flat(),
    ['model.norm.weight', [width]],
    ['lm_head.weight', [vocabulary, width]],
  ]),
});

const olmoeModel = (layers, width, mlp, experts, perToken, vocabulary) => {
  const { config, tensors } = llamaModel(layers, width, width, mlp, vocabulary);
  return {
    config: {
      ...config,
      model_type: 'olmoe',
      num_experts: experts,
      num_experts_per_tok: perToken,
      norm_topk_prob: false,
    },
    tensors: {
      ...Object.fromEntries(Object.entries(tensors).filter(([name]) => !name.includes('.mlp.'))),
      ...Object.fromEntries(
        Array.from({ length: layers }, (_, i) => [
          [`model.layers.${i}.self_attn.q_norm.weight`, [width]],
          [`model.layers.${i}.self_attn.k_norm.weight`, [width]],
          [`model.layers.${i}.mlp.gate.weight`, [experts, width]],
          ...Array.from({ length: experts }, (__, e) =>
            [
              ['gate_proj.weight', [mlp, width]],
              ['up_proj.weight', [mlp, width]],
              ['down_proj.weight', [width, mlp]],
            ].map(([name, dims]) => [`model.layers.${i}.mlp.experts.${e}.${name}`, dims]),
          ).flat(),
        ]).flat(),
      ),
    },
  };
};

/** Configuration and tensors, with any number of layers: for bench/card.mjs, and for bench/gpu.mjs where PyTorch makes no checkpoints. */
export const models = {
  'gpt2-tiny': (layers) => gpt2Model(layers, 64, 320, 16),
  'llama-tiny': (layers) => llamaModel(layers, 64, 32, 96, 320, 16),
  'gpt2-124m': (layers) => gpt2Model(layers, 768, 50257),
  'llama-1.1b': (layers) => llamaModel(layers, 2048, 256, 5632, 32000),
  'olmoe-7b': (layers) => olmoeModel(layers, 2048, 1024, 64, 8, 50304),
};
