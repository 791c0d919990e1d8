/** GPT-2 in GGUF. */
import * as E from 'fp-ts/lib/Either.js';
import { float32, uint32 } from '../../formats/gguf/values.js';
import type { Gpt2Config } from '../architectures/gpt2.js';
import { asIs, renamed, unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';

const inLayer = {
  ln_1: 'attn_norm',
  'attn.c_attn': 'attn_qkv',
  'attn.c_proj': 'attn_output',
  ln_2: 'ffn_norm',
  'mlp.c_fc': 'ffn_up',
  'mlp.c_proj': 'ffn_down',
} as const;

const outside = {
  'transformer.wte': 'token_embd',
  'transformer.wpe': 'position_embd',
  'transformer.ln_f': 'output_norm',
  lm_head: 'output',
} as const;

export const gpt2Layout: LayoutOf<Gpt2Config> = (config, specs) => {
  if (config.activation !== 'gelu_new')
    return E.left(unsupported('activation_function', 'gelu_new', config.activation));
  if (!config.scaleAttention) return E.left(unsupported('scale_attn_weights', 'true', false));
  if (config.scaleByLayer) return E.left(unsupported('scale_attn_by_inverse_layer_idx', 'false', true));
  return E.right({
    architecture: 'gpt2',
    metadata: {
      'gpt2.context_length': uint32(config.maxPositions),
      'gpt2.embedding_length': uint32(config.hiddenSize),
      'gpt2.block_count': uint32(config.numLayers),
      'gpt2.feed_forward_length': uint32(config.innerSize),
      'gpt2.attention.head_count': uint32(config.numHeads),
      'gpt2.attention.layer_norm_epsilon': float32(config.layerNormEps),
    },
    tensors: renamed(specs, /^transformer\.h\.(\d+)\.(.*)$/, inLayer, outside).map(({ spec, name }) => ({
      sources: [spec.name],
      name,
      arrangement: spec.kind === 'conv1d' ? { kind: 'transposed' } : asIs,
    })),
    extra: [],
    warnings: [],
  });
};
