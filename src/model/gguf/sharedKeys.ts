/** Models in GGUF whose layers may read keys and values of earlier ones: Gemma 4. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import { float32, int32s, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { Gemma4Config } from '../architectures/gemma4Config.js';
import type { SharedKeysConfig } from '../architectures/sharedKeys.js';
import { unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { behind, layoutOf, rmsEps } from './llamaLike.js';
import { withExperts } from './mixture.js';

/** What is made of the tokens for each layer. */
const ofTokens = {
  'model.embed_tokens_per_layer': 'per_layer_token_embd',
  'model.per_layer_model_projection': 'per_layer_model_proj',
  'model.per_layer_projection_norm': 'per_layer_proj_norm',
  per_layer_input_gate: 'inp_gate',
  per_layer_projection: 'proj',
  post_per_layer_input_norm: 'post_norm',
} as const;

const sharedLayers = ({ keysOf }: SharedKeysConfig): number => keysOf.filter((source, i) => source !== i).length;

const slides = (config: SharedKeysConfig, i: number): boolean => (config.windows[i] ?? 0) > 0;

/** There layers without keys read those of the last layer with them, or, where they slide, of the one before it. */
const keysRefusal = (config: SharedKeysConfig): FatalError | undefined => {
  const first = config.numLayers - sharedLayers(config);
  return config.keysOf.every((source, i) => i < first || source === first - (slides(config, i) ? 2 : 1))
    ? undefined
    : unsupported(
        'num_kv_shared_layers',
        'a sliding layer and then one that sees all as the last with keys of their own',
        first,
      );
};

const sharing = (name: string, config: SharedKeysConfig): GgufMetadata => ({
  ...rmsEps(name)(config),
  [`${name}.attention.sliding_window`]: uint32(Math.max(0, ...config.windows)),
  [`${name}.attention.sliding_window_pattern`]: int32s(config.windows.map((window) => (window > 0 ? 1 : 0))),
  [`${name}.attention.shared_kv_layers`]: uint32(sharedLayers(config)),
  [`${name}.embedding_length_per_layer_input`]: uint32(config.perLayer?.width ?? 0),
  ...(config.logitSoftcap === undefined ? {} : { [`${name}.final_logit_softcapping`]: float32(config.logitSoftcap) }),
});

const gemma4Names = {
  ...behind,
  ...ofTokens,
  pre_feedforward_layernorm: 'ffn_norm',
  layer_scalar: 'layer_output_scale',
  router: 'ffn_gate_inp',
  'router.proj': 'ffn_gate_inp',
  expertScales: 'ffn_down_exps',
  pre_feedforward_layernorm_2: 'pre_ffw_norm_2',
  post_feedforward_layernorm_1: 'post_ffw_norm_1',
  post_feedforward_layernorm_2: 'post_ffw_norm_2',
} as const;

const gemma4Alias = (name: string): string =>
  name
    .replace(/\.layer_scalar$/, '.layer_scalar.weight')
    // Factors of experts are factors of what their last maps put out.
    .replace(/\.router\.per_expert_scale$/, '.expertScales.scale');

type OfGlobal = Gemma4Config & { readonly local: Gemma4Config };

const gemma4Refusal = (config: OfGlobal): FatalError | undefined => {
  const { perLayer, vocabSize, local, windows } = config;
  if (local.rope.scaling.kind !== 'default')
    return unsupported('rope_parameters.sliding_attention.rope_type', 'default', local.rope.scaling.kind);
  if (perLayer !== undefined && perLayer.rows !== vocabSize)
    return unsupported('vocab_size_per_layer_input', String(vocabSize), perLayer.rows);
  return windows.some((window) => window > 0)
    ? keysRefusal(config)
    : unsupported('layer_types', 'sliding_attention for some layers', windows);
};

const gemma4Metadata = (config: OfGlobal): GgufMetadata => {
  const { numLayers, intermediateSize, doubleWide, keysOf, sizes, local, routing } = config;
  const wide = Array.from({ length: numLayers }, (_, i) => (doubleWide && keysOf[i] !== i ? 2 : 1));
  return {
    ...sharing('gemma4', config),
    'gemma4.feed_forward_length': int32s(wide.map((factor) => factor * intermediateSize)),
    'gemma4.attention.head_count_kv': int32s(sizes.map(({ numKvHeads }) => numKvHeads)),
    'gemma4.attention.key_length_swa': uint32(local.headDim),
    'gemma4.attention.value_length_swa': uint32(local.headDim),
    'gemma4.rope.freq_base_swa': float32(local.rope.theta),
    'gemma4.rope.dimension_count_swa': uint32(local.rope.rotaryDim),
    ...(routing === undefined
      ? {}
      : {
          'gemma4.expert_count': uint32(routing.numExperts),
          'gemma4.expert_used_count': uint32(routing.perToken),
          'gemma4.expert_feed_forward_length': uint32(routing.expertSize),
        }),
  };
};

const gemma4OfGlobal: LayoutOf<OfGlobal> = withExperts(
  layoutOf<OfGlobal>({
    name: 'gemma4',
    names: gemma4Names,
    alias: gemma4Alias,
    scalings: ['proportional'],
    activation: 'gelu_new',
    biases: 'none',
    slides: true,
    metadata: gemma4Metadata,
    refusal: gemma4Refusal,
  }),
);

/** Maps that no adapter is added to there. */
const fixed: ReadonlyArray<string> = ['per_layer_model_proj.weight'];

/** There the layers that see all are the usual ones. */
export const gemma4Layout: LayoutOf<Gemma4Config> = (config, specs) =>
  pipe(
    gemma4OfGlobal({ ...config, rope: config.globalRope, headDim: config.globalRope.rotaryDim, local: config }, specs),
    E.map((layout) => ({
      ...layout,
      tensors: layout.tensors.map((tensor) => ({ ...tensor, fixed: fixed.includes(tensor.name) })),
    })),
  );
