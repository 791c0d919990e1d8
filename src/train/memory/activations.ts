/** What the forward pass keeps of a token for the way back, read off the names and shapes of a model's tensors: arithmetic only. */
import { moduleOf } from '../../model/adapters/moduleNames.js';
import type { TensorSpec } from '../../model/weights.js';

const floatBytes = 4;

/** What of a model and its adapter decides how much a token keeps. */
export interface ActivationShape {
  /** The base model's tensors. */
  readonly specs: ReadonlyArray<TensorSpec>;
  readonly hiddenSize: number;
  /** What trains of them: all, or what an adapter's modulesToSave and bias name. */
  readonly trains: (spec: TensorSpec) => boolean;
  /** Adapters by module: rank. */
  readonly adapters: ReadonlyMap<string, number>;
  /**
   * Bytes a number that the forward pass keeps takes: 4, or 2 where it is kept as bfloat16. Queries, keys, values and outputs of
   * attention are counted as float32 whatever this says, as they are where the processor does not multiply bfloat16; on a card they are
   * not.
   */
  readonly keptBytes: number;
  /** Tensors lie in a card's memory, where the process itself takes none. */
  readonly onCard?: boolean;
}

/** What a token costs. */
export interface KeptWidths {
  /** Bytes kept of it, over all layers. */
  readonly kept: number;
  /** The same of maps and norms that lie in none, which no layer makes again. */
  readonly outside: number;
  /** The widest input or output of a layer's maps, in numbers. */
  readonly widest: number;
  readonly layers: number;
}

/** A linear map of the model. */
interface LinearMap {
  readonly module: string;
  readonly spec: TensorSpec;
  readonly input: number;
  readonly output: number;
  /** Of routed experts the share of tokens that reads it. */
  readonly share: number;
}

/** The number of the layer that a module lies in; undefined: in none. */
const layerOf = (module: string): string | undefined => /\.(\d+)\./.exec(module)?.[1];

const mapsOf = (specs: ReadonlyArray<TensorSpec>): ReadonlyArray<LinearMap> =>
  specs.flatMap((spec) => {
    if ((spec.kind !== 'linear' && spec.kind !== 'conv1d') || spec.head === true) return [];
    const [first = 0, second = 0] = spec.shape;
    const [output, input] = spec.kind === 'conv1d' ? [second, first] : [first, second];
    return [{ module: moduleOf(spec.name), spec, input, output, share: spec.share ?? 1 }];
  });

/** The linear maps of layers, by what they read: queries, keys and values share an input, as do gate and up, and all that a delta rule reads. */
const inputGroup = (module: string): string =>
  module.replace(/[^.]*$/, (own) =>
    /^(?:[qkv]_proj|q_a_proj|kv_a_proj_with_mqa)$/.test(own)
      ? 'qkv'
      : /^(?:(?:gate|up)_proj|w[13])$/.test(own)
        ? 'gateUp'
        : /^in_proj_(?:qkvz?|z|ba?|a)$/.test(own)
          ? 'deltaRule'
          : own,
  );

/** Maps whose rows are there at once: one, or those of one name of all experts of a layer. */
const besideEachOther = (module: string): string => module.replace(/\.experts\.\d+\./, '.experts.');

/** What attention keeps for its own way back. */
const makesAttention = (module: string): boolean =>
  /(?:\.(?:[qkv]|qkv|q_b|kv_b)_proj|\.query_key_value|\.c_attn|\.Wqkv)$/.test(module);

/** Attention keeps its output for its own way back, whoever reads it next. */
const readsAttention = (module: string): boolean => /(?:\.o_proj|\.out_proj|attn\.c_proj|\.dense)$/.test(module);

/** Whether activations travel from kernel to kernel as bfloat16, as on a card, and not only lie so until they are read again. */
const travelHalved = ({ onCard = false, keptBytes }: ActivationShape): boolean => onCard && keptBytes !== floatBytes;

const attentionBytes = (shape: ActivationShape): number => (travelHalved(shape) ? shape.keptBytes : floatBytes);

/** Bytes of what a map puts out, and of what its adapter makes between its halves. */
const bytesPutOut = ({ module, spec, output, share }: LinearMap, shape: ActivationShape): number =>
  share *
  ((spec.keeps ?? output) * (makesAttention(module) ? attentionBytes(shape) : shape.keptBytes) +
    (shape.adapters.get(module) ?? 0) * floatBytes);

/** Bytes of what a map reads that are kept for it, one copy for it and for attention where they keep it alike. */
const bytesRead = ({ module, spec, input, share }: LinearMap, shape: ActivationShape): number => {
  const { adapters, trains, keptBytes } = shape;
  const ofAttention = readsAttention(module) ? input * attentionBytes(shape) : 0;
  const reads = adapters.has(module) || trains(spec);
  const alike = attentionBytes(shape) === keptBytes;
  const ofMap = reads && (ofAttention === 0 || !alike) ? input * keptBytes : 0;
  return share * (ofAttention + ofMap);
};

/** What a card does not keep since it can be had of something else that it keeps: for adapters alone, weights want their inputs. */
interface Spared {
  /** Maps that read a gated activation, which is made again. */
  readonly gated: ReadonlySet<string>;
  /** Layers whose norms are frozen RMS norms: these keep their values, which maps keep too, in place of what they read. */
  readonly byValue: ReadonlySet<string | undefined>;
}

const sparedOf = (shape: ActivationShape, maps: ReadonlyArray<LinearMap>): Spared => {
  if (!travelHalved(shape)) return { gated: new Set(), byValue: new Set() };
  const { specs, trains, adapters, hiddenSize } = shape;
  const names = new Set(specs.map(({ name }) => name));
  const byValue = new Map<string | undefined, boolean>();
  for (const spec of specs) {
    const { name, kind, shape: own } = spec;
    if (kind !== 'norm' || !name.endsWith('.weight') || own.reduce((a, b) => a * b, 1) !== hiddenSize) continue;
    const layer = layerOf(name);
    const isFrozen = !trains(spec) && !names.has(`${moduleOf(name)}.bias`);
    byValue.set(layer, isFrozen && (byValue.get(layer) ?? true));
  }
  return {
    gated: new Set(
      maps.flatMap(({ module, spec, share }) => {
        const gate = module.replace(/down_proj$/, 'gate_proj');
        return gate !== module && share === 1 && names.has(`${gate}.weight`) && adapters.has(module) && !trains(spec)
          ? [module]
          : [];
      }),
    ),
    byValue: new Set([...byValue].filter(([, all]) => all).map(([layer]) => layer)),
  };
};

/**
 * Whether a map ends a branch: what it puts out is added to the stream, which keeps the sum where the branch's own numbers were. Sums
 * of experts are made of outputs that are kept themselves.
 */
const endsBranch = ({ module, output, share }: LinearMap, hiddenSize: number): boolean =>
  output === hiddenSize && share === 1 && !makesAttention(module);

/** Whether a map reads what a norm of the stream gave. */
const readsNorm = ({ module, input }: LinearMap, hiddenSize: number): boolean =>
  input === hiddenSize && !readsAttention(module);

/** Norms of queries and keys, by the projection whose output they read. */
const headNorm = /^(.*\.)(q|k|query|key)_(?:layer)?norm$/;

/**
 * Numbers that a norm of queries or keys keeps of a token: all that the projection before it puts out, though it may have the gain of
 * one head alone. 0 where that projection counts what comes of it. Undefined: it is no such norm.
 */
const headNormWidth = (module: string, maps: ReadonlyMap<string, LinearMap>): number | undefined => {
  const [, path = '', own = ''] = headNorm.exec(module) ?? [];
  const before = maps.get(`${path}${own.slice(0, 1)}_proj`);
  if (before === undefined) return undefined;
  return before.spec.keeps === undefined ? before.output : 0;
};

/** What the branches of a layer add to its stream, and what reads it. */
interface Branches {
  /** Numbers that maps add to the stream. */
  added: number;
  /** Numbers that norms of the stream, or of what is added to it, read. */
  normed: number;
}

/**
 * Numbers that norms keep of a token beside what maps put out, by layer. The sums that a layer's branches leave in the stream are read
 * by as many norms, of the same layer or the next, so the outputs of these maps stand for them; norms beyond those have inputs of
 * their own, as have the norms of queries and keys and those within mixers. Norms that keep their values have these beside.
 */
const normWidths = ({ specs, hiddenSize }: ActivationShape, maps: ReadonlyArray<LinearMap>, { byValue }: Spared) => {
  const byModule = new Map(maps.map((map) => [map.module, map]));
  const streams = new Map<string | undefined, Branches>();
  const streamOf = (module: string): Branches => {
    const layer = layerOf(module);
    const found = streams.get(layer) ?? { added: 0, normed: 0 };
    streams.set(layer, found);
    return found;
  };
  const widths = new Map<string | undefined, number>();
  const add = (layer: string | undefined, width: number): void =>
    void widths.set(layer, (widths.get(layer) ?? 0) + width);
  for (const map of maps) if (endsBranch(map, hiddenSize)) streamOf(map.module).added += map.output;
  for (const { name, kind, shape } of specs) {
    if (kind !== 'norm' || !name.endsWith('.weight')) continue;
    const module = moduleOf(name);
    const width = shape.reduce((a, b) => a * b, 1);
    const ofHeads = headNormWidth(module, byModule);
    // A norm of a latent keeps what the map before it puts out, which is counted there.
    if (ofHeads !== undefined) add(layerOf(module), ofHeads);
    else if (width === hiddenSize) streamOf(module).normed += width;
    else if (!module.endsWith('_a_layernorm')) add(layerOf(module), width);
  }
  for (const [layer, { added, normed }] of streams)
    add(layer, byValue.has(layer) ? normed : Math.max(0, normed - added));
  return widths;
};

/** What every token of a micro-batch costs. */
export const keptWidths = (shape: ActivationShape): KeptWidths => {
  const { specs, keptBytes } = shape;
  const maps = mapsOf(specs);
  const spared = sparedOf(shape, maps);
  const inputs = new Map<string, number>();
  const widths = new Map<string, number>();
  let kept = 0;
  let outside = 0;
  const keep = (layer: string | undefined, bytes: number): void => {
    if (layer === undefined) outside += bytes;
    else kept += bytes;
  };
  // What a convolution reads was put out by a map; what it puts out is read by a scan or a gate, which keeps it.
  for (const {
    kind,
    shape: [channels = 0],
  } of specs)
    if (kind === 'convolution') kept += channels * keptBytes;
  for (const map of maps) {
    const lane = besideEachOther(map.module);
    widths.set(lane, (widths.get(lane) ?? 0) + map.share * Math.max(map.output, map.input));
    const layer = layerOf(map.module);
    const ofNorms = layer !== undefined && spared.byValue.has(layer);
    const adapter = (shape.adapters.get(map.module) ?? 0) * map.share * floatBytes;
    keep(layer, ofNorms && endsBranch(map, shape.hiddenSize) ? adapter : bytesPutOut(map, shape));
    const isSpared = spared.gated.has(map.module) || (ofNorms && readsNorm(map, shape.hiddenSize));
    const read = isSpared ? 0 : bytesRead(map, shape);
    if (read > 0) inputs.set(inputGroup(map.module), read);
  }
  for (const bytes of inputs.values()) kept += bytes;
  for (const [layer, width] of normWidths(shape, maps, spared)) keep(layer, width * keptBytes);
  const layers = new Set(maps.flatMap(({ module }) => layerOf(module) ?? []));
  return { kept, outside, widest: Math.max(0, ...widths.values()), layers: Math.max(1, layers.size) };
};
