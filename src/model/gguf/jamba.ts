/** Jamba in GGUF. There a layer without keys mixes, and one without a router has a plain MLP. */
import { int32s, uint32 } from '../../formats/gguf/values.js';
import type { JambaConfig } from '../architectures/jamba.js';
import type { LayoutOf } from './layout.js';
import { layoutOf, noBias, rmsEps } from './llamaLike.js';
import { mixerAlias } from './mamba2Mixer.js';
import { mambaArrangement, mambaMetadata, mambaNames, mambaRefusal } from './mambaMixer.js';
import { withExperts } from './mixture.js';

export const jambaLayout: LayoutOf<JambaConfig> = withExperts(
  layoutOf<JambaConfig>({
    ...noBias,
    name: 'jamba',
    names: {
      ...mambaNames('mamba'),
      pre_ff_layernorm: 'ffn_norm',
      'feed_forward.gate_proj': 'ffn_gate',
      'feed_forward.up_proj': 'ffn_up',
      'feed_forward.down_proj': 'ffn_down',
      'feed_forward.router': 'ffn_gate_inp',
      'model.final_layernorm': 'output_norm',
    },
    alias: mixerAlias,
    arrange: (_, name) => mambaArrangement(name),
    metadata: (config) => {
      const { experts, attends, numKvHeads, mamba } = config;
      return {
        ...rmsEps('jamba')(config),
        'jamba.attention.head_count_kv': int32s(attends.map((has) => (has ? numKvHeads : 0))),
        'jamba.expert_count': uint32(experts.numExperts),
        'jamba.expert_used_count': uint32(experts.perToken),
        ...mambaMetadata('jamba', mamba),
      };
    },
    refusal: ({ mamba }) =>
      mambaRefusal(mamba, { expand: 'mamba_expand', convBias: 'mamba_conv_bias', bias: 'mamba_proj_bias' }),
  }),
);
