/** Mamba-2, the model, in GGUF. */
import * as E from 'fp-ts/lib/Either.js';
import { float32, uint32 } from '../../formats/gguf/values.js';
import type { Mamba2Config } from '../architectures/mamba2.js';
import { asIs, renamed } from './layout.js';
import type { LayoutOf } from './layout.js';
import { mixerAlias, mixerArrangement, mixerMetadata, mixerNames, mixerRefusal } from './mamba2Mixer.js';

/** It knows no longest text; what published files say. */
const positions = 2 ** 20;

export const mamba2Layout: LayoutOf<Mamba2Config> = (config, specs) => {
  const refused = mixerRefusal(config.mamba, {
    convBias: 'use_conv_bias',
    bias: 'use_bias',
    groups: 'n_groups',
  });
  if (refused !== undefined) return E.left(refused);
  const tensors = renamed(
    specs,
    /^backbone\.layers\.(\d+)\.(.*)$/,
    { norm: 'attn_norm', ...mixerNames('mixer') },
    { 'backbone.embeddings': 'token_embd', 'backbone.norm_f': 'output_norm', lm_head: 'output' },
    mixerAlias,
  );
  return E.right({
    architecture: 'mamba2',
    metadata: {
      'mamba2.vocab_size': uint32(config.vocabSize),
      'mamba2.context_length': uint32(positions),
      'mamba2.embedding_length': uint32(config.hiddenSize),
      'mamba2.block_count': uint32(config.numLayers),
      'mamba2.feed_forward_length': uint32(0),
      'mamba2.attention.head_count': uint32(0),
      'mamba2.attention.layer_norm_rms_epsilon': float32(config.rmsNormEps),
      ...mixerMetadata('mamba2', config.mamba),
    },
    tensors: tensors.map(({ spec, name }) => ({
      sources: [spec.name],
      name,
      arrangement: mixerArrangement(config.mamba, name) ?? asIs,
    })),
    extra: [],
    warnings: [],
  });
};
