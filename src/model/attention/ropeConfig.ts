/** Rotary positions as config.json describes them: base, part of a head, and scaling for longer texts. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { withNumbersOf } from '../../formats/json/writtenNumbers.js';
import { boolean, decodeFields, nonNegative, optional, positive, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';

/** By which angles queries and keys turn (Su et al. 2021). */
export interface RopeConfig {
  /** Base of the angles: pair i turns by position · theta^(-2i / rotaryDim). */
  readonly theta: number;
  /** How many entries of each head turn. */
  readonly rotaryDim: number;
  readonly maxPositions: number;
  readonly scaling: RopeScaling;
  /** Absent: queries are what they are wherever they stand. */
  readonly growth?: QueryGrowth | undefined;
  /** Angles are those less than 0. Default: false. */
  readonly backwards?: boolean;
}

/** Queries at position p count 1 + beta · log(1 + ⌊(p + ahead) / every⌋) times (Llama 4, Ministral 3). */
export interface QueryGrowth {
  readonly beta: number;
  readonly every: number;
  /** Default: 0. */
  readonly ahead?: number;
}

/** How angles change for longer texts, as transformers has them: `default` not at all. */
export type RopeScaling =
  | { readonly kind: 'default' }
  | { readonly kind: 'linear' | 'dynamic'; readonly factor: number }
  | {
      /** Of the pairs of a head, whose angles are as if all of them turned, the first `turning` alone do. */
      readonly kind: 'proportional';
      readonly turning: number;
      readonly factor: number;
    }
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    }
  | {
      readonly kind: 'yarn';
      readonly factor: number;
      readonly originalMaxPositions: number;
      readonly attentionFactor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly truncate: boolean;
      /** See `scoreFactor`. Absent: 1. */
      readonly scoreFactor?: number;
    }
  | {
      /** LongRoPE (Ding et al. 2024): texts of more than `originalMaxPositions` tokens turn by other angles than shorter ones. */
      readonly kind: 'longrope';
      /** What each frequency is divided by, rotaryDim / 2 of them. */
      readonly shortFactors: ReadonlyArray<number>;
      readonly longFactors: ReadonlyArray<number>;
      readonly originalMaxPositions: number;
      readonly attentionFactor: number;
    };

const scalingFields = t.type(
  {
    rope_theta: optional(positive),
    partial_rotary_factor: optional(positive),
    rope_type: optional(t.string),
    type: optional(t.string),
    factor: optional(positive),
    low_freq_factor: optional(positive),
    high_freq_factor: optional(positive),
    original_max_position_embeddings: optional(positiveInteger),
    attention_factor: optional(positive),
    mscale: optional(nonNegative),
    mscale_all_dim: optional(nonNegative),
    beta_fast: optional(positive),
    beta_slow: optional(positive),
    truncate: optional(boolean),
    short_factor: optional(t.array(positive)),
    long_factor: optional(t.array(positive)),
    llama_4_scaling_beta: optional(nonNegative),
  },
  'an object',
);
type ScalingFields = t.TypeOf<typeof scalingFields>;

const kinds = ['default', 'linear', 'dynamic', 'proportional', 'llama3', 'yarn', 'longrope'];

/** What files of the first models under LongRoPE call it. */
const oldNames: Readonly<Record<string, string>> = { su: 'longrope' };

interface Stretched {
  readonly maxPositions: number;
  /** How many positions the model was trained with first. */
  readonly original: number;
  readonly rotaryDim: number;
  /** Pairs of a head that turn. */
  readonly turning: number;
  readonly kind: string;
}

const scalingOf = (
  fields: Partial<ScalingFields>,
  { maxPositions, original, rotaryDim, turning, kind }: Stretched,
): E.Either<FatalError, RopeScaling> => {
  const { factor } = fields;
  const needs = (name: string): E.Either<FatalError, never> =>
    E.left(unfit(`rope_scaling.${name}`, `a number, for rope_type "${kind}"`, null));
  switch (kind) {
    case 'default':
      return E.right({ kind });
    case 'linear':
    case 'dynamic':
      return typeof factor === 'number' ? E.right({ kind, factor }) : needs('factor');
    case 'proportional':
      return E.right({ kind, turning, factor: factor ?? 1 });
    case 'llama3': {
      const { low_freq_factor: low, high_freq_factor: high } = fields;
      if (typeof factor !== 'number') return needs('factor');
      if (typeof low !== 'number') return needs('low_freq_factor');
      if (typeof high !== 'number') return needs('high_freq_factor');
      return E.right({ kind, factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions: original });
    }
    case 'yarn': {
      const stretch = factor ?? maxPositions / original;
      const magnitude = (m: number): number => (stretch <= 1 ? 1 : 0.1 * m * Math.log(stretch) + 1);
      const { mscale, mscale_all_dim: all } = fields;
      // Files say 0 where they mean none.
      const inferred = mscale && all ? magnitude(mscale) / magnitude(all) : magnitude(1);
      return E.right({
        kind,
        factor: stretch,
        originalMaxPositions: original,
        attentionFactor: fields.attention_factor ?? inferred,
        betaFast: fields.beta_fast ?? 32,
        betaSlow: fields.beta_slow ?? 1,
        truncate: fields.truncate ?? true,
        ...(all ? { scoreFactor: magnitude(all) ** 2 } : {}),
      });
    }
    case 'longrope': {
      const { short_factor: short, long_factor: long } = fields;
      const half = rotaryDim / 2;
      if (short?.length !== half) return E.left(unfit('rope_scaling.short_factor', `${half} numbers > 0`, short));
      if (long?.length !== half) return E.left(unfit('rope_scaling.long_factor', `${half} numbers > 0`, long));
      const stretch = factor ?? maxPositions / original;
      return E.right({
        kind,
        shortFactors: short,
        longFactors: long,
        originalMaxPositions: original,
        attentionFactor:
          fields.attention_factor ?? (stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(original))),
      });
    }
    default:
      return E.left(unfit('rope_scaling.rope_type', `one of ${kinds.join(', ')}`, kind));
  }
};

const ropeFields = t.type({
  rope_theta: optional(positive),
  partial_rotary_factor: optional(positive),
  original_max_position_embeddings: optional(positiveInteger),
  // transformers 5 writes all of it under rope_parameters.
  rope_scaling: optional(scalingFields),
  rope_parameters: optional(scalingFields),
});

const isEmpty = (fields: object | null | undefined): boolean =>
  fields === null || fields === undefined || Object.keys(fields).length === 0;

/** What `ropeConfig` takes from elsewhere than the file's rotary part. */
export interface RopeDefaults {
  readonly headDim: number;
  readonly maxPositions: number;
  /** Base of the angles where the file has none. Default 10,000. */
  readonly theta?: number | undefined;
  /** Share of each head that turns where the file says nothing. Default 1. */
  readonly partial?: number | undefined;
  /** First trained length of a stretched model where the file says nothing. Default: maxPositions. */
  readonly originalMaxPositions?: number | undefined;
  /** Scalings by the names that files of the model type have for them. Default: none but the usual ones. */
  readonly scalingNames?: Readonly<Record<string, string>> | undefined;
  /** What a file that has no rotary parameters at all means. Default: plain angles. */
  readonly parameters?: Partial<ScalingFields> | undefined;
  /** Queries of the model type grow with their positions where the file says so. Default: no. */
  readonly grows?: boolean | undefined;
}

/**
 * The rotary part of a config.json, in its old form (rope_theta, rope_scaling) or its new (rope_parameters); the old one counts where
 * both are there, as in transformers. `E_MODEL_CONFIG` for a scaling that is not there, lacks a number, or an uneven part of a head.
 */
export const ropeConfig = (
  raw: RawConfig,
  { headDim, maxPositions, theta = 10_000, partial = 1, ...defaults }: RopeDefaults,
): E.Either<FatalError, RopeConfig> =>
  pipe(
    decodeFields(ropeFields)(raw),
    E.flatMap((fields) => {
      const scaling: Partial<ScalingFields> =
        (isEmpty(fields.rope_scaling) ? fields.rope_parameters : fields.rope_scaling) ?? defaults.parameters ?? {};
      const part = scaling.partial_rotary_factor ?? fields.partial_rotary_factor ?? partial;
      const given = scaling.rope_type ?? scaling.type ?? 'default';
      const kind = { ...oldNames, ...defaults.scalingNames }[given] ?? given;
      const rotaryDim = kind === 'proportional' && part <= 1 ? headDim : Math.floor(headDim * part);
      if (rotaryDim % 2 !== 0 || rotaryDim > headDim)
        return E.left(unfit('partial_rotary_factor', `an even part of head_dim ${headDim}`, part));
      const stretched = {
        maxPositions,
        // transformers lets the field beside the scaling go before the one within.
        original:
          fields.original_max_position_embeddings ??
          defaults.originalMaxPositions ??
          scaling.original_max_position_embeddings ??
          maxPositions,
        rotaryDim,
        turning: Math.floor((headDim * part) / 2),
        kind,
      };
      return pipe(
        scalingOf(scaling, stretched),
        E.map((known) => ({
          theta: scaling.rope_theta ?? fields.rope_theta ?? theta,
          rotaryDim,
          maxPositions,
          scaling: known,
          ...(defaults.grows === true &&
          typeof scaling.llama_4_scaling_beta === 'number' &&
          scaling.llama_4_scaling_beta > 0
            ? { growth: { beta: scaling.llama_4_scaling_beta, every: stretched.original } }
            : {}),
        })),
      );
    }),
  );

/**
 * What scores are multiplied by besides: models with latent attention take the magnitude that `mscale_all_dim` asks for into whole
 * scores, once for queries and once for keys; others leave it out.
 */
export const scoreFactor = ({ scaling }: RopeConfig): number =>
  scaling.kind === 'yarn' ? (scaling.scoreFactor ?? 1) : 1;

/** Tokens beyond which the angles of all positions are others, so that keys made for a shorter text no longer fit. */
export const turnsOtherwiseBeyond = ({ scaling }: RopeConfig): number | undefined =>
  scaling.kind === 'longrope' ? scaling.originalMaxPositions : undefined;

/** What of rotary parameters stays under another scaling. */
const apartFromScaling = (parameters: unknown): RawConfig =>
  t.UnknownRecord.is(parameters)
    ? withNumbersOf(
        parameters,
        Object.fromEntries(
          ['rope_theta', 'partial_rotary_factor'].flatMap((field) =>
            parameters[field] === undefined ? [] : [[field, parameters[field]] as const],
          ),
        ),
      )
    : {};

/** A config.json with another rotary scaling than its own; its base, and the share of a head that turns, stay. */
export const withRopeScaling = (raw: RawConfig, scaling: Readonly<Record<string, unknown>>): RawConfig => {
  const { rope_parameters: given, rope_scaling: before, ...others } = raw;
  // Gemma 3 and OLMo 3 have parameters for each kind of layer: layers that see a window stay as they are.
  if (t.UnknownRecord.is(given) && 'full_attention' in given) {
    const kept = apartFromScaling(given['full_attention']);
    const full_attention = withNumbersOf(kept, { ...kept, ...scaling }, scaling);
    return withNumbersOf(raw, { ...others, rope_parameters: withNumbersOf(given, { ...given, full_attention }) });
  }
  const kept = apartFromScaling(t.UnknownRecord.is(before) && !isEmpty(before) ? before : given);
  // Within the scaling too: beside it model types have names of their own for them.
  const rope_scaling = withNumbersOf(kept, { ...kept, ...scaling }, scaling);
  return withNumbersOf(raw, { ...others, ...kept, rope_scaling }, kept);
};
