/** Mamba and Falcon Mamba in GGUF, which are one architecture there. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { bool, float32, uint32 } from '../../formats/gguf/values.js';
import type { MambaConfig } from '../architectures/mamba.js';
import { asIs, renamed, unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { mambaAlias, mambaArrangement, mambaMetadata, mambaNames, mambaRefusal } from './mambaMixer.js';

/** It knows no longest text; what published files say. */
const positions = 2 ** 20;

/** Its norms take the epsilon of the layers' there; the published models' are so small, both, that nothing comes of it. */
const epsilonRefusal = ({ mamba: { norms }, rmsNormEps }: MambaConfig): FatalError | undefined =>
  norms === undefined || norms.eps === rmsNormEps || Math.max(norms.eps, rmsNormEps) <= 1e-5
    ? undefined
    : unsupported('mixer_rms_eps', String(rmsNormEps), norms.eps);

export const mambaLayout: LayoutOf<MambaConfig> = (config, specs) => {
  const refused =
    mambaRefusal(config.mamba, { expand: 'expand', convBias: 'use_conv_bias', bias: 'use_bias' }) ??
    epsilonRefusal(config);
  if (refused !== undefined) return E.left(refused);
  const tensors = renamed(
    specs,
    /^backbone\.layers\.(\d+)\.(.*)$/,
    { norm: 'attn_norm', ...mambaNames('mixer') },
    { 'backbone.embeddings': 'token_embd', 'backbone.norm_f': 'output_norm', lm_head: 'output' },
    mambaAlias,
  );
  return E.right({
    architecture: 'mamba',
    metadata: {
      'mamba.vocab_size': uint32(config.vocabSize),
      'mamba.context_length': uint32(positions),
      'mamba.embedding_length': uint32(config.hiddenSize),
      'mamba.block_count': uint32(config.numLayers),
      'mamba.feed_forward_length': uint32(0),
      'mamba.attention.head_count': uint32(0),
      'mamba.attention.layer_norm_rms_epsilon': float32(config.rmsNormEps),
      ...mambaMetadata('mamba', config.mamba),
      'mamba.ssm.dt_b_c_rms': bool(config.mamba.norms !== undefined),
    },
    tensors: tensors.map(({ spec, name }) => ({
      sources: [spec.name],
      name,
      arrangement: mambaArrangement(name) ?? asIs,
    })),
    extra: [],
    warnings: [],
  });
};
