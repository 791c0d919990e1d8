/** What config.json says of Gemma 4's text models. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { ropeConfig } from '../attention/ropeConfig.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import { onlyByKind } from '../attention/ropeByKind.js';
import {
  activation,
  boolean,
  decodeFields,
  nonNegativeInteger,
  optional,
  positive,
  positiveInteger,
  unfit,
} from '../config.js';
import type { RawConfig } from '../config.js';
import type { RoutingShape } from '../experts/routing.js';
import { llamaConfig, windowsByType } from './llama.js';
import type { LlamaConfig } from './llama.js';
import { keySources } from './sharedKeys.js';
import type { AttentionSizes, SharedKeysConfig } from './sharedKeys.js';

export interface Gemma4Config extends SharedKeysConfig {
  /** Layers that read keys and values of others have MLPs of twice the width. */
  readonly doubleWide: boolean;
  /** Experts beside each MLP. Absent: none. */
  readonly routing?: (RoutingShape & { readonly expertSize: number }) | undefined;
}

const layerFields = t.record(
  t.string,
  t.type({ head_dim: optional(positiveInteger), num_key_value_heads: optional(positiveInteger) }),
  'an object of layer number → fields',
);

const fields = t.type({
  hidden_activation: optional(activation),
  final_logit_softcapping: optional(positive),
  rope_parameters: optional(
    t.type(
      { full_attention: optional(t.UnknownRecord), sliding_attention: optional(t.UnknownRecord) },
      'an object of two',
    ),
  ),
  global_head_dim: optional(positiveInteger),
  num_global_key_value_heads: optional(positiveInteger),
  per_layer_config: optional(layerFields),
  attention_k_eq_v: optional(boolean),
  num_kv_shared_layers: optional(nonNegativeInteger),
  use_double_wide_mlp: optional(boolean),
  hidden_size_per_layer_input: optional(nonNegativeInteger),
  vocab_size_per_layer_input: optional(positiveInteger),
  enable_moe_block: optional(boolean),
  num_experts: optional(positiveInteger),
  top_k_experts: optional(positiveInteger),
  moe_intermediate_size: optional(positiveInteger),
});
type Fields = t.TypeOf<typeof fields>;

type Read<A> = E.Either<FatalError, A>;

/** What differs between the model types where config.json says nothing. */
interface Family {
  readonly maxPositions: number;
  readonly window: number;
  readonly perLayerWidth: number;
}

const families: Readonly<Record<string, Family>> = {
  gemma4_text: { maxPositions: 131_072, window: 512, perLayerWidth: 256 },
  gemma4_unified_text: { maxPositions: 262_144, window: 1024, perLayerWidth: 0 },
};

export const gemma4Types: ReadonlyArray<string> = Object.keys(families);

const usualRope = {
  full_attention: { rope_type: 'proportional', partial_rotary_factor: 0.25, rope_theta: 1e6 },
  sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
};

/** Each layer's sizes: `per_layer_config` as transformers 5 writes it, or the fields of the published files. */
const sizesOf = (f: Fields, { windows, headDim, numKvHeads }: LlamaConfig): ReadonlyArray<AttentionSizes> => {
  const { per_layer_config: given } = f;
  // Numbers of layers are written with as many digits as the last one has.
  const byLayer = given && new Map(Object.entries(given).map(([layer, own]) => [Number(layer), own]));
  return windows.map((window, i) => {
    const own = byLayer?.get(i);
    if (byLayer) return { headDim: own?.head_dim ?? headDim, numKvHeads: own?.num_key_value_heads ?? numKvHeads };
    if (window > 0) return { headDim, numKvHeads };
    return {
      headDim: f.global_head_dim ?? 512,
      numKvHeads: f.attention_k_eq_v === true ? (f.num_global_key_value_heads ?? numKvHeads) : numKvHeads,
    };
  });
};

/** Heads of layers of a kind are of one width, since they turn by the same angles, and divide evenly. */
const fittingSizes = (f: Fields, config: LlamaConfig): Read<ReadonlyArray<AttentionSizes>> => {
  const sizes = sizesOf(f, config);
  const { windows, numHeads } = config;
  const uneven = sizes.find(({ numKvHeads }) => numHeads % numKvHeads !== 0);
  if (uneven !== undefined)
    return E.left(
      unfit(
        f.per_layer_config ? 'per_layer_config' : 'num_global_key_value_heads',
        `key heads that divide num_attention_heads ${numHeads}`,
        uneven.numKvHeads,
      ),
    );
  const other = sizes.find(({ headDim }, i) => {
    const first = windows.findIndex((window) => window > 0 === (windows[i] ?? 0) > 0);
    return headDim !== sizes[first]?.headDim;
  });
  return other === undefined
    ? E.right(sizes)
    : E.left(unfit('per_layer_config', 'one head_dim for all layers of a kind', other.headDim));
};

const routingOf = (f: Fields): Read<Gemma4Config['routing']> => {
  if (f.enable_moe_block !== true) return E.right(undefined);
  const { num_experts: numExperts, top_k_experts: perToken, moe_intermediate_size: expertSize } = f;
  if (typeof numExperts !== 'number') return E.left(unfit('num_experts', 'a whole number > 0', numExperts));
  if (typeof expertSize !== 'number') return E.left(unfit('moe_intermediate_size', 'a whole number > 0', expertSize));
  if (typeof perToken !== 'number' || perToken > numExperts)
    return E.left(unfit('top_k_experts', `a whole number > 0 and at most ${numExperts}`, perToken));
  return E.right({ numExperts, perToken, normalized: true, expertSize });
};

const wholeHeads =
  (kind: string, headDim: number) =>
  (rope: RopeConfig): Read<RopeConfig> =>
    rope.rotaryDim === headDim
      ? E.right(rope)
      : E.left(
          unfit(
            `rope_parameters.${kind}.partial_rotary_factor`,
            '1, but for rope_type "proportional"',
            rope.rotaryDim / headDim,
          ),
        );

const perLayerOf = (f: Fields, family: Family): Gemma4Config['perLayer'] => {
  const width = f.hidden_size_per_layer_input ?? family.perLayerWidth;
  return width === 0 ? undefined : { width, rows: f.vocab_size_per_layer_input ?? 262_144 };
};

/** Texts are read in one direction whatever images are: "vision" asks for no more. */
const inOneDirection = (raw: RawConfig): Read<RawConfig> => {
  const given = raw['use_bidirectional_attention'];
  return given === undefined || given === null || given === false || given === 'vision'
    ? E.right(raw)
    : E.left(unfit('use_bidirectional_attention', 'null or "vision"', given));
};

export const gemma4Config = (raw: RawConfig, modelType: string): Read<Gemma4Config> => {
  const family = families[modelType] ?? { maxPositions: 131_072, window: 512, perLayerWidth: 256 };
  return pipe(
    onlyByKind(raw),
    E.flatMap(inOneDirection),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.let('ropes', ({ f }) => f.rope_parameters ?? usualRope),
    E.bind('read', ({ ropes }) =>
      llamaConfig(
        { ...raw, rope_scaling: null, rope_theta: null, rope_parameters: ropes.sliding_attention },
        modelType,
        {
          headDim: 256,
          numKvHeads: 4,
          maxPositions: family.maxPositions,
          tied: true,
          headNorm: true,
          windows: (of) => windowsByType(of, of.sliding_window ?? family.window, (i) => (i + 1) % 6 !== 0),
        },
      ),
    ),
    // The last layer sees all, whatever the file says.
    E.let('config', ({ read }) => ({ ...read, windows: [...read.windows.slice(0, -1), 0] })),
    E.bind('sizes', ({ f, config }) => fittingSizes(f, config)),
    E.bind('globalRope', ({ ropes, sizes, config: { maxPositions } }) => {
      const headDim = sizes[sizes.length - 1]?.headDim ?? 0;
      const own = { rope_parameters: ropes.full_attention };
      return E.flatMap(wholeHeads('full_attention', headDim))(ropeConfig(own, { headDim, maxPositions }));
    }),
    E.bind('keysOf', ({ f, config }) => keySources(config, f.num_kv_shared_layers ?? 0)),
    E.bind('routing', ({ f }) => routingOf(f)),
    E.map(({ f, config, sizes, globalRope, keysOf: sources, routing }): Gemma4Config => {
      return {
        ...config,
        architecture: 'gemma4',
        raw,
        activation: f.hidden_activation ?? 'gelu_new',
        mlpBias: false,
        embeddingScale: Math.fround(Math.sqrt(config.hiddenSize)),
        attentionScale: 1,
        logitSoftcap: f.final_logit_softcapping ?? undefined,
        sizes,
        globalRope,
        keysOf: sources,
        keysAreValues: f.attention_k_eq_v ?? false,
        doubleWide: f.use_double_wide_mlp ?? false,
        perLayer: perLayerOf(f, family),
        routing,
      };
    }),
  );
};
