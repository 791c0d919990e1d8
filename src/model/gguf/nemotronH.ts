/**
 * Nemotron-H in GGUF: layers of one part each. There a layer without keys and without an MLP mixes, and where one layer has experts all
 * MLPs are such.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { bool, float32, int32s, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { NemotronHConfig } from '../architectures/nemotronH.js';
import { unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { layoutOf } from './llamaLike.js';
import { mixerAlias, mixerArrangement, mixerMetadata, mixerNames, mixerRefusal } from './mamba2Mixer.js';
import { withExperts } from './mixture.js';

const names = {
  ...mixerNames('mixer'),
  norm: 'attn_norm',
  'mixer.q_proj': 'attn_q',
  'mixer.k_proj': 'attn_k',
  'mixer.v_proj': 'attn_v',
  'mixer.o_proj': 'attn_output',
  'mixer.up_proj': 'ffn_up',
  'mixer.down_proj': 'ffn_down',
  'mixer.gate': 'ffn_gate_inp',
  'mixer.correction': 'exp_probs_b',
  'mixer.shared_experts.up_proj': 'ffn_up_shexp',
  'mixer.shared_experts.down_proj': 'ffn_down_shexp',
  'mixer.fc1_latent_proj': 'ffn_latent_down',
  'mixer.fc2_latent_proj': 'ffn_latent_up',
  'model.embeddings': 'token_embd',
  'model.norm_f': 'output_norm',
} as const;

const alias = (name: string): string =>
  mixerAlias(name).replace(/\.mixer\.gate\.e_score_correction_bias$/, '.mixer.correction.bias');

/** What of `blocks` has a number, and 0 elsewhere. */
const ofBlocks = (
  { blocks }: NemotronHConfig,
  kinds: ReadonlyArray<NemotronHConfig['blocks'][number]>,
  value: number,
): ReadonlyArray<number> => blocks.map((kind) => (kinds.includes(kind) ? value : 0));

const expertsMetadata = (name: string, { mixture }: NemotronHConfig): GgufMetadata => {
  if (mixture === undefined) return {};
  const { numExperts, perToken, normalized, expertSize, sharedSize, latentSize, routing } = mixture;
  return {
    [`${name}.expert_count`]: uint32(numExperts),
    [`${name}.expert_used_count`]: uint32(perToken),
    [`${name}.expert_feed_forward_length`]: uint32(expertSize),
    [`${name}.expert_shared_feed_forward_length`]: uint32(sharedSize),
    [`${name}.expert_shared_count`]: uint32(1),
    [`${name}.expert_weights_norm`]: bool(normalized),
    [`${name}.expert_weights_scale`]: float32(routing.factor ?? 1),
    ...(routing.groups === undefined
      ? {}
      : {
          [`${name}.expert_group_count`]: uint32(routing.groups.count),
          [`${name}.expert_group_used_count`]: uint32(routing.groups.chosen),
        }),
    ...(latentSize === undefined ? {} : { [`${name}.moe_latent_size`]: uint32(latentSize) }),
  };
};

const metadata = (name: string, config: NemotronHConfig): GgufMetadata => {
  const { numKvHeads, intermediateSize, mixture, rmsNormEps, mamba } = config;
  return {
    [`${name}.attention.layer_norm_epsilon`]: float32(rmsNormEps),
    [`${name}.attention.layer_norm_rms_epsilon`]: float32(rmsNormEps),
    [`${name}.attention.head_count_kv`]: int32s(ofBlocks(config, ['attention'], numKvHeads)),
    [`${name}.feed_forward_length`]: int32s(
      ofBlocks(config, ['mlp', 'experts'], mixture === undefined ? intermediateSize : mixture.expertSize),
    ),
    [`${name}.rope.scaling.finetuned`]: bool(false),
    ...mixerMetadata(name, mamba),
    ...expertsMetadata(name, config),
  };
};

/** As slow as published models let a state change at least: there it may change more slowly, which is next to nothing. */
const slowest = 0.001;

const refusal = ({ mamba, mixture, mlpBias, blocks }: NemotronHConfig): FatalError | undefined => {
  if (mamba.least > slowest) return unsupported('time_step_min', `at most ${slowest}`, mamba.least);
  if (mixture !== undefined && blocks.includes('mlp'))
    return unsupported('layers_block_type', 'experts in every MLP, or in none', blocks);
  if (mixture !== undefined && mlpBias) return unsupported('mlp_bias', 'false', mlpBias);
  return mixerRefusal({ ...mamba, least: 0 }, { convBias: 'use_conv_bias', bias: 'use_bias', groups: 'n_groups' });
};

const rateWarnings = ({ mamba }: NemotronHConfig): ReadonlyArray<Warning> =>
  mamba.least > 0
    ? [
        warning('W_GGUF_RATES', 'llama.cpp does not hold the steps of mixers above a bound', {
          field: 'time_step_min',
          hint: `steps of less than ${mamba.least} change the state a little less than here`,
        }),
      ]
    : [];

const layoutNamed = (name: string): LayoutOf<NemotronHConfig> =>
  withExperts(
    layoutOf<NemotronHConfig>({
      name,
      names,
      alias,
      arrange: ({ mamba }, called) => mixerArrangement(mamba, called),
      scalings: ['default'],
      activation: 'relu2',
      biases: 'all',
      slides: true,
      metadata: (config) => metadata(name, config),
      refusal,
    }),
  );

/** Maps that no adapter is added to there. */
const bare = /\.ffn_latent_(?:down|up)\.weight$/;

export const nemotronHLayout: LayoutOf<NemotronHConfig> = (config, specs) =>
  pipe(
    layoutNamed(config.mixture === undefined ? 'nemotron_h' : 'nemotron_h_moe')(config, specs),
    E.map((layout) => ({
      ...layout,
      tensors: layout.tensors.map((tensor) => ({ ...tensor, fixed: bare.test(tensor.name) })),
      warnings: [...layout.warnings, ...rateWarnings(config)],
    })),
  );
