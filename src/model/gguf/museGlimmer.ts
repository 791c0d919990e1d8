/** The text model of Muse Glimmer in GGUF. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import { float32 } from '../../formats/gguf/values.js';
import type { MuseGlimmerConfig } from '../architectures/museGlimmer.js';
import { unsupported } from './layout.js';
import type { GgufLayout, LayoutOf } from './layout.js';
import { behind, layoutOf, rmsEps } from './llamaLike.js';
import { windowMetadata } from './toldWindows.js';

const name = 'muse-glimmer';

/** The norms behind attention and MLP have this epsilon there. */
const behindEps = 1e-8;

const refusal = ({ behindEps: own, turns, windows }: MuseGlimmerConfig): FatalError | undefined => {
  if (own !== behindEps) return unsupported('post_norm_eps', String(behindEps), own);
  return turns.every((turn, i) => turn === (windows[i] ?? 0) > 0)
    ? undefined
    : unsupported('layer_rope_theta', '0 for full_attention, else a number > 0', turns);
};

/** Norms of layers lie less 1 in a checkpoint. */
const ofLayers = /^blk\.\d+\.(?:attn|post_attention|ffn|post_ffw)_norm\.weight$/;

const layout = layoutOf<MuseGlimmerConfig>({
  name,
  interleaved: true,
  scalings: ['default'],
  biases: 'none',
  ownHead: true,
  slides: true,
  names: { ...behind, pre_feedforward_layernorm: 'ffn_norm', 'self_attn.gate_proj': 'attn_gate' },
  arrange: (_config, called) => (ofLayers.test(called) ? { kind: 'offset', by: 1 } : undefined),
  metadata: (config) => ({
    ...rmsEps(name)(config),
    ...windowMetadata(name, config),
    [`${name}.logit_scale`]: float32(config.logitScale),
    [`${name}.final_logit_softcapping`]: float32(config.logitSoftcap ?? 0),
  }),
  refusal,
});

/** Norms of heads have gains there: of queries what they are multiplied by, of keys 1. */
const headNorms = ({ numLayers, headDim, queryScale }: MuseGlimmerConfig): GgufLayout['extra'] =>
  Array.from({ length: numLayers }, (_, i) => [
    { name: `blk.${i}.attn_q_norm.weight`, values: new Float32Array(headDim).fill(queryScale) },
    { name: `blk.${i}.attn_k_norm.weight`, values: new Float32Array(headDim).fill(1) },
  ]).flat();

export const museGlimmerLayout: LayoutOf<MuseGlimmerConfig> = (config, specs) =>
  pipe(
    layout(config, specs),
    E.map((own) => ({ ...own, extra: [...own.extra, ...headNorms(config)] })),
  );
