/** What GPT-2's files call the parts of a model, and GPT-BigCode's. */
import type { Architecture } from '../architecture.js';
import { layerNorm } from '../layers/norm.js';
import type { GptConfig } from './gptConfig.js';

export const gptNames = {
  basePrefix: 'transformer.',
  buffers: /\.attn\.(?:bias|masked_bias)$/,
  embedding: 'transformer.wte',
  narrows: true,
  tail: (config) => layerNorm('transformer.ln_f', config.layerNormEps),
  loraTargets: () => ['c_attn'],
} satisfies Partial<Architecture<GptConfig>>;
