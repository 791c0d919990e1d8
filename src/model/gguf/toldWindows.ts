/** Models in GGUF that are told which layers see a window: Cohere 2 with experts, MiMo-V2-Flash, Laguna, Granite with windows. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { float32, int32s, string, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { CohereMoeConfig } from '../architectures/cohereMoe.js';
import type { GraniteConfig } from '../architectures/granite.js';
import type { Turning } from '../architectures/graniteSwa.js';
import type { LagunaConfig } from '../architectures/laguna.js';
import type { LlamaConfig } from '../architectures/llama.js';
import type { MimoConfig } from '../architectures/mimoV2Flash.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import { graniteFactors } from './granite.js';
import { unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { layoutOf, likeLlama, usualScalings } from './llamaLike.js';
import { corrected, mixtureLayout } from './mixture.js';
import { windowOf } from './sliding.js';

const slidesAt = ({ windows }: LlamaConfig): ReadonlyArray<boolean> => windows.map((window) => window > 0);

/** The window, and a 1 for each layer that sees it. */
export const windowMetadata = (name: string, config: LlamaConfig): GgufMetadata => ({
  [`${name}.attention.sliding_window`]: uint32(windowOf(config)),
  [`${name}.attention.sliding_window_pattern`]: int32s(slidesAt(config).map(Number)),
});

/** What slides turns without scaling there. */
const plainRefusal = ({ scaling }: RopeConfig): FatalError | undefined =>
  scaling.kind === 'default'
    ? undefined
    : unsupported('rope_parameters.sliding_attention.rope_type', 'default', scaling.kind);

/** Layers turn there that slide, and those before the first with experts. */
const turnRefusal = ({ turns, windows, routed }: CohereMoeConfig): FatalError | undefined => {
  const dense = Math.max(0, routed.indexOf(true));
  return windows.every((window, i) => turns[i] === (window > 0 || i < dense))
    ? undefined
    : unsupported('prefix_dense_sliding_window_pattern', '1', turns);
};

/** An expert that all tokens go to counts half there, and so do the others beside it. */
const halfRefusal = ({ sharedSize, mixtureScale }: CohereMoeConfig): FatalError | undefined =>
  sharedSize > 0 && mixtureScale !== 0.5
    ? unsupported('shared_expert_combination_strategy', 'average', 'sum')
    : undefined;

/** Norms without an epsilon of RMS norms are layer norms there. Pairs that turn lie beside each other already. */
export const cohere2MoeLayout: LayoutOf<CohereMoeConfig> = mixtureLayout<CohereMoeConfig>({
  ...corrected,
  name: 'cohere2moe',
  scalings: ['default'],
  biases: 'none',
  slides: true,
  metadata: (config) => ({
    ...windowMetadata('cohere2moe', config),
    'cohere2moe.attention.layer_norm_rms_epsilon': float32(config.norms.kind === 'rms' ? config.norms.eps : 0),
    'cohere2moe.attention.layer_norm_epsilon': float32(config.norms.kind === 'layer' ? config.norms.eps : 0),
    'cohere2moe.logit_scale': float32(config.logitScale),
    'cohere2moe.rope.scaling.type': string('none'),
  }),
  refusal: (config) => turnRefusal(config) ?? halfRefusal(config),
});

/** Of both kinds of layers as much of a head turns there. */
export const mimoLayout: LayoutOf<MimoConfig> = mixtureLayout<MimoConfig>({
  name: 'mimo2',
  scalings: ['default'],
  biases: 'none',
  ownHead: true,
  normalized: true,
  leading: true,
  ownSize: true,
  slides: true,
  names: { 'self_attn.sinks': 'attn_sinks' },
  alias: (name) =>
    name
      .replace(/\.attention_sink_bias$/, '.sinks.weight')
      .replace(/\.mlp\.gate\.e_score_correction_bias$/, '.mlp.correction.bias'),
  metadata: (config) => ({
    ...windowMetadata('mimo2', config),
    'mimo2.attention.head_count_kv': int32s(
      slidesAt(config).map((slides) => (slides ? 2 * config.numKvHeads : config.numKvHeads)),
    ),
    'mimo2.attention.value_length': uint32(config.valueDim),
    'mimo2.attention.value_scale': float32(config.valueScale),
    'mimo2.rope.freq_base_swa': float32(config.localRope.theta),
  }),
  refusal: ({ rope, localRope }) =>
    localRope.rotaryDim === rope.rotaryDim
      ? plainRefusal(localRope)
      : unsupported(
          'rope_parameters.sliding_attention.partial_rotary_factor',
          'that of the others',
          localRope.rotaryDim,
        ),
});

/** Every how many layers one sees all, the first among them; undefined: in no such turn. */
const periodOf = (config: LagunaConfig): number | undefined => {
  const slides = slidesAt(config);
  const period = slides.indexOf(false, 1);
  const full = period === -1 ? slides.length : period;
  return slides.every((own, i) => own === (i % full !== 0)) ? full : undefined;
};

const lagunaRefusal = (config: LagunaConfig): FatalError | undefined => {
  const { localRope, routerSoftcap, sharedSize } = config;
  if (routerSoftcap !== undefined) return unsupported('moe_router_logit_softcapping', '0', routerSoftcap);
  if (sharedSize === 0) return unsupported('shared_expert_intermediate_size', 'a whole number > 0', sharedSize);
  return windowOf(config) > 0 && periodOf(config) === undefined
    ? unsupported(
        'layer_types',
        'full_attention for the first of every so many layers, else sliding_attention',
        config.windows,
      )
    : plainRefusal(localRope);
};

/** A window is told where there is one, and every how many layers one sees all. */
export const lagunaLayout: LayoutOf<LagunaConfig> = mixtureLayout<LagunaConfig>({
  ...corrected,
  name: 'laguna',
  scalings: usualScalings,
  biases: 'none',
  slides: true,
  hasShared: true,
  sharedCount: false,
  names: { 'self_attn.g_proj': 'attn_gate' },
  metadata: (config) => ({
    'laguna.attention.head_count': int32s(config.heads),
    ...(windowOf(config) === 0
      ? {}
      : {
          'laguna.attention.sliding_window': uint32(windowOf(config)),
          'laguna.attention.sliding_window_pattern': uint32(periodOf(config) ?? 1),
          'laguna.rope.freq_base_swa': float32(config.localRope.theta),
          'laguna.rope.dimension_count_swa': uint32(config.localRope.rotaryDim),
        }),
  }),
  refusal: lagunaRefusal,
});

/** The base of all layers that turn; undefined: they have several. */
const baseOf = ({ thetas, rope }: Turning & LlamaConfig): number | undefined => {
  const [base = rope.theta, ...others] = new Set(thetas.filter((theta) => theta > 0));
  return others.length === 0 ? base : undefined;
};

const graniteSwaForm = layoutOf<GraniteConfig & Turning>({
  ...likeLlama,
  name: 'granite_swa',
  slides: true,
  names: { 'self_attn.sinks': 'attn_sinks' },
  alias: (name) => name.replace(/\.sinks$/, '.sinks.weight'),
  metadata: (config) => ({
    ...graniteFactors('granite_swa', config),
    ...windowMetadata('granite_swa', config),
    'granite_swa.attention.rope_pattern': int32s(config.thetas.map((theta) => Number(theta > 0))),
  }),
});

export const graniteSwaLayout: LayoutOf<GraniteConfig & Turning> = (config, specs) => {
  const theta = baseOf(config);
  return theta === undefined
    ? E.left(unsupported('layer_rope_theta', 'one number > 0, and 0', config.thetas))
    : graniteSwaForm({ ...config, rope: { ...config.rope, theta } }, specs);
};
