/** Granite 4 and Granite with experts in GGUF. Without mixers and without experts it is Granite there. */
import { bool, int32s, float32, uint32 } from '../../formats/gguf/values.js';
import type { FatalError } from '../../errors.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { GraniteConfig } from '../architectures/granite.js';
import type { GraniteMoeConfig } from '../architectures/graniteMoe.js';
import type { Mamba2Shape } from '../recurrent/mamba2.js';
import { halved, withCut } from './layout.js';
import type { LayoutOf } from './layout.js';
import { layoutOf, likeLlama, rmsEps } from './llamaLike.js';
import { mixerAlias, mixerArrangement, mixerMetadata, mixerNames, mixerRefusal, widthRefusal } from './mamba2Mixer.js';
import { withExperts } from './mixture.js';

/** The numbers that are Granite's own. */
export const graniteFactors = (name: string, config: GraniteConfig): GgufMetadata => ({
  ...rmsEps(name)(config),
  [`${name}.attention.scale`]: float32(config.attentionScale),
  [`${name}.embedding_scale`]: float32(config.embeddingMultiplier),
  [`${name}.residual_scale`]: float32(config.residualMultiplier),
  [`${name}.logit_scale`]: float32(config.logitsScaling),
});

export const graniteLayout: LayoutOf<GraniteConfig> = layoutOf({
  ...likeLlama,
  name: 'granite',
  metadata: (config) => graniteFactors('granite', config),
});

const mixerOf = ({ mixers }: GraniteMoeConfig): Mamba2Shape | undefined => mixers.find((mixer) => mixer !== undefined);

const metadata = (name: string, config: GraniteMoeConfig): GgufMetadata => {
  const { experts, expertSize, sharedSize, mixers, numKvHeads, turns } = config;
  const mixer = mixerOf(config);
  return {
    ...graniteFactors(name, config),
    // Positions turn where angles were trained with, they say there.
    [`${name}.rope.scaling.finetuned`]: bool(turns.every(Boolean)),
    ...(experts === undefined
      ? {}
      : {
          [`${name}.expert_count`]: uint32(experts.numExperts),
          [`${name}.expert_used_count`]: uint32(experts.perToken),
          [`${name}.feed_forward_length`]: uint32(expertSize),
          [`${name}.expert_shared_feed_forward_length`]: uint32(sharedSize),
        }),
    ...(mixer === undefined
      ? {}
      : {
          ...mixerMetadata(name, mixer),
          // Layers that mix are told by their keys, of which they have none.
          [`${name}.attention.head_count_kv`]: int32s(mixers.map((own) => (own === undefined ? numKvHeads : 0))),
        }),
  };
};

const refusal = (config: GraniteMoeConfig): FatalError | undefined => {
  const mixer = mixerOf(config);
  return mixer && (mixerRefusal(mixer) ?? widthRefusal(mixer));
};

const joined = /^model\.layers\.(\d+)\.shared_mlp\.input_linear\.weight$/;

const layoutNamed = (name: string, shared: '' | '_shexp'): LayoutOf<GraniteMoeConfig> =>
  withCut(
    withExperts(
      layoutOf<GraniteMoeConfig>({
        ...likeLlama,
        name,
        names: {
          ...mixerNames('mamba'),
          'block_sparse_moe.router.layer': 'ffn_gate_inp',
          'shared_mlp.output_linear': `ffn_down${shared}`,
        },
        alias: mixerAlias,
        arrange: (config, called) => {
          const mixer = mixerOf(config);
          return mixer && mixerArrangement(mixer, called);
        },
        metadata: (config) => metadata(name, config),
        refusal,
      }),
    ),
    joined,
    ({ sharedSize }) => halved(`ffn_gate${shared}`, `ffn_up${shared}`, sharedSize),
  );

export const graniteMoeLayout: LayoutOf<GraniteMoeConfig> = (config, specs) => {
  const dense = config.experts === undefined;
  const alike = dense ? 'granite' : 'granitemoe';
  return layoutNamed(mixerOf(config) === undefined ? alike : 'granitehybrid', dense ? '' : '_shexp')(config, specs);
};
