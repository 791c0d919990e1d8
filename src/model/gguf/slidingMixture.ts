/** Mixtures in GGUF of whose layers every fourth sees all, and the others a window: K-EXAONE, Trinity, Mellum 2. */
import { uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { AfmoeConfig } from '../architectures/afmoe.js';
import type { LlamaConfig } from '../architectures/llama.js';
import type { MixtureConfig } from '../architectures/mixture.js';
import type { RopeByKind } from '../attention/ropeByKind.js';
import { unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { noBias, usualScalings } from './llamaLike.js';
import { corrected, mixtureLayout } from './mixture.js';
import { localRopeRefusal, patternRefusal, windowOf } from './sliding.js';

const windowMetadata =
  (name: string) =>
  (config: LlamaConfig): GgufMetadata => ({ [`${name}.attention.sliding_window`]: uint32(windowOf(config)) });

export const exaoneMoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  ...corrected,
  ...noBias,
  name: 'exaone-moe',
  slides: true,
  alias: (name) => name.replace(/\.mlp\.e_score_correction_bias$/, '.mlp.correction.bias'),
  metadata: windowMetadata('exaone-moe'),
  refusal: patternRefusal,
});

/** Embeddings are multiplied by the root of their width there. */
export const afmoeLayout: LayoutOf<AfmoeConfig> = mixtureLayout<AfmoeConfig>({
  ...corrected,
  ...noBias,
  name: 'afmoe',
  slides: true,
  names: {
    'self_attn.gate_proj': 'attn_gate',
    'mlp.router.gate': 'ffn_gate_inp',
    post_attention_layernorm: 'post_attention_norm',
    pre_mlp_layernorm: 'ffn_norm',
    post_mlp_layernorm: 'post_ffw_norm',
  },
  alias: (name) => name.replace(/\.mlp\.expert_bias$/, '.mlp.correction.bias'),
  metadata: windowMetadata('afmoe'),
  refusal: (config) =>
    config.embeddingMultiplier === 1 ? unsupported('mup_enabled', 'true', false) : patternRefusal(config),
});

export const mellumLayout: LayoutOf<MixtureConfig & RopeByKind> = mixtureLayout<MixtureConfig & RopeByKind>({
  name: 'mellum',
  scalings: usualScalings,
  biases: 'none',
  ownHead: true,
  normalized: true,
  ownSize: true,
  slides: true,
  metadata: windowMetadata('mellum'),
  refusal: localRopeRefusal,
});
