/** LFM2-MoE: LFM2 whose MLPs are experts, but for those of the first layers; routers choose by corrected sigmoids. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { boolean, decodeFields, nonNegativeInteger, optional, positive, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { lfm2, lfm2Body, lfm2Config, lfm2Tensors, mlp, mlpNames, mlpSpecs } from './lfm2.js';
import type { Lfm2Config } from './lfm2.js';
import { mixturePacked, mixtureSpecs, routedExperts, usualGate } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

interface Lfm2MoeConfig extends Omit<Lfm2Config, 'experts'>, MixtureConfig {
  /** Routers have a correction of what they choose by. */
  readonly corrected: boolean;
}

const fields = t.type({
  intermediate_size: optional(positiveInteger),
  moe_intermediate_size: optional(positiveInteger),
  num_dense_layers: optional(nonNegativeInteger),
  num_experts: optional(positiveInteger),
  num_experts_per_tok: optional(positiveInteger),
  norm_topk_prob: optional(boolean),
  use_expert_bias: optional(boolean),
  routed_scaling_factor: optional(positive),
});

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, Lfm2MoeConfig> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.let('numExperts', ({ f }) => f.num_experts ?? 32),
    E.let('perToken', ({ f }) => f.num_experts_per_tok ?? 4),
    E.filterOrElse(
      ({ numExperts, perToken }) => perToken <= numExperts,
      ({ numExperts, perToken }) =>
        unfit('num_experts_per_tok', `at most ${numExperts}, the number of experts`, perToken),
    ),
    E.bind('own', ({ f }) => lfm2Config(raw, modelType, f.intermediate_size ?? 7168)),
    E.map(({ f, numExperts, perToken, own }) => ({
      ...own,
      architecture: 'lfm2_moe',
      experts: { numExperts, perToken, normalized: f.norm_topk_prob ?? true, auxLossCoef: 0, balanced: false },
      expertSize: f.moe_intermediate_size ?? 1792,
      sharedSize: 0,
      routed: Array.from({ length: own.numLayers }, (_, i) => i >= (f.num_dense_layers ?? 2)),
      routing: { scores: 'sigmoid', factor: f.routed_scaling_factor ?? 1 },
      corrected: f.use_expert_bias ?? true,
    })),
  );

const block = 'feed_forward';

const namesOf = ({ corrected }: Lfm2MoeConfig): MixtureNames => ({
  block,
  ...mlpNames,
  ...(corrected ? { correction: { name: 'expert_bias', before: [] } } : {}),
});

export const lfm2Moe: Architecture<Lfm2MoeConfig> = {
  ...lfm2,
  name: 'lfm2_moe',
  modelTypes: ['lfm2_moe'],
  config,
  tensors: (c) =>
    lfm2Tensors(c, (own, i) => (own.routed[i] === true ? mixtureSpecs(own, namesOf(own), i) : mlpSpecs(own, i))),
  packed: (c) => mixturePacked(c, namesOf(c), block),
  body: (c, pass) =>
    lfm2Body(c, pass, (i) =>
      c.routed[i] === true ? routedExperts(c, { names: namesOf(c), gate: usualGate }, pass, i) : mlp(c, pass, i),
    ),
};
