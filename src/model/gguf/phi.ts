/** Phi in GGUF. */
import * as E from 'fp-ts/lib/Either.js';
import { float32, uint32 } from '../../formats/gguf/values.js';
import type { PhiConfig } from '../architectures/phi.js';
import { asIs, renamed, unsupported, withHead } from './layout.js';
import type { LayoutOf } from './layout.js';

const inLayer = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.dense': 'attn_output',
  'mlp.fc1': 'ffn_up',
  'mlp.fc2': 'ffn_down',
} as const;

const outside = {
  'model.embed_tokens': 'token_embd',
  'model.final_layernorm': 'output_norm',
  lm_head: 'output',
} as const;

export const phiLayout: LayoutOf<PhiConfig> = (config, specs) => {
  const { rope } = config;
  if (config.headNorm) return E.left(unsupported('qk_layernorm', 'false', true));
  if (config.activation !== 'gelu_new') return E.left(unsupported('hidden_act', 'gelu_new', config.activation));
  if (rope.scaling.kind !== 'default') return E.left(unsupported('rope_scaling', 'none', rope.scaling.kind));
  const tensors = renamed(specs, /^model\.layers\.(\d+)\.(.*)$/, inLayer, outside).map(({ spec, name }) => ({
    sources: [spec.name],
    name,
    arrangement: asIs,
  }));
  return E.right({
    architecture: 'phi2',
    metadata: {
      'phi2.context_length': uint32(config.maxPositions),
      'phi2.embedding_length': uint32(config.hiddenSize),
      'phi2.block_count': uint32(config.numLayers),
      'phi2.feed_forward_length': uint32(config.intermediateSize),
      'phi2.attention.head_count': uint32(config.numHeads),
      'phi2.attention.head_count_kv': uint32(config.numKvHeads),
      'phi2.attention.layer_norm_epsilon': float32(config.layerNormEps),
      'phi2.rope.dimension_count': uint32(rope.rotaryDim),
      'phi2.rope.freq_base': float32(rope.theta),
    },
    tensors: withHead(tensors, 'model.embed_tokens'),
    extra: [],
    warnings: [],
  });
};
