/**
 * Llama 4: most layers turn and see chunks of a text, every fourth knows no positions and sees all, its queries growing as it gets longer;
 * experts, one a token, read what their router's sigmoid leaves of it, beside one that all tokens go to.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { boolean, decodeFields, nonNegative, nonNegativeInteger, optional, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { grownQueries } from '../attention/grownQueries.js';
import { inputsFirstFiles } from './inputsFirstFiles.js';
import { everyFewTurn } from './llama.js';
import type { LlamaParts } from './llama.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';
import { gatedNames } from '../layers/mlp.js';
import { bareRmsNorm, perHead } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import type { QueryGrowth } from '../attention/ropeConfig.js';

export interface Llama4Config extends MixtureConfig {
  /** One a layer: into chunks of how many tokens it cuts a text; 0: it sees all. */
  readonly chunks: ReadonlyArray<number>;
  /** Queries and keys that turn are normed behind that. */
  readonly normsTurned: boolean;
  /** How queries grow that do not turn. Absent: they stay. */
  readonly growth?: QueryGrowth;
}

const names: MixtureNames = {
  block: 'feed_forward',
  dense: 'feed_forward',
  router: 'router',
  shared: { module: 'shared_expert', gated: false },
  ...gatedNames,
};

const fields = t.type({
  num_hidden_layers: positiveInteger,
  intermediate_size: positiveInteger,
  intermediate_size_mlp: optional(positiveInteger),
  moe_layers: optional(t.array(nonNegativeInteger)),
  interleave_moe_layer_step: optional(positiveInteger),
  use_qk_norm: optional(boolean),
  attention_chunk_size: optional(positiveInteger),
  layer_types: optional(t.array(t.keyof({ full_attention: null, chunked_attention: null }))),
  attn_temperature_tuning: optional(boolean),
  floor_scale: optional(positiveInteger),
  attn_scale: optional(nonNegative),
});
type Fields = t.TypeOf<typeof fields>;

/** A list that is empty says nothing. */
const withoutEmpty = (raw: RawConfig): RawConfig => {
  const { layer_types: _types, no_rope_layers: positions, ...others } = raw;
  return Array.isArray(positions) && positions.length === 0 ? others : { ...others, no_rope_layers: positions };
};

const chunksOf = (f: Fields, turns: ReadonlyArray<boolean>): E.Either<FatalError, ReadonlyArray<number>> => {
  const size = f.attention_chunk_size ?? 8192;
  const types = f.layer_types ?? turns.map((turning) => (turning ? 'chunked_attention' : 'full_attention'));
  return types.length === f.num_hidden_layers
    ? E.right(types.map((type) => (type === 'chunked_attention' ? size : 0)))
    : E.left(unfit('layer_types', `${f.num_hidden_layers} entries, one a layer`, types));
};

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, Llama4Config> =>
  pipe(
    // transformers cannot run it either.
    raw['attention_chunk_size'] === null
      ? E.left(unfit('attention_chunk_size', 'a whole number > 0', null))
      : decodeFields(fields)(raw),
    E.bindTo('f'),
    E.let('step', ({ f }) => f.interleave_moe_layer_step ?? 1),
    E.bind('own', ({ f, step }) =>
      mixtureConfig(withoutEmpty(raw), modelType, {
        numExperts: 16,
        perToken: 1,
        normalized: false,
        auxLossCoef: 0,
        balanced: false,
        expertSize: () => f.intermediate_size,
        sharedSize: () => f.intermediate_size,
        mixed: (i) => f.moe_layers?.includes(i) ?? (i + 1) % step === 0,
        routing: { scores: 'sigmoid', ahead: true },
        llama: {
          headDim: 128,
          numKvHeads: 8,
          maxPositions: 131_072,
          rmsNormEps: 1e-5,
          rope: { theta: 500_000 },
          turns: everyFewTurn,
        },
        only: { mlp_bias: false },
      }),
    ),
    E.bind('chunks', ({ f, own }) => chunksOf(f, own.turns)),
    E.map(({ f, own, chunks }) => ({
      ...own,
      architecture: 'llama4',
      raw,
      intermediateSize: f.intermediate_size_mlp ?? 16_384,
      chunks,
      normsTurned: f.use_qk_norm ?? true,
      ...(f.attn_temperature_tuning === false
        ? {}
        : { growth: { beta: f.attn_scale ?? 0.1, every: f.floor_scale ?? 8192, ahead: 1 } }),
    })),
  );

const parts = (c: Llama4Config, pass: Pass, i: number): LlamaParts => {
  if (c.turns[i] === false) return { queries: grownQueries(pass, c.growth) };
  const normed = c.normsTurned ? perHead(c.headDim, bareRmsNorm(c.rmsNormEps)) : undefined;
  return { interleaved: true, turnedQueries: normed, turnedKeys: normed };
};

export const llama4: Architecture<Llama4Config> = mixtureArchitecture<Llama4Config>({
  name: 'llama4',
  modelTypes: ['llama4_text'],
  config,
  names,
  parts,
  packed: () => [],
  fileLayout: ({ routed, hiddenSize, expertSize, experts }) =>
    inputsFirstFiles({
      modules: routed.flatMap((has, i) => (has ? [`model.layers.${i}.feed_forward.experts`] : [])),
      byTurns: false,
      hiddenSize,
      expertSize,
      numExperts: experts.numExperts,
    }),
});
