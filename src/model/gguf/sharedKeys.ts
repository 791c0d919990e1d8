/** Models in GGUF whose layers may read keys and values of earlier ones: Gemma 3n, Gemma 4. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import { float32, int32s, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { Gemma3nConfig } from '../architectures/gemma3nConfig.js';
import type { Gemma4Config } from '../architectures/gemma4Config.js';
import { hasKeys } from '../architectures/sharedKeys.js';
import type { SharedKeysConfig } from '../architectures/sharedKeys.js';
import { asIs, unsupported } from './layout.js';
import type { GgufTensor, LayoutOf } from './layout.js';
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
  // Untold it is 30 there; 0 caps nothing.
  [`${name}.final_logit_softcapping`]: float32(config.logitSoftcap ?? 0),
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
const bare = /^(?:per_layer_model_proj|altup_(?:unembd_)?proj|blk\.\d+\.altup_router)\.weight$/;

/** A layout whose maps of those names are known to take none. */
const withBare =
  <C extends SharedKeysConfig>(layout: LayoutOf<C>): LayoutOf<C> =>
  (config, specs) =>
    pipe(
      layout(config, specs),
      E.map((whole) => ({
        ...whole,
        tensors: whole.tensors.map((tensor) => ({ ...tensor, fixed: bare.test(tensor.name) })),
      })),
    );

const downs = /^blk\.(\d+)\.ffn_down_exps\.weight$/;

/** There the layers that see all are the usual ones. Factors of experts multiply what their last maps put out, without an adapter. */
export const gemma4Layout: LayoutOf<Gemma4Config> = (config, specs) =>
  pipe(
    withBare(gemma4OfGlobal)(
      { ...config, rope: config.globalRope, headDim: config.globalRope.rotaryDim, local: config },
      specs,
    ),
    E.map((layout) => ({
      ...layout,
      tensors: layout.tensors.map((tensor) => {
        const layer = downs.exec(tensor.name)?.[1];
        return layer === undefined ? tensor : { ...tensor, factorsOf: `model.layers.${layer}.router.per_expert_scale` };
      }),
    })),
  );

type Gemma3nOfGlobal = Gemma3nConfig & { readonly local: Gemma3nConfig };

/** Layers with keys of their own, sizes and sparse layers are those of the published models there. */
const taken = { ownKeys: 20, streams: 4, width: 256, rank: 64, sparse: 10, share: 0.95 } as const;

const gemma3nRefusal = (config: Gemma3nOfGlobal): FatalError | undefined => {
  const { streams, active, perLayer, laurelRank, scalesCorrected, sparsity, widths, local, vocabSize } = config;
  if (streams !== taken.streams) return unsupported('altup_num_inputs', String(taken.streams), streams);
  if (active !== 0) return unsupported('altup_active_idx', '0', active);
  if (!scalesCorrected) return unsupported('altup_correct_scale', 'true', scalesCorrected);
  if (laurelRank !== taken.rank) return unsupported('laurel_rank', String(taken.rank), laurelRank);
  if (perLayer?.width !== taken.width)
    return unsupported('hidden_size_per_layer_input', String(taken.width), perLayer?.width);
  if (perLayer.rows > vocabSize)
    return unsupported('vocab_size_per_layer_input', `at most ${vocabSize}`, perLayer.rows);
  if (widths.some((width) => width !== widths[0])) return unsupported('intermediate_size', 'one number', widths);
  if (sparsity.some((share, i) => share !== (i < taken.sparse ? taken.share : 0)))
    return unsupported('activation_sparsity_pattern', '0.95 for the first ten layers, else 0', sparsity);
  if (config.windows.some((window, i) => window > 0 === ((i + 1) % 5 === 0)))
    return unsupported('layer_types', 'full_attention for every fifth layer, else sliding_attention', config.windows);
  const own = config.numLayers - sharedLayers(config);
  if (own !== taken.ownKeys) return unsupported('num_kv_shared_layers', String(config.numLayers - taken.ownKeys), own);
  if (config.logitSoftcap === undefined) return unsupported('final_logit_softcapping', 'a number', null);
  return local.rope.scaling.kind === 'default'
    ? undefined
    : unsupported('rope_parameters.sliding_attention.rope_type', 'default', local.rope.scaling.kind);
};

const stacked = /^model\.(altup_projections|altup_unembed_projections)\.\d+\.weight$/;

/** Maps between the streams, those to the others and those back from them. */
const ofStreams = (specs: Parameters<LayoutOf<Gemma3nConfig>>[1]): ReadonlyArray<GgufTensor> =>
  (
    [
      ['altup_projections', 'altup_proj'],
      ['altup_unembed_projections', 'altup_unembd_proj'],
    ] as const
  ).map(([here, there]) => ({
    sources: specs.flatMap(({ name }) => (stacked.exec(name)?.[1] === here ? [name] : [])),
    name: `${there}.weight`,
    arrangement: asIs,
  }));

/** Layers that read keys and values of others have maps to them there, of which none is used: those of the layer that they read. */
const unread = (config: SharedKeysConfig): ReadonlyArray<GgufTensor> =>
  config.keysOf.flatMap((source, i) =>
    hasKeys(config, i)
      ? []
      : (
          [
            ['k_proj', 'attn_k'],
            ['v_proj', 'attn_v'],
            ['k_norm', 'attn_k_norm'],
          ] as const
        ).map(([here, there]) => ({
          sources: [`model.layers.${source}.self_attn.${here}.weight`],
          name: `blk.${i}.${there}.weight`,
          arrangement: asIs,
        })),
  );

const gemma3nOfGlobal: LayoutOf<Gemma3nOfGlobal> = layoutOf<Gemma3nOfGlobal>({
  name: 'gemma3n',
  names: {
    ...behind,
    ...ofTokens,
    pre_feedforward_layernorm: 'ffn_norm',
    'altup.correct_output_scale': 'altup_correct_scale',
    'altup.correction_coefs': 'altup_correct_coef',
    'altup.prediction_coefs': 'altup_predict_coef',
    'altup.modality_router': 'altup_router',
    'altup.router_norm': 'altup_router_norm',
    'laurel.linear_left': 'laurel_l',
    'laurel.linear_right': 'laurel_r',
    'laurel.post_laurel_norm': 'laurel_post_norm',
  },
  alias: (name) => name.replace(/\.correct_output_scale$/, '.correct_output_scale.weight'),
  // Tokens of images have no rows in the table of all layers.
  arrange: ({ vocabSize }, name) =>
    name === 'per_layer_token_embd.weight' ? { kind: 'padded', rows: vocabSize } : undefined,
  scalings: ['default'],
  activation: 'gelu_new',
  biases: 'none',
  slides: true,
  metadata: (config) => ({
    ...sharing('gemma3n', config),
    'gemma3n.rope.freq_base_swa': float32(config.local.rope.theta),
  }),
  refusal: gemma3nRefusal,
});

export const gemma3nLayout: LayoutOf<Gemma3nConfig> = withBare((config, specs) =>
  pipe(
    gemma3nOfGlobal(
      { ...config, rope: config.globalRope, local: config },
      specs.filter(({ name }) => !stacked.test(name)),
    ),
    E.map((layout) => ({ ...layout, tensors: [...layout.tensors, ...ofStreams(specs), ...unread(config)] })),
  ),
);
