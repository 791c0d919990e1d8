/**
 * Gemma 4, its text models: layers that see a window between those that see all, whose heads are wider; the last layers may read keys
 * and values of earlier ones; every layer may be given something of the tokens themselves, and have experts beside its MLP.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture, JoinedTensor } from '../architecture.js';
import { splitColumns } from '../columns.js';
import { scaled, tokenEmbedding } from '../embedding.js';
import { mixture } from '../experts.js';
import { timesFixed } from '../fixedFactor.js';
import { gemma4Config, gemma4Types } from './gemma4Config.js';
import type { Gemma4Config } from './gemma4Config.js';
import { joinedFiles } from '../joinedFiles.js';
import { compose, each, fanOut, holding, identity, mapLayers, residual, total } from '../layer.js';
import type { Layer } from '../layer.js';
import { linear } from '../linear.js';
import { linears } from '../linears.js';
import { attentionParts, llamaStem, norm } from './llama.js';
import type { LlamaConfig, LlamaParts } from './llama.js';
import { gated, gatedMlp, gatedNames, gatedTogether } from '../mlp.js';
import { bareRmsNorm, perHead, rmsNorm, rmsNormBy } from '../norm.js';
import { block } from '../pass.js';
import type { Pass } from '../pass.js';
import { rotaryAngles } from '../rope.js';
import type { RotaryAngles } from '../rope.js';
import { attended, turnedHeads, turnedQueries } from '../rotaryAttention.js';
import { narrowing } from '../rows.js';
import type { Sequence } from '../sequence.js';
import { embeddingSpec, headSpec, linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { past, wire, wired } from '../wired.js';

type Map = Layer<Tensor, Tensor>;
type Values = ReadonlyArray<Tensor>;

const layerName = (i: number): string => `model.layers.${i}`;

const seesAll = ({ windows }: Gemma4Config, i: number): boolean => (windows[i] ?? 0) === 0;

/** Whether the layer has keys and values of its own. */
const hasKeys = ({ keysOf }: Gemma4Config, i: number): boolean => keysOf[i] === i;

/** Whether later layers read its keys and values. */
const isRead = ({ keysOf }: Gemma4Config, i: number): boolean =>
  keysOf.some((source, layer) => layer > i && source === i);

const mlpWidth = (config: Gemma4Config, i: number): number =>
  config.doubleWide && !hasKeys(config, i) ? 2 * config.intermediateSize : config.intermediateSize;

/** Layer `i` as one of a model whose layers are all like it. */
const likeLayer = (config: Gemma4Config, i: number): LlamaConfig => ({
  ...config,
  ...config.sizes[i],
  rope: seesAll(config, i) ? config.globalRope : config.rope,
});

const attentionTensors = (config: Gemma4Config, i: number): ReadonlyArray<TensorSpec> => {
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

const expertsModule = (i: number): string => `${layerName(i)}.experts`;

const routedTensors = ({ hiddenSize, routing }: Gemma4Config, i: number): ReadonlyArray<TensorSpec> => {
  if (routing === undefined) return [];
  const { numExperts, perToken, expertSize } = routing;
  const router = `${layerName(i)}.router`;
  const share = perToken / numExperts;
  return [
    ...linearSpec(`${router}.proj`, numExperts, hiddenSize, false).map((spec) => ({ ...spec, router: true })),
    { name: `${router}.scale`, shape: [hiddenSize], kind: 'bias' },
    { name: `${router}.per_expert_scale`, shape: [numExperts], kind: 'bias' },
    ...Array.from({ length: numExperts }, (_, e) => `${expertsModule(i)}.${e}`).flatMap((module) =>
      [
        ...linearSpec(`${module}.gate_proj`, expertSize, hiddenSize, false),
        ...linearSpec(`${module}.up_proj`, expertSize, hiddenSize, false),
        ...linearSpec(`${module}.down_proj`, hiddenSize, expertSize, false),
      ].map((spec) => ({ ...spec, share })),
    ),
    ...['post_feedforward_layernorm_1', 'post_feedforward_layernorm_2', 'pre_feedforward_layernorm_2'].map((name) =>
      rmsNormSpec(`${layerName(i)}.${name}`, hiddenSize),
    ),
  ];
};

const layerTensors = (config: Gemma4Config, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize } = config;
  const layer = layerName(i);
  const width = mlpWidth(config, i);
  const ofTokens = config.perLayer?.width;
  return [
    ...attentionTensors(config, i),
    ...linearSpec(`${layer}.mlp.gate_proj`, width, hiddenSize, false),
    ...linearSpec(`${layer}.mlp.up_proj`, width, hiddenSize, false),
    ...linearSpec(`${layer}.mlp.down_proj`, hiddenSize, width, false),
    ...[
      'input_layernorm',
      'post_attention_layernorm',
      'pre_feedforward_layernorm',
      'post_feedforward_layernorm',
      ...(ofTokens === undefined ? [] : ['post_per_layer_input_norm']),
    ].map((name) => rmsNormSpec(`${layer}.${name}`, hiddenSize)),
    ...(ofTokens === undefined
      ? []
      : [
          ...linearSpec(`${layer}.per_layer_input_gate`, ofTokens, hiddenSize, false),
          ...linearSpec(`${layer}.per_layer_projection`, hiddenSize, ofTokens, false),
        ]),
    ...routedTensors(config, i),
    { name: `${layer}.layer_scalar`, shape: [1], kind: 'buffer' },
  ];
};

const tokenTable = 'model.embed_tokens_per_layer';

const gemma4Tensors = (config: Gemma4Config): ReadonlyArray<TensorSpec> => {
  const { numLayers, hiddenSize, vocabSize, perLayer: ofTokens, tieWordEmbeddings } = config;
  return [
    embeddingSpec('model.embed_tokens', vocabSize, hiddenSize),
    ...(ofTokens === undefined
      ? []
      : [
          embeddingSpec(tokenTable, ofTokens.rows, numLayers * ofTokens.width),
          ...linearSpec('model.per_layer_model_projection', numLayers * ofTokens.width, hiddenSize, false),
          rmsNormSpec('model.per_layer_projection_norm', ofTokens.width),
        ]),
    ...perLayer(numLayers, (i) => layerTensors(config, i)),
    rmsNormSpec('model.norm', hiddenSize),
    ...headSpec(tieWordEmbeddings, vocabSize, hiddenSize),
  ];
};

/** Files hold the experts of a layer in two tensors: gates and ups, and downs. */
const packedExperts = ({ numLayers, hiddenSize, routing }: Gemma4Config): ReadonlyArray<JoinedTensor> =>
  routing === undefined
    ? []
    : Array.from({ length: numLayers }, (_, i): ReadonlyArray<JoinedTensor> => {
        const { numExperts, expertSize } = routing;
        const parts = (...names: ReadonlyArray<string>): ReadonlyArray<string> =>
          Array.from({ length: numExperts }, (_expert, e) =>
            names.map((name) => `${expertsModule(i)}.${e}.${name}.weight`),
          ).flat();
        return [
          {
            name: `${expertsModule(i)}.gate_up_proj`,
            shape: [numExperts, 2 * expertSize, hiddenSize],
            parts: parts('gate_proj', 'up_proj'),
          },
          {
            name: `${expertsModule(i)}.down_proj`,
            shape: [numExperts, hiddenSize, expertSize],
            parts: parts('down_proj'),
          },
        ];
      }).flat();

/** What of attention is otherwise than Llama's: values are normed, and may be the keys before those are. */
const ownParts = (config: Gemma4Config, pass: Pass, i: number): LlamaParts => {
  const { headDim } = likeLayer(config, i);
  const attn = `${layerName(i)}.self_attn`;
  const values = perHead(headDim, bareRmsNorm(config.rmsNormEps));
  if (!hasKeys(config, i)) return { keysOf: config.keysOf[i] };
  if (!config.keysAreValues || !seesAll(config, i)) return { values };
  const project = compose(linears(pass, [`${attn}.q_proj`, `${attn}.k_proj`]), wired(...past([0, 1, 1])));
  return { values, project };
};

/**
 * h + attention(h), of [h], or of [h, k, v] where the layer reads another's keys and values; with its own behind it where later layers
 * read those.
 */
const attentionStep = (config: Gemma4Config, pass: Pass, angles: RotaryAngles, i: number): Layer<Values, Values> => {
  const like = likeLayer(config, i);
  const parts = attentionParts(like, pass, angles, i, ownParts(config, pass, i));
  const before = norm(config, `${layerName(i)}.input_layernorm`);
  const after = norm(config, `${layerName(i)}.post_attention_layernorm`);
  const straight = wire(0, narrowing(pass, i, config.numLayers));
  const queries = linear(pass, { module: `${layerName(i)}.self_attn.q_proj` });
  const handedOn = isRead(config, i) ? [1, 2] : [];
  return compose(
    hasKeys(config, i)
      ? wired(wire(0, compose(before, turnedHeads(like, parts))), straight)
      : wired(wire(0, compose(before, queries, turnedQueries(like, parts))), ...past([1, 2]), straight),
    wired(wire([0, 1, 2], compose(attended(like, pass, parts), after)), ...past([3, ...handedOn])),
    wired(wire([0, 1], total), ...past(handedOn.map((place) => place + 1))),
  );
};

/** The experts of layer `i`, [N, hiddenSize] to the same: what they read is normed otherwise than what their router does. */
const experts = (config: Gemma4Config, pass: Pass, i: number): ReadonlyArray<Map> => {
  const { routing, rmsNormEps: eps, hiddenSize } = config;
  if (routing === undefined) return [];
  const { expertSize: _, ...shape } = routing;
  const layer = layerName(i);
  const moduleOf = (e: number): string => `${expertsModule(i)}.${e}`;
  const chosen = mixture(pass, {
    ...shape,
    layer: i,
    router: compose(
      rmsNormBy({ weight: `${layer}.router.scale` }, { eps, offset: 0 }),
      linear(pass, { module: `${layer}.router.proj` }),
      scaled(1 / Math.sqrt(hiddenSize)),
    ),
    reads: norm(config, `${layer}.pre_feedforward_layernorm_2`),
    scales: `${layer}.router.per_expert_scale`,
    expert: (e) => gatedMlp(pass, config.activation, moduleOf(e)),
    together: gatedTogether(gated(config.activation), pass, moduleOf, gatedNames),
  });
  return [compose(chosen, norm(config, `${layer}.post_feedforward_layernorm_2`))];
};

/** h + mlp(h), with what the experts make of h. */
const mlpStep = (config: Gemma4Config, pass: Pass, i: number): Map => {
  const layer = layerName(i);
  const plain = compose(
    norm(config, `${layer}.pre_feedforward_layernorm`),
    gatedMlp(pass, config.activation, `${layer}.mlp`),
  );
  const beside = experts(config, pass, i);
  const both =
    beside.length === 0
      ? plain
      : compose(fanOut(compose(plain, norm(config, `${layer}.post_feedforward_layernorm_1`)), ...beside), total);
  return residual(compose(both, norm(config, `${layer}.post_feedforward_layernorm`)));
};

/** [h, p] ↦ h + what the layer makes of p, which it is given of the tokens, [N, width]. */
const tokensStep = (config: Gemma4Config, pass: Pass, i: number): Layer<Values, Tensor> => {
  const layer = layerName(i);
  return compose(
    wired(wire(0, linear(pass, { module: `${layer}.per_layer_input_gate` })), ...past([1, 0])),
    wired(
      wire(
        [0, 1],
        compose(
          gated(config.activation),
          linear(pass, { module: `${layer}.per_layer_projection` }),
          norm(config, `${layer}.post_per_layer_input_norm`),
        ),
      ),
      ...past([2]),
    ),
    total,
  );
};

/** What follows attention: [h, p] ↦ the next layer's hidden states; of [h] where the model has no p. */
const afterAttention = (config: Gemma4Config, pass: Pass, i: number): Layer<Values, Tensor> => {
  const mlp = mlpStep(config, pass, i);
  const factor = timesFixed(`${layerName(i)}.layer_scalar`);
  return config.perLayer === undefined
    ? compose(total, mlp, factor)
    : compose(wired(wire(0, mlp), ...past([1])), tokensStep(config, pass, i), factor);
};

/** Layers before layer `i` whose keys and values it or a later one reads, the last first. */
const carriedInto = ({ keysOf }: Gemma4Config, i: number): ReadonlyArray<number> =>
  [...new Set(keysOf.slice(i).filter((source) => source < i))].toSorted((a, b) => b - a);

const places = (first: number, count: number): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, j) => first + j);

/**
 * Layer `i`. It is given hidden states, the keys and values of `carriedInto`, and what it and each later layer are given of the tokens;
 * and gives the same for the next one.
 */
const gemma4Layer = (config: Gemma4Config, pass: Pass, angles: RotaryAngles, i: number): Layer<Values, Values> => {
  const carried = carriedInto(config, i);
  const keysFrom = (layer: number): ReadonlyArray<number> => places(1 + 2 * carried.indexOf(layer), 2);
  const given = places(1 + 2 * carried.length, config.perLayer === undefined ? 0 : config.numLayers - i);
  const keys = hasKeys(config, i) ? [] : keysFrom(config.keysOf[i] ?? i);
  const own = given.slice(0, 1);
  const ownPlaces = places(1 + keys.length, own.length);
  const attention = wired(
    wire(places(0, 1 + keys.length), attentionStep(config, pass, angles, i)),
    ...ownPlaces.map((place) => wire(place, narrowing(pass, i, config.numLayers))),
  );
  const handedOn = isRead(config, i) ? [1, 2] : [];
  const rest = wired(
    wire([0, ...own.map(() => 1 + handedOn.length)], afterAttention(config, pass, i)),
    ...past(handedOn),
  );
  return wired(
    wire([0, ...keys, ...own], compose(attention, rest)),
    ...past([
      ...carriedInto(config, i + 1)
        .filter((layer) => layer !== i)
        .flatMap(keysFrom),
      ...given.slice(1),
    ]),
  );
};

/** [e, t], embeddings and rows of the table of all layers, ↦ what each layer is given, [N, width]. */
const givenLayers = (
  { numLayers, hiddenSize, rmsNormEps }: Gemma4Config,
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
const gemma4Stem = (config: Gemma4Config, pass: Pass): Layer<Sequence, Values> => {
  const embedded = llamaStem(config, pass);
  if (config.perLayer === undefined) return fanOut(embedded);
  const { width } = config.perLayer;
  return compose(
    fanOut(embedded, compose(tokenEmbedding(pass, tokenTable), scaled(Math.fround(Math.sqrt(width))))),
    wired(...past([0]), wire([0, 1], givenLayers(config, width, pass))),
  );
};

export const gemma4: Architecture<Gemma4Config> = {
  name: 'gemma4',
  modelTypes: gemma4Types,
  config: gemma4Config,
  tensors: gemma4Tensors,
  basePrefix: 'model.',
  packed: packedExperts,
  fileLayout: (config) => joinedFiles(packedExperts(config), 'model.'),
  // Files have maps to keys and values in layers that read those of others, too.
  buffers: /\.self_attn\.[kv]_(?:proj|norm)\.weight$/,
  embedding: 'model.embed_tokens',
  tokenTables: ({ perLayer: ofTokens, ...config }) =>
    ofTokens && {
      modules: [tokenTable],
      field: 'vocab_size_per_layer_input',
      resized: (rows): Gemma4Config => ({ ...config, perLayer: { ...ofTokens, rows } }),
    },
  body: (config, pass) =>
    holding(
      (sequence) => rotaryAngles(config.rope, sequence),
      (local) =>
        holding(
          (sequence: Sequence) => rotaryAngles(config.globalRope, sequence),
          (global) =>
            compose(
              gemma4Stem(config, pass),
              mapLayers(config.numLayers, (i) =>
                block(pass, gemma4Layer(config, pass, seesAll(config, i) ? global : local, i)),
              ),
              total,
            ),
        ),
    ),
  narrows: true,
  tail: (config) => norm(config, 'model.norm'),
  loraTargets: () => ['q_proj', 'v_proj'],
};
