/** Models in GGUF that are nothing but mixers: Mamba, Falcon Mamba, Mamba-2. */
import { float32, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { ModelConfig } from '../config.js';
import type { TensorSpec } from '../weights.js';
import { asIs, renamed } from './layout.js';
import type { Arrangement, GgufLayout } from './layout.js';
import { mixerAlias } from './mamba2Mixer.js';

/** It knows no longest text; what published files say. */
const positions = 2 ** 20;

/** How llama.cpp has their mixers. */
export interface MixerForm {
  /** Its name there. */
  readonly name: string;
  /** Names of a mixer's tensors. */
  readonly names: Readonly<Record<string, string>>;
  readonly arrangement: (name: string) => Arrangement | undefined;
  readonly metadata: GgufMetadata;
}

export const mixersAloneLayout = (
  { vocabSize, hiddenSize, numLayers, rmsNormEps }: ModelConfig & { readonly rmsNormEps: number },
  specs: ReadonlyArray<TensorSpec>,
  { name, names, arrangement, metadata }: MixerForm,
): GgufLayout => {
  const tensors = renamed(
    specs,
    /^backbone\.layers\.(\d+)\.(.*)$/,
    { norm: 'attn_norm', ...names },
    { 'backbone.embeddings': 'token_embd', 'backbone.norm_f': 'output_norm', lm_head: 'output' },
    mixerAlias,
  );
  return {
    architecture: name,
    metadata: {
      [`${name}.vocab_size`]: uint32(vocabSize),
      [`${name}.context_length`]: uint32(positions),
      [`${name}.embedding_length`]: uint32(hiddenSize),
      [`${name}.block_count`]: uint32(numLayers),
      [`${name}.feed_forward_length`]: uint32(0),
      [`${name}.attention.head_count`]: uint32(0),
      [`${name}.attention.layer_norm_rms_epsilon`]: float32(rmsNormEps),
      ...metadata,
    },
    tensors: tensors.map(({ spec, name: called }) => ({
      sources: [spec.name],
      name: called,
      arrangement: arrangement(called) ?? asIs,
    })),
    extra: [],
    warnings: [],
  };
};
