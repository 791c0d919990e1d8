/** DeepSeek's names of what its mixtures are made of, and of how its routers choose; other models have taken them over. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { boolean, decodeFields, nonNegativeInteger, optional, positive, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import type { ExpertGroups } from '../experts/routing.js';
import { gatedNames } from '../layers/mlp.js';
import type { Family } from './llama.js';
import type { MixtureFamily, MixtureNames } from './mixture.js';

const fields = t.type({
  n_routed_experts: optional(positiveInteger),
  n_shared_experts: optional(positiveInteger),
  num_experts_per_tok: optional(positiveInteger),
  moe_intermediate_size: optional(positiveInteger),
  first_k_dense_replace: optional(nonNegativeInteger),
  n_group: optional(positiveInteger),
  topk_group: optional(positiveInteger),
  norm_topk_prob: optional(boolean),
  routed_scaling_factor: optional(positive),
});
type Fields = t.TypeOf<typeof fields>;

/** What a file that says nothing means. */
export interface GroupedFamily {
  /** Absent: the file must say. */
  readonly numExperts?: number;
  readonly perToken?: number;
  readonly numShared?: number;
  readonly expertSize: number;
  readonly denseLayers?: number;
  readonly groups?: number;
  readonly groupsChosen?: number;
  /** Whatever `norm_topk_prob` says. Default: as it says, which is yes where it says nothing. */
  readonly normalized?: boolean;
  readonly usuallyNormalized?: boolean;
  readonly factor?: number;
  /** Which layers have experts, if not all after the first `first_k_dense_replace`. */
  readonly routed?: (layer: number) => boolean;
  /** By softmaxes of all, groups by their best expert (DeepSeek-V2), or by sigmoids, groups by their best two (DeepSeek-V3). */
  readonly scores: 'softmax' | 'sigmoid';
  /** Experts that a group counts by. Default: as `scores` has it. */
  readonly best?: ExpertGroups['best'];
  readonly llama: Family;
  readonly only?: MixtureFamily['only'];
}

const bestBy = { softmax: 1, sigmoid: 2 } as const;

/** Groups that leave a choice; a token's experts must all find a place in those that it chooses. */
const groupsOf = (
  f: Fields,
  family: GroupedFamily,
  { numExperts, perToken }: { readonly numExperts: number; readonly perToken: number },
): E.Either<FatalError, ExpertGroups | undefined> => {
  const count = f.n_group ?? family.groups ?? 1;
  const chosen = f.topk_group ?? family.groupsChosen ?? 1;
  const size = numExperts / count;
  const best = family.best ?? bestBy[family.scores];
  if (!Number.isInteger(size) || size < best)
    return E.left(unfit('n_group', `a divisor of ${numExperts} experts, ${best} or more a group`, count));
  if (chosen > count) return E.left(unfit('topk_group', `at most ${count}, the number of groups`, chosen));
  if (perToken > chosen * size)
    return E.left(unfit('num_experts_per_tok', `at most ${chosen * size}, as many as ${chosen} groups have`, perToken));
  return E.right(chosen === count ? undefined : { count, chosen, best });
};

/** A field that a file must have where the model type has no default. */
const wanted = (
  f: Fields,
  name: 'n_routed_experts' | 'num_experts_per_tok' | 'n_shared_experts',
  usual: number | undefined,
) => E.fromNullable(unfit(name, 'a whole number > 0', null))(f[name] ?? usual);

/** The mixture of such a file. */
export const groupedFamily = (raw: RawConfig, family: GroupedFamily): E.Either<FatalError, MixtureFamily> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.bind('numExperts', ({ f }) => wanted(f, 'n_routed_experts', family.numExperts)),
    E.bind('perToken', ({ f }) => wanted(f, 'num_experts_per_tok', family.perToken)),
    E.bind('numShared', ({ f }) => wanted(f, 'n_shared_experts', family.numShared)),
    E.bind('groups', ({ f, numExperts, perToken }) => groupsOf(f, family, { numExperts, perToken })),
    E.map(({ f, numExperts, perToken, numShared, groups }) => {
      const expertSize = f.moe_intermediate_size ?? family.expertSize;
      const dense = f.first_k_dense_replace ?? family.denseLayers ?? 0;
      const { usuallyNormalized = true } = family;
      return {
        numExperts,
        perToken,
        normalized: family.normalized ?? f.norm_topk_prob ?? usuallyNormalized,
        auxLossCoef: 0,
        balanced: false,
        expertSize: () => expertSize,
        sharedSize: () => numShared * expertSize,
        mixed: family.routed ?? ((layer) => layer >= dense),
        routing: {
          scores: family.scores,
          groups,
          factor: f.routed_scaling_factor ?? family.factor ?? 1,
          leastSum: 1e-20,
        },
        llama: family.llama,
        only: { mlp_bias: false, moe_layer_freq: 1, ...family.only },
      };
    }),
  );

/** Tensors of such mixtures. */
export const groupedNames: MixtureNames = {
  block: 'mlp',
  ...gatedNames,
  shared: { module: 'shared_experts', gated: false },
  precise: 'product',
};

/** The same with a correction of what routers choose by. */
export const correctedNames: MixtureNames = {
  ...groupedNames,
  correction: { name: 'gate.e_score_correction_bias', before: [] },
};
