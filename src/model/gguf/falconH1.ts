/** Falcon-H1 in GGUF, whose factors are multiplied into its weights there, and Bamba, which is Granite 4 there. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { bool, float32, int32s } from '../../formats/gguf/values.js';
import type { FalconH1Config } from '../architectures/falconH1.js';
import { asIs, counted, inTurn, rowsAt, scaled, scaledBy } from './layout.js';
import type { Arrangement, LayoutOf } from './layout.js';
import { layoutOf, rmsEps, usualScalings } from './llamaLike.js';
import { mixerAlias, mixerArrangement, mixerMetadata, mixerNames, mixerRefusal, widthRefusal } from './mamba2Mixer.js';

const names = {
  ...mixerNames('mamba'),
  pre_ff_layernorm: 'ffn_norm',
  'feed_forward.gate_proj': 'ffn_gate',
  'feed_forward.up_proj': 'ffn_up',
  'feed_forward.down_proj': 'ffn_down',
  'model.final_layernorm': 'output_norm',
} as const;

/** A map of what is multiplied by `before`, whose parts z, x, B, C and dt are multiplied by numbers of their own. */
const ofParts = ({ mamba, factors }: FalconH1Config): Arrangement => {
  const { heads, headDim, groups, stateDim, factors: own = [1, 1, 1, 1, 1] } = mamba;
  const rows = [heads * headDim, heads * headDim, groups * stateDim, groups * stateDim, heads];
  return scaled(rows.map((size, part) => ({ rows: size, by: factors.mixerIn * (own[part] ?? 1) })));
};

/** What multiplies the tensors of that name there. */
const factorOf = (config: FalconH1Config, name: string): Arrangement => {
  const { embedding, head, key, attentionIn, attentionOut, mixerOut, gate, down } = config.factors;
  switch (name.replace(/^blk\.\d+\./, '')) {
    case 'token_embd.weight':
      return scaledBy(embedding);
    case 'output.weight':
      return scaledBy(head);
    case 'attn_q.weight':
    case 'attn_v.weight':
      return scaledBy(attentionIn);
    case 'attn_k.weight':
      return scaledBy(attentionIn * key);
    case 'attn_output.weight':
      return scaledBy(attentionOut);
    case 'ssm_in.weight':
      return ofParts(config);
    case 'ssm_out.weight':
      return scaledBy(mixerOut);
    case 'ffn_gate.weight':
      return scaledBy(gate);
    case 'ffn_down.weight':
      return scaledBy(down);
    default:
      return asIs;
  }
};

const multiplies = (arrangement: Arrangement): boolean =>
  arrangement.kind === 'scaled' && arrangement.runs.some(({ by }) => by !== 1);

const unscaled: LayoutOf<FalconH1Config> = layoutOf<FalconH1Config>({
  name: 'falcon-h1',
  names,
  // There this norm's name ends so.
  alias: (name) => mixerAlias(name).replace(/\.pre_ff_layernorm\.weight$/, '.pre_ff_layernorm.alone'),
  scalings: usualScalings,
  biases: 'none',
  ownHead: true,
  arrange: ({ mamba }, name) => mixerArrangement(mamba, name),
  metadata: (config) => ({ ...rmsEps('falcon-h1')(config), ...mixerMetadata('falcon-h1', config.mamba) }),
  refusal: ({ mamba }) => mixerRefusal(mamba),
});

export const falconH1Layout: LayoutOf<FalconH1Config> = (config, specs) =>
  pipe(
    unscaled(config, specs),
    E.map((layout) => ({
      ...layout,
      tensors: layout.tensors.map((tensor) => {
        const factor = factorOf(config, tensor.name);
        return multiplies(factor) ? { ...tensor, arrangement: inTurn(tensor.arrangement, factor) } : tensor;
      }),
    })),
  );

/** Of each head, entries that turn together lie beside each other there; the others stay where they are. */
const partlyInterleaved = (heads: number, { headDim, rope: { rotaryDim } }: FalconH1Config): Arrangement => {
  const half = rotaryDim / 2;
  const order = counted(headDim).map((i) => (i < rotaryDim ? Math.floor(i / 2) + (i % 2) * half : i));
  return rowsAt(counted(heads).flatMap((head) => order.map((row) => head * headDim + row)));
};

export const bambaLayout: LayoutOf<FalconH1Config> = layoutOf<FalconH1Config>({
  name: 'granitehybrid',
  names,
  alias: mixerAlias,
  scalings: usualScalings,
  biases: 'none',
  arrange: (config, name) => {
    if (name.endsWith('.attn_q.weight')) return partlyInterleaved(config.numHeads, config);
    if (name.endsWith('.attn_k.weight')) return partlyInterleaved(config.numKvHeads, config);
    return mixerArrangement(config.mamba, name);
  },
  metadata: (config) => ({
    ...rmsEps('granitehybrid')(config),
    ...mixerMetadata('granitehybrid', config.mamba),
    // Positions turn; factors are those of Granite, which knows them.
    'granitehybrid.rope.scaling.finetuned': bool(true),
    'granitehybrid.attention.scale': float32(config.attentionScale),
    'granitehybrid.embedding_scale': float32(1),
    'granitehybrid.residual_scale': float32(1),
    'granitehybrid.logit_scale': float32(1),
    // Layers that mix are told by their keys, of which they have none.
    'granitehybrid.attention.head_count_kv': int32s(config.attends.map((does) => (does ? config.numKvHeads : 0))),
  }),
  refusal: ({ mamba }) => mixerRefusal(mamba) ?? widthRefusal(mamba),
});
