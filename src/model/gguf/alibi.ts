/** Models without positions but ALiBi's in GGUF: BLOOM, MPT. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { float32, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { BloomConfig } from '../architectures/bloom.js';
import type { MptConfig } from '../architectures/mpt.js';
import type { ModelConfig } from '../config.js';
import type { TensorSpec } from '../weights.js';
import { asIs, renamed, unsupported } from './layout.js';
import type { Arrangement, GgufLayout, LayoutOf } from './layout.js';

interface Form {
  /** llama.cpp's name. */
  readonly name: string;
  /** Paths of layers here, up to the module. */
  readonly layers: RegExp;
  readonly inLayer: Readonly<Record<string, string>>;
  readonly outside: Readonly<Record<string, string>>;
  readonly arrangement?: (module: string) => Arrangement;
  readonly metadata?: GgufMetadata;
}

interface Normed extends ModelConfig {
  readonly layerNormEps: number;
}

const layout = (
  config: Normed,
  specs: ReadonlyArray<TensorSpec>,
  { name, layers, inLayer, outside, arrangement = () => asIs, metadata }: Form,
): E.Either<FatalError, GgufLayout> =>
  E.right({
    architecture: name,
    metadata: {
      [`${name}.vocab_size`]: uint32(config.vocabSize),
      [`${name}.context_length`]: uint32(config.maxPositions),
      [`${name}.embedding_length`]: uint32(config.hiddenSize),
      [`${name}.block_count`]: uint32(config.numLayers),
      [`${name}.feed_forward_length`]: uint32(4 * config.hiddenSize),
      [`${name}.attention.head_count`]: uint32(config.numHeads),
      [`${name}.attention.head_count_kv`]: uint32(config.numKvHeads),
      [`${name}.attention.layer_norm_epsilon`]: float32(config.layerNormEps),
      ...metadata,
    },
    tensors: renamed(specs, layers, inLayer, outside).map(({ spec, module, name: called }) => ({
      sources: [spec.name],
      name: called,
      arrangement: arrangement(module),
    })),
    extra: [],
    warnings: [],
  });

export const bloomLayout: LayoutOf<BloomConfig> = (config, specs) => {
  const { numHeads, headDim } = config;
  return layout(config, specs, {
    name: 'bloom',
    layers: /^transformer\.h\.(\d+)\.(.*)$/,
    inLayer: {
      input_layernorm: 'attn_norm',
      'self_attention.query_key_value': 'attn_qkv',
      'self_attention.dense': 'attn_output',
      post_attention_layernorm: 'ffn_norm',
      'mlp.dense_h_to_4h': 'ffn_up',
      'mlp.dense_4h_to_h': 'ffn_down',
    },
    outside: {
      'transformer.word_embeddings': 'token_embd',
      'transformer.word_embeddings_layernorm': 'token_embd_norm',
      'transformer.ln_f': 'output_norm',
      lm_head: 'output',
    },
    arrangement: (module) =>
      module === 'self_attention.query_key_value'
        ? { kind: 'ungrouped', groups: numHeads, sizes: [headDim, headDim, headDim] }
        : asIs,
  });
};

export const mptLayout: LayoutOf<MptConfig> = (config, specs) => {
  const { attentionScale, headDim, clip } = config;
  if (Math.abs(attentionScale * Math.sqrt(headDim) - 1) > 1e-6)
    return E.left(unsupported('attn_config.softmax_scale', 'null', attentionScale));
  return layout(config, specs, {
    name: 'mpt',
    layers: /^transformer\.blocks\.(\d+)\.(.*)$/,
    inLayer: {
      norm_1: 'attn_norm',
      'attn.Wqkv': 'attn_qkv',
      'attn.out_proj': 'attn_output',
      norm_2: 'ffn_norm',
      'ffn.up_proj': 'ffn_up',
      'ffn.down_proj': 'ffn_down',
    },
    outside: { 'transformer.wte': 'token_embd', 'transformer.norm_f': 'output_norm', lm_head: 'output' },
    metadata: {
      'mpt.attention.max_alibi_bias': float32(8),
      ...(clip === undefined ? {} : { 'mpt.attention.clamp_kqv': float32(clip) }),
    },
  });
};
