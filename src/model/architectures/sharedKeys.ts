/**
 * Layers that may read keys and values of earlier ones, and are given something of the tokens themselves, each its own: Gemma 3n,
 * Gemma 4.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import type { TokenTables } from '../architecture.js';
import { rotaryAngles } from '../attention/rope.js';
import { turnsOtherwiseBeyond } from '../attention/ropeConfig.js';
import type { RotaryAngles } from '../attention/rope.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import { attended, turnedHeads, turnedQueries } from '../attention/rotaryAttention.js';
import { unfit } from '../config.js';
import { splitColumns } from '../layers/columns.js';
import { tokenEmbedding } from '../layers/embedding.js';
import { compose, each, fanOut, holding, identity, mapLayers, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { linears } from '../layers/linears.js';
import { gated } from '../layers/mlp.js';
import { bareRmsNorm, perHead, rmsNorm } from '../layers/norm.js';
import { scaled } from '../layers/scaled.js';
import { past, wire, wired } from '../layers/wired.js';
import { block } from '../pass.js';
import type { Pass } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { embeddingSpec, linearSpec, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { attentionParts, llamaStem, norm } from './llama.js';
import type { LlamaConfig, LlamaParts } from './llama.js';

/** What of attention is each layer's own. */
export interface AttentionSizes {
  readonly headDim: number;
  readonly numKvHeads: number;
}

export interface SharedKeysConfig extends LlamaConfig {
  /** One a layer; `headDim` and `numKvHeads` beside are those of layers that see a window. */
  readonly sizes: ReadonlyArray<AttentionSizes>;
  /** How layers that see all turn; the others turn as `rope` says. */
  readonly globalRope: RopeConfig;
  /** One a layer: the layer whose keys and values it reads. */
  readonly keysOf: ReadonlyArray<number>;
  /** In layers that see all, keys are values too. */
  readonly keysAreValues: boolean;
  /** What every layer is given of the tokens themselves: width and rows of the table. Absent: nothing. */
  readonly perLayer?: { readonly width: number; readonly rows: number } | undefined;
}

/**
 * The layer whose keys and values each layer reads: the last `shared` those of the last layer of their kind before them.
 * `E_MODEL_CONFIG` where there is none.
 */
export const keySources = (
  { windows, numLayers }: Pick<LlamaConfig, 'windows' | 'numLayers'>,
  shared: number,
): E.Either<FatalError, ReadonlyArray<number>> => {
  const first = numLayers - shared;
  const sees = windows.map((window) => window > 0);
  const sources = sees.map((slides, i) => (i < first ? i : sees.slice(0, Math.max(0, first)).lastIndexOf(slides)));
  return sources.every((source) => source >= 0)
    ? E.right(sources)
    : E.left(unfit('num_kv_shared_layers', 'layers of each kind that have keys and values of their own', shared));
};

type Values = ReadonlyArray<Tensor>;

export const layerName = (i: number): string => `model.layers.${i}`;

export const seesAll = ({ windows }: SharedKeysConfig, i: number): boolean => (windows[i] ?? 0) === 0;

/** Whether the layer has keys and values of its own. */
export const hasKeys = ({ keysOf }: SharedKeysConfig, i: number): boolean => keysOf[i] === i;

/** Whether later layers read its keys and values. */
const isRead = ({ keysOf }: SharedKeysConfig, i: number): boolean =>
  keysOf.some((source, layer) => layer > i && source === i);

/** Layer `i` as one of a model whose layers are all like it. */
const likeLayer = (config: SharedKeysConfig, i: number): LlamaConfig => ({
  ...config,
  ...config.sizes[i],
  rope: seesAll(config, i) ? config.globalRope : config.rope,
});

/** Tensors of a layer's attention. */
export const attentionTensors = (config: SharedKeysConfig, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, numHeads, numKvHeads, headDim, qkvBias, outputBias } = likeLayer(config, i);
  const attn = `${layerName(i)}.self_attn`;
  const own = hasKeys(config, i);
  const maps = own ? (config.keysAreValues && seesAll(config, i) ? ['k_proj'] : ['k_proj', 'v_proj']) : [];
  return [
    ...linearSpec(`${attn}.q_proj`, numHeads * headDim, hiddenSize, qkvBias),
    ...maps.flatMap((name) => linearSpec(`${attn}.${name}`, numKvHeads * headDim, hiddenSize, qkvBias)),
    ...linearSpec(`${attn}.o_proj`, hiddenSize, numHeads * headDim, outputBias),
    ...['q_norm', ...(own ? ['k_norm'] : [])].map((name) => rmsNormSpec(`${attn}.${name}`, headDim)),
  ];
};

const tokenTable = 'model.embed_tokens_per_layer';

/** Tensors of what layers are given of the tokens, but for each layer's own. */
export const tokenTensors = ({ numLayers, hiddenSize, perLayer }: SharedKeysConfig): ReadonlyArray<TensorSpec> =>
  perLayer === undefined
    ? []
    : [
        embeddingSpec(tokenTable, perLayer.rows, numLayers * perLayer.width),
        ...linearSpec('model.per_layer_model_projection', numLayers * perLayer.width, hiddenSize, false),
        rmsNormSpec('model.per_layer_projection_norm', perLayer.width),
      ];

/** Those of a layer. */
export const tokenLayerTensors = ({ hiddenSize, perLayer }: SharedKeysConfig, i: number): ReadonlyArray<TensorSpec> =>
  perLayer === undefined
    ? []
    : [
        ...linearSpec(`${layerName(i)}.per_layer_input_gate`, perLayer.width, hiddenSize, false),
        ...linearSpec(`${layerName(i)}.per_layer_projection`, hiddenSize, perLayer.width, false),
        rmsNormSpec(`${layerName(i)}.post_per_layer_input_norm`, hiddenSize),
      ];

/** Tokens beyond which keys of either kind of layer turn otherwise. */
export const keysTurnOtherwiseBeyond = ({ rope, globalRope }: SharedKeysConfig): number | undefined =>
  turnsOtherwiseBeyond(globalRope) ?? turnsOtherwiseBeyond(rope);

/** The table of all layers, which grows with the embedding. */
export const tokenTablesOf = ({ perLayer, ...config }: SharedKeysConfig): TokenTables | undefined =>
  perLayer && {
    modules: [tokenTable],
    field: 'vocab_size_per_layer_input',
    resized: (rows): SharedKeysConfig => ({ ...config, perLayer: { ...perLayer, rows } }),
  };

/** What files hold of maps to keys and values in layers that read those of others. */
export const unreadMaps = /\.self_attn\.[kv]_(?:proj|norm)\.weight$/;

/** What of attention is otherwise than Llama's: values are normed, and may be the keys before those are. */
const ownParts = (config: SharedKeysConfig, pass: Pass, i: number): LlamaParts => {
  const { headDim } = likeLayer(config, i);
  const attn = `${layerName(i)}.self_attn`;
  const values = perHead(headDim, bareRmsNorm(config.rmsNormEps));
  if (!hasKeys(config, i)) return { keysOf: config.keysOf[i] };
  if (!config.keysAreValues || !seesAll(config, i)) return { values };
  const project = compose(linears(pass, [`${attn}.q_proj`, `${attn}.k_proj`]), wired(...past([0, 1, 1])));
  return { values, project };
};

/** Places of the keys and values that a layer hands on behind what it puts out. */
export const handedOn = (config: SharedKeysConfig, i: number): ReadonlyArray<number> =>
  isRead(config, i) ? [1, 2] : [];

/** Places of those that it is given behind hidden states. */
export const keysGiven = (config: SharedKeysConfig, i: number): ReadonlyArray<number> =>
  hasKeys(config, i) ? [] : [1, 2];

/**
 * Attention of hidden states that are normed, and normed again: of [x], or of [x, k, v] where the layer reads another's keys and values,
 * to [y], with its own keys and values behind it where later layers read those. Of the rows that are read, in the last layer.
 */
export const sharingAttention = (
  config: SharedKeysConfig,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
): Layer<Values, Values> => {
  const like = likeLayer(config, i);
  const parts = attentionParts(like, pass, angles, i, ownParts(config, pass, i));
  const after = norm(config, `${layerName(i)}.post_attention_layernorm`);
  const queries = linear(pass, { module: `${layerName(i)}.self_attn.q_proj` });
  return compose(
    hasKeys(config, i)
      ? wired(wire(0, turnedHeads(like, parts)))
      : wired(wire(0, compose(queries, turnedQueries(like, parts))), ...past([1, 2])),
    wired(wire([0, 1, 2], compose(attended(like, pass, parts), after)), ...past(handedOn(config, i))),
  );
};

/** [x, p] ↦ what a layer makes of p, which it is given of the tokens, [N, width], where it stands at x: [N, hiddenSize]. */
export const ofTokens = (config: SharedKeysConfig, pass: Pass, i: number): Layer<Values, Tensor> => {
  const layer = layerName(i);
  return compose(
    each(linear(pass, { module: `${layer}.per_layer_input_gate` }), identity),
    gated(config.activation),
    linear(pass, { module: `${layer}.per_layer_projection` }),
    norm(config, `${layer}.post_per_layer_input_norm`),
  );
};

/** Layers before layer `i` whose keys and values it or a later one reads, the last first. */
const carriedInto = ({ keysOf }: SharedKeysConfig, i: number): ReadonlyArray<number> =>
  [...new Set(keysOf.slice(i).filter((source) => source < i))].toSorted((a, b) => b - a);

const places = (first: number, count: number): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, j) => first + j);

/**
 * Layer `i` among others, of `core`, which is made of hidden states (`streams` of them), keys and values where it reads another's, and
 * what it is given of the tokens, to the next layer's hidden states, and keys and values where later ones read them. It is given what
 * later layers are given, too, and hands that on.
 */
const sharingLayer = (
  config: SharedKeysConfig,
  streams: number,
  i: number,
  core: Layer<Values, Values>,
): Layer<Values, Values> => {
  const carried = carriedInto(config, i);
  const keysFrom = (layer: number): ReadonlyArray<number> => places(streams + 2 * carried.indexOf(layer), 2);
  const [own, ...later] = places(
    streams + 2 * carried.length,
    config.perLayer === undefined ? 0 : config.numLayers - i,
  );
  const keys = hasKeys(config, i) ? [] : keysFrom(config.keysOf[i] ?? i);
  const others = carriedInto(config, i + 1).filter((layer) => layer !== i);
  return wired(
    wire([...places(0, streams), ...keys, ...(own === undefined ? [] : [own])], core),
    ...past([...others.flatMap(keysFrom), ...later]),
  );
};

/** [e, t], embeddings and rows of the table of all layers, ↦ what each layer is given, [N, width]. */
const givenLayers = (
  { numLayers, hiddenSize, rmsNormEps }: SharedKeysConfig,
  width: number,
  pass: Pass,
): Layer<Values, Values> =>
  compose(
    each(
      compose(
        linear(pass, { module: 'model.per_layer_model_projection' }),
        // What the map gives counts 1 / √hiddenSize, which a norm takes out again but for its epsilon.
        perHead(width, rmsNorm('model.per_layer_projection_norm', { eps: rmsNormEps * hiddenSize, offset: 0 })),
      ),
      identity,
    ),
    total,
    scaled(Math.SQRT1_2),
    splitColumns(Array.from({ length: numLayers }, () => width)),
  );

/** Embeddings, and what each layer is given of the tokens. */
export const stemWithTokens = (config: SharedKeysConfig, pass: Pass): Layer<Sequence, Values> => {
  const embedded = llamaStem(config, pass);
  if (config.perLayer === undefined) return fanOut(embedded);
  const { width } = config.perLayer;
  return compose(
    fanOut(embedded, compose(tokenEmbedding(pass, tokenTable), scaled(Math.fround(Math.sqrt(width))))),
    wired(...past([0]), wire([0, 1], givenLayers(config, width, pass))),
  );
};

/** The body of such a model: hidden states as they begin, `streams` of them, what each layer does (see `sharingLayer`), and their end. */
export const sharingBody = (
  config: SharedKeysConfig,
  pass: Pass,
  {
    streams,
    begin,
    core,
    end,
  }: {
    readonly streams: number;
    /** [e, p, …] to [x, …, p, …] */
    readonly begin: Layer<Values, Values>;
    readonly core: (angles: RotaryAngles, i: number) => Layer<Values, Values>;
    /** [x, …] to the body's value. */
    readonly end: Layer<Values, Tensor>;
  },
): Layer<Sequence, Tensor> =>
  holding(
    (sequence) => rotaryAngles(config.rope, sequence),
    (local) =>
      holding(
        (sequence: Sequence) => rotaryAngles(config.globalRope, sequence),
        (global) =>
          compose(
            compose(stemWithTokens(config, pass), begin),
            mapLayers(config.numLayers, (i) =>
              block(pass, sharingLayer(config, streams, i, core(seesAll(config, i) ? global : local, i))),
            ),
            end,
          ),
      ),
  );
