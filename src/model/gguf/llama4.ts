/** Llama 4 in GGUF. Chunks, how queries grow, and which models norm what turns, are told by nothing there. */
import type { FatalError } from '../../errors.js';
import { uint32 } from '../../formats/gguf/values.js';
import type { Llama4Config } from '../architectures/llama4.js';
import { unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { layoutOf, likeLlama, rmsEps } from './llamaLike.js';
import { withExperts } from './mixture.js';

const chunk = 8192;
const growth = { beta: 0.1, every: 8192, ahead: 1 } as const;
/** The larger one, of so many experts, has no norms. */
const expertsWithoutNorms = 128;

/** Every how many layers one has experts; undefined: in no such turn. */
const stepOf = ({ routed }: Llama4Config): number | undefined => {
  const step = routed.indexOf(true) + 1;
  return step > 0 && routed.every((has, i) => has === ((i + 1) % step === 0)) ? step : undefined;
};

const grows = (own: Llama4Config['growth']): boolean =>
  own?.beta === growth.beta && own.every === growth.every && own.ahead === growth.ahead;

const refusal = (config: Llama4Config): FatalError | undefined => {
  const { chunks, turns, normsTurned, experts } = config;
  const isFourth = (i: number): boolean => (i + 1) % 4 === 0;
  if (turns.some((turn, i) => turn === isFourth(i)))
    return unsupported('no_rope_layers', '0 for every fourth layer, else 1', turns.map(Number));
  if (chunks.some((size, i) => size !== (isFourth(i) ? 0 : chunk)))
    return unsupported('attention_chunk_size', `${chunk}, and full_attention for every fourth layer`, chunks);
  if (!grows(config.growth)) return unsupported('attn_scale', JSON.stringify(growth), config.growth ?? null);
  if (normsTurned !== (experts.numExperts !== expertsWithoutNorms))
    return unsupported('use_qk_norm', String(!normsTurned), normsTurned);
  return stepOf(config) === undefined
    ? unsupported('moe_layers', 'experts in every so many layers', config.routed)
    : undefined;
};

/** Pairs lie beside each other already. */
export const llama4Layout: LayoutOf<Llama4Config> = withExperts(
  layoutOf<Llama4Config>({
    name: 'llama4',
    scalings: likeLlama.scalings,
    biases: 'none',
    slides: true,
    names: {
      'feed_forward.gate_proj': 'ffn_gate',
      'feed_forward.up_proj': 'ffn_up',
      'feed_forward.down_proj': 'ffn_down',
      'feed_forward.router': 'ffn_gate_inp',
      'feed_forward.shared_expert.gate_proj': 'ffn_gate_shexp',
      'feed_forward.shared_expert.up_proj': 'ffn_up_shexp',
      'feed_forward.shared_expert.down_proj': 'ffn_down_shexp',
    },
    metadata: (config) => ({
      ...rmsEps('llama4')(config),
      'llama4.expert_count': uint32(config.experts.numExperts),
      'llama4.expert_used_count': uint32(config.experts.perToken),
      'llama4.expert_feed_forward_length': uint32(config.expertSize),
      'llama4.interleave_moe_layer_step': uint32(stepOf(config) ?? 1),
    }),
    refusal,
  }),
);
