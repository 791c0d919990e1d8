/** Fields of config.json that mixers of Mamba-2 have in Granite 4, Falcon-H1 and Bamba, and what those of others and of Mamba share. */
import * as E from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { boolean, optional, positiveInteger, unfit } from '../config.js';
import type { Mamba2Shape } from '../recurrent/mamba2.js';

/** A bound of rates: JSON has no infinity, and transformers writes it so (see configJson.ts). */
const bound = t.union([t.number, t.type({ __float__: t.literal('Infinity') })]);

/** Codec of what rates are held within. */
export const bounds = t.tuple([t.number, bound]);

/** The same as fields of `Mamba2Shape`. Default: 0 and infinity. */
export const rateBounds = (given?: t.TypeOf<typeof bounds> | null): Pick<Mamba2Shape, 'least' | 'most'> => {
  const [least, most] = given ?? [0, Infinity];
  return { least, most: typeof most === 'number' ? most : Infinity };
};

/** Codec of the width of what Mamba's rates are mapped from. */
export const ranks = t.union([positiveInteger, t.literal('auto')]);

/** The same as a number. Default: a sixteenth of the model's width. */
export const rankOf = (given: t.TypeOf<typeof ranks> | null | undefined, hiddenSize: number): number =>
  typeof given === 'number' ? given : Math.ceil(hiddenSize / 16);

export const mambaFields = {
  hidden_size: positiveInteger,
  mamba_n_heads: optional(positiveInteger),
  mamba_n_groups: optional(positiveInteger),
  mamba_d_state: optional(positiveInteger),
  mamba_d_head: optional(t.union([positiveInteger, t.literal('auto')])),
  mamba_d_conv: optional(positiveInteger),
  mamba_expand: optional(positiveInteger),
  mamba_conv_bias: optional(boolean),
  mamba_proj_bias: optional(boolean),
  time_step_limit: optional(bounds),
} as const;
type Fields = { readonly [name in keyof typeof mambaFields]: t.TypeOf<(typeof mambaFields)[name]> };

/** The mixers' shape; `inner`: the width of x, where another field says it. */
export const mambaShape = (
  f: Fields,
  { normEps, inner = (f.mamba_expand ?? 2) * f.hidden_size }: { readonly normEps: number; readonly inner?: number },
): E.Either<FatalError, Mamba2Shape> => {
  const heads = f.mamba_n_heads ?? 128;
  const groups = f.mamba_n_groups ?? 1;
  const headDim = typeof f.mamba_d_head === 'number' ? f.mamba_d_head : inner / heads;
  if (heads * headDim !== inner || !Number.isInteger(headDim))
    return E.left(unfit('mamba_n_heads', `heads of mamba_d_head that are ${inner} together`, heads));
  if (heads % groups !== 0) return E.left(unfit('mamba_n_groups', `a divisor of mamba_n_heads ${heads}`, groups));
  return E.right({
    hiddenSize: f.hidden_size,
    heads,
    headDim,
    groups,
    stateDim: f.mamba_d_state ?? 256,
    taps: f.mamba_d_conv ?? 4,
    convBias: f.mamba_conv_bias ?? true,
    projectionBias: f.mamba_proj_bias ?? false,
    outputBias: f.mamba_proj_bias ?? false,
    norm: { eps: normEps, groups: 1, beforeGate: false },
    ...rateBounds(f.time_step_limit),
  });
};

/** Mixers know no other activation. */
export const onlySilu = <C extends { readonly activation: string }>(config: C): E.Either<FatalError, C> =>
  config.activation === 'silu'
    ? E.right(config)
    : E.left(unfit('hidden_act', 'silu, as in all mixers of Mamba', config.activation));
