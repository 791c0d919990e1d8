/** Models in GGUF of whose layers every fourth sees all, and the others a window: Cohere 2, EXAONE 4, OLMo 3. */
import type { FatalError } from '../../errors.js';
import { float32, string, uint32 } from '../../formats/gguf/values.js';
import type { CohereConfig } from '../architectures/cohere.js';
import type { LlamaConfig } from '../architectures/llama.js';
import type { RopeByKind } from '../attention/ropeByKind.js';
import { unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { behind, layoutOf, noBias, rmsEps, usualScalings } from './llamaLike.js';

export const windowOf = ({ windows }: LlamaConfig): number => Math.max(0, ...windows);

export const patternRefusal = (config: LlamaConfig): FatalError | undefined => {
  const window = windowOf(config);
  return window > 0 && config.windows.every((own, i) => own === ((i + 1) % 4 === 0 ? 0 : window))
    ? undefined
    : unsupported('layer_types', 'full_attention for every fourth layer, else sliding_attention', config.windows);
};

/** There heads are as wide as the model together, and the head is the embedding. */
export const cohere2Layout: LayoutOf<CohereConfig> = layoutOf({
  name: 'cohere2',
  scalings: ['default'],
  biases: 'none',
  slides: true,
  metadata: (config) => ({
    'cohere2.attention.layer_norm_epsilon': float32(config.layerNormEps),
    'cohere2.attention.sliding_window': uint32(windowOf(config)),
    'cohere2.logit_scale': float32(config.logitScale),
    'cohere2.rope.scaling.type': string('none'),
  }),
  refusal: (config) => {
    const { tieWordEmbeddings, hiddenSize, numHeads, headDim } = config;
    if (!tieWordEmbeddings) return unsupported('tie_word_embeddings', 'true', tieWordEmbeddings);
    return hiddenSize === numHeads * headDim
      ? patternRefusal(config)
      : unsupported('head_dim', String(hiddenSize / numHeads), headDim);
  },
});

/** Layers slide in a model of 64 of them, which is the 32B, and in no other. */
const slidesThere = 64;

export const exaone4Layout: LayoutOf<LlamaConfig> = layoutOf({
  ...noBias,
  name: 'exaone4',
  names: behind,
  slides: true,
  metadata: (config) => ({
    ...rmsEps('exaone4')(config),
    ...(windowOf(config) > 0 ? { 'exaone4.attention.sliding_window': uint32(windowOf(config)) } : {}),
  }),
  refusal: (config) => {
    if (config.numLayers === slidesThere) return patternRefusal(config);
    return config.turns.every(Boolean) && windowOf(config) === 0
      ? undefined
      : unsupported('sliding_window', `null in a model of ${config.numLayers} layers`, windowOf(config));
  },
});

/** What slides turns without scaling there, by the same base. */
export const localRopeRefusal = (config: RopeByKind): FatalError | undefined => {
  const { rope, localRope } = config;
  if (localRope.theta !== rope.theta)
    return unsupported('rope_parameters.sliding_attention.rope_theta', String(rope.theta), localRope.theta);
  return localRope.scaling.kind === 'default'
    ? patternRefusal(config)
    : unsupported('rope_parameters.sliding_attention.rope_type', 'default', localRope.scaling.kind);
};

export const olmo3Layout: LayoutOf<RopeByKind> = layoutOf({
  name: 'olmo2',
  names: behind,
  scalings: usualScalings,
  biases: 'none',
  ownHead: true,
  slides: true,
  metadata: (config) => ({
    ...rmsEps('olmo2')(config),
    'olmo2.attention.sliding_window': uint32(windowOf(config)),
  }),
  refusal: localRopeRefusal,
});
