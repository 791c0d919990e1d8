/** What Llama-like models with multi-head latent attention have in common. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { latentSpecs } from '../attention/latentAttention.js';
import type { LatentSizes } from '../attention/latentAttention.js';
import { scoreFactor } from '../attention/ropeConfig.js';
import { boolean, decodeFields, optional, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import type { LlamaConfig } from './llama.js';

/** Keys are as many as queries, and as wide: headDim is the latent's nopeDim + ropeDim. */
export interface LatentConfig extends LlamaConfig {
  readonly latent: LatentSizes;
}

/** What a file that says nothing means. */
export interface LatentFamily {
  /** Absent: queries come of the input. */
  readonly queryRank?: number;
  readonly kvRank: number;
  readonly nopeDim: number;
  readonly ropeDim: number;
  /** Default: hiddenSize / numHeads. */
  readonly valueDim?: number;
  /** Whatever `rope_interleave` says. Default: as it says, which is yes where it says nothing. */
  readonly interleaved?: boolean;
}

const fields = t.type({
  q_lora_rank: optional(positiveInteger),
  kv_lora_rank: optional(positiveInteger),
  qk_nope_head_dim: optional(positiveInteger),
  qk_rope_head_dim: optional(positiveInteger),
  v_head_dim: optional(positiveInteger),
  num_attention_heads: positiveInteger,
  num_key_value_heads: optional(positiveInteger),
  rope_interleave: optional(boolean),
});

/**
 * The configuration that `configOf` makes of a file whose heads are as wide as what turns of them, with latent attention.
 * `E_MODEL_CONFIG` also where values are wider than keys, or keys fewer than queries.
 */
export const latentConfig = <C extends LlamaConfig>(
  raw: RawConfig,
  family: LatentFamily,
  configOf: (raw: RawConfig) => E.Either<FatalError, C>,
): E.Either<FatalError, C & LatentConfig> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.let('ropeDim', ({ f }) => f.qk_rope_head_dim ?? family.ropeDim),
    // transformers writes a head_dim of its own, which is that of what turns, and looks at the number of keys for no more than this.
    E.filterOrElse(
      ({ f: { num_attention_heads: heads, num_key_value_heads: keys } }) => Math.floor(heads / (keys ?? heads)) === 1,
      ({ f: { num_attention_heads: heads, num_key_value_heads: keys } }) =>
        unfit('num_key_value_heads', `${heads}, as there are heads: all keys come of one latent`, keys),
    ),
    E.bind('config', ({ f, ropeDim }) =>
      configOf({ ...raw, head_dim: ropeDim, num_key_value_heads: f.num_attention_heads }),
    ),
    E.let('nopeDim', ({ f }) => f.qk_nope_head_dim ?? family.nopeDim),
    E.let(
      'valueDim',
      ({ f, config }) => f.v_head_dim ?? family.valueDim ?? Math.floor(config.hiddenSize / config.numHeads),
    ),
    E.filterOrElse(
      ({ nopeDim, ropeDim, valueDim }) => valueDim <= nopeDim + ropeDim,
      ({ nopeDim, ropeDim, valueDim }) =>
        unfit('v_head_dim', `at most ${nopeDim + ropeDim}, the width of queries`, valueDim),
    ),
    E.map(({ f, config, nopeDim, ropeDim, valueDim }) => ({
      ...config,
      headDim: nopeDim + ropeDim,
      attentionScale: scoreFactor(config.rope) / Math.sqrt(nopeDim + ropeDim),
      latent: {
        queryRank: 'q_lora_rank' in raw ? (f.q_lora_rank ?? undefined) : family.queryRank,
        kvRank: f.kv_lora_rank ?? family.kvRank,
        nopeDim,
        ropeDim,
        valueDim,
        interleaved: family.interleaved ?? f.rope_interleave ?? true,
      },
      raw,
    })),
  );

/** The tensors, those of latent attention in place of Llama's. */
export const withLatents = (config: LatentConfig, tensors: ReadonlyArray<TensorSpec>): ReadonlyArray<TensorSpec> => [
  ...tensors.filter(({ name }) => !name.includes('.self_attn.')),
  ...perLayer(config.numLayers, (i) => latentSpecs(config, `model.layers.${i}.self_attn`)),
];
