/** The shapes of bench/gpu.mjs and what a step of them costs in floating-point operations. The same as in reference/torch_gpu.py. */
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

/** By name; `batch` is the default of rows of 2048 tokens a step. */
export const shapes = {
  'gpt2-124m': gpt2(12, 768, 50257, 8),
  'llama-1.1b': llama(22, 2048, 256, 5632, 32000, 4),
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
