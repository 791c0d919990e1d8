/** GPT-2 and GPT-BigCode in GGUF. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { float32, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { Gpt2Config } from '../architectures/gpt2.js';
import type { GptBigcodeConfig } from '../architectures/gptBigcode.js';
import type { GptConfig } from '../architectures/gptConfig.js';
import type { TensorSpec } from '../weights.js';
import { asIs, renamed, unsupported } from './layout.js';
import type { GgufTensor, LayoutOf } from './layout.js';

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

const sizes = (name: string, config: GptConfig): GgufMetadata => ({
  [`${name}.context_length`]: uint32(config.maxPositions),
  [`${name}.embedding_length`]: uint32(config.hiddenSize),
  [`${name}.block_count`]: uint32(config.numLayers),
  [`${name}.feed_forward_length`]: uint32(config.innerSize),
  [`${name}.attention.head_count`]: uint32(config.numHeads),
  [`${name}.attention.layer_norm_epsilon`]: float32(config.layerNormEps),
});

const refusal = ({
  activation,
  scaleAttention,
}: GptConfig & { readonly scaleAttention: boolean }): FatalError | undefined => {
  if (activation !== 'gelu_new') return unsupported('activation_function', 'gelu_new', activation);
  return scaleAttention ? undefined : unsupported('scale_attn_weights', 'true', false);
};

const tensorsOf = (specs: ReadonlyArray<TensorSpec>): ReadonlyArray<GgufTensor> =>
  renamed(specs, /^transformer\.h\.(\d+)\.(.*)$/, inLayer, outside).map(({ spec, name }) => ({
    sources: [spec.name],
    name,
    arrangement: spec.kind === 'conv1d' ? { kind: 'transposed' } : asIs,
  }));

export const gpt2Layout: LayoutOf<Gpt2Config> = (config, specs) => {
  const refused =
    refusal(config) ??
    (config.scaleByLayer ? unsupported('scale_attn_by_inverse_layer_idx', 'false', true) : undefined);
  if (refused !== undefined) return E.left(refused);
  return E.right({
    architecture: 'gpt2',
    metadata: sizes('gpt2', config),
    tensors: tensorsOf(specs),
    extra: [],
    warnings: [],
  });
};

export const gptBigcodeLayout: LayoutOf<GptBigcodeConfig> = (config, specs) => {
  const refused = refusal(config) ?? (config.numKvHeads === 1 ? undefined : unsupported('multi_query', 'true', false));
  if (refused !== undefined) return E.left(refused);
  return E.right({
    architecture: 'starcoder',
    metadata: { ...sizes('starcoder', config), 'starcoder.attention.head_count_kv': uint32(1) },
    tensors: tensorsOf(specs),
    extra: [],
    warnings: [],
  });
};
