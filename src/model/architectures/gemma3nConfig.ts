/** What config.json says of Gemma 3n's text model. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { ropeConfig } from '../attention/ropeConfig.js';
import { localRopeOf, onlyByKind, ropeByKindFields, ropesOf } from '../attention/ropeByKind.js';
import {
  activation,
  boolean,
  decodeFields,
  layerCount,
  nonNegativeInteger,
  optional,
  positive,
  positiveInteger,
  rate,
  unfit,
} from '../config.js';
import type { RawConfig } from '../config.js';
import { llamaConfig, windowsByType } from './llama.js';
import { keySources } from './sharedKeys.js';
import type { SharedKeysConfig } from './sharedKeys.js';

export interface Gemma3nConfig extends SharedKeysConfig {
  /** One a layer: width of its MLP. */
  readonly widths: ReadonlyArray<number>;
  /** One a layer: about which share of its gates is held at 0, the lowest ones; 0: none. */
  readonly sparsity: ReadonlyArray<number>;
  /** Streams of hidden states, and which of them layers compute. */
  readonly streams: number;
  readonly active: number;
  /** What layers are given of the tokens is told by their own stream times a gain. */
  readonly scalesCorrected: boolean;
  readonly laurelRank: number;
}

const fields = t.type({
  num_hidden_layers: layerCount,
  intermediate_size: t.union([positiveInteger, t.array(positiveInteger)], 'a whole number > 0, or one a layer'),
  hidden_activation: optional(activation),
  final_logit_softcapping: optional(positive),
  ...ropeByKindFields,
  rope_local_base_freq: optional(positive),
  vocab_size_per_layer_input: optional(positiveInteger),
  hidden_size_per_layer_input: optional(positiveInteger),
  altup_active_idx: optional(nonNegativeInteger),
  altup_correct_scale: optional(boolean),
  altup_num_inputs: optional(positiveInteger),
  num_kv_shared_layers: optional(nonNegativeInteger),
  laurel_rank: optional(positiveInteger),
  activation_sparsity_pattern: optional(t.array(rate)),
});
type Fields = t.TypeOf<typeof fields>;

type Read<A> = E.Either<FatalError, A>;

const oneALayer = (
  { num_hidden_layers: layers }: Fields,
  field: string,
  given: ReadonlyArray<number>,
): Read<ReadonlyArray<number>> =>
  given.length === layers ? E.right(given) : E.left(unfit(field, `${layers} numbers, one a layer`, given));

const everywhere = ({ num_hidden_layers: length }: Fields, value: (layer: number) => number): ReadonlyArray<number> =>
  Array.from({ length }, (_, i) => value(i));

const widthsOf = (f: Fields): Read<ReadonlyArray<number>> => {
  const { intermediate_size: given } = f;
  return typeof given === 'number' ? E.right(everywhere(f, () => given)) : oneALayer(f, 'intermediate_size', given);
};

/** Without a word of it the first ten layers of larger models are sparse. */
const sparsityOf = (f: Fields): Read<ReadonlyArray<number>> =>
  oneALayer(
    f,
    'activation_sparsity_pattern',
    f.activation_sparsity_pattern ?? everywhere(f, (i) => (f.num_hidden_layers > 10 && i < 10 ? 0.95 : 0)),
  );

const streamsOf = (f: Fields): Read<Pick<Gemma3nConfig, 'streams' | 'active'>> => {
  const streams = f.altup_num_inputs ?? 4;
  const active = f.altup_active_idx ?? 0;
  return active < streams
    ? E.right({ streams, active })
    : E.left(unfit('altup_active_idx', `below altup_num_inputs ${streams}`, active));
};

export const gemma3nConfig = (raw: RawConfig, modelType: string): Read<Gemma3nConfig> =>
  pipe(
    onlyByKind(raw),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.let('ropes', ({ f }) => ropesOf(f, { full: 1e6, sliding: f.rope_local_base_freq ?? 1e4 })),
    E.bind('widths', ({ f }) => widthsOf(f)),
    E.bind('config', ({ widths, ropes }) =>
      llamaConfig({ ...raw, intermediate_size: widths[0], rope_scaling: null, ...ropes.sliding }, modelType, {
        headDim: 256,
        numKvHeads: 2,
        maxPositions: 32_768,
        tied: true,
        headNorm: true,
        windows: (of) => windowsByType(of, of.sliding_window ?? 512, (i) => (i + 1) % 5 !== 0),
      }),
    ),
    E.bind('globalRope', ({ ropes, config: { headDim, maxPositions } }) =>
      E.flatMap(() => localRopeOf(ropes.full, { headDim, maxPositions }))(
        ropeConfig(ropes.full, { headDim, maxPositions }),
      ),
    ),
    E.bind('keysOf', ({ f, config }) => keySources(config, f.num_kv_shared_layers ?? 15)),
    E.bind('sparsity', ({ f }) => sparsityOf(f)),
    E.bind('altUp', ({ f }) => streamsOf(f)),
    E.map(({ f, config, widths, globalRope, keysOf, sparsity, altUp }): Gemma3nConfig => {
      const { headDim, numKvHeads } = config;
      return {
        ...config,
        architecture: 'gemma3n',
        raw,
        activation: f.hidden_activation ?? 'gelu_new',
        mlpBias: false,
        embeddingScale: Math.fround(Math.sqrt(config.hiddenSize)),
        attentionScale: 1,
        logitSoftcap: f.final_logit_softcapping === undefined ? 30 : (f.final_logit_softcapping ?? undefined),
        sizes: widths.map(() => ({ headDim, numKvHeads })),
        globalRope,
        keysOf,
        keysAreValues: false,
        perLayer: { width: f.hidden_size_per_layer_input ?? 256, rows: f.vocab_size_per_layer_input ?? 262_144 },
        widths,
        sparsity,
        ...altUp,
        scalesCorrected: f.altup_correct_scale ?? true,
        laurelRank: f.laurel_rank ?? 64,
      };
    }),
  );
