/**
 * Gemma 4, its text models: layers that see a window between those that see all, whose heads are wider; the last layers may read keys
 * and values of earlier ones; every layer may be given something of the tokens themselves, and have experts beside its MLP.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture, JoinedTensor } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { mixture } from '../experts/experts.js';
import { timesFixed } from '../layers/fixedFactor.js';
import { compose, fanOut, identity, residual, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { gated, gatedMlp, gatedNames, gatedTogether } from '../layers/mlp.js';
import { rmsNormBy } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import { scaled } from '../layers/scaled.js';
import { past, wire, wired } from '../layers/wired.js';
import type { Pass } from '../pass.js';
import { joinedFiles } from '../stored/joinedFiles.js';
import { embeddingSpec, headSpec, linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { gemma4Config, gemma4Types } from './gemma4Config.js';
import type { Gemma4Config } from './gemma4Config.js';
import { norm } from './llama.js';
import {
  attentionTensors,
  handedOn,
  hasKeys,
  keysGiven,
  keysTurnOtherwiseBeyond,
  layerName,
  ofTokens,
  sharingAttention,
  sharingBody,
  tokenLayerTensors,
  tokenTablesOf,
  tokenTensors,
  unreadMaps,
} from './sharedKeys.js';

type Map = Layer<Tensor, Tensor>;
type Values = ReadonlyArray<Tensor>;

const mlpWidth = (config: Gemma4Config, i: number): number =>
  config.doubleWide && !hasKeys(config, i) ? 2 * config.intermediateSize : config.intermediateSize;

const layerNorms = [
  'input_layernorm',
  'post_attention_layernorm',
  'pre_feedforward_layernorm',
  'post_feedforward_layernorm',
];

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
  return [
    ...attentionTensors(config, i),
    ...linearSpec(`${layer}.mlp.gate_proj`, width, hiddenSize, false),
    ...linearSpec(`${layer}.mlp.up_proj`, width, hiddenSize, false),
    ...linearSpec(`${layer}.mlp.down_proj`, hiddenSize, width, false),
    ...layerNorms.map((name) => rmsNormSpec(`${layer}.${name}`, hiddenSize)),
    ...tokenLayerTensors(config, i),
    ...routedTensors(config, i),
    { name: `${layer}.layer_scalar`, shape: [1], kind: 'buffer' },
  ];
};

const gemma4Tensors = (config: Gemma4Config): ReadonlyArray<TensorSpec> => [
  embeddingSpec('model.embed_tokens', config.vocabSize, config.hiddenSize),
  ...tokenTensors(config),
  ...perLayer(config.numLayers, (i) => layerTensors(config, i)),
  rmsNormSpec('model.norm', config.hiddenSize),
  ...headSpec(config.tieWordEmbeddings, config.vocabSize, config.hiddenSize),
];

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

/** h + attention(h), of [h] or [h, k, v], with what `sharingAttention` gives behind it. */
const attentionStep = (config: Gemma4Config, pass: Pass, angles: RotaryAngles, i: number): Layer<Values, Values> => {
  const keys = keysGiven(config, i);
  const handed = handedOn(config, i);
  const normed = wired(wire(0, norm(config, `${layerName(i)}.input_layernorm`)), ...past(keys));
  return compose(
    wired(
      wire([0, ...keys], compose(normed, sharingAttention(config, pass, angles, i))),
      wire(0, narrowing(pass, i, config.numLayers)),
    ),
    wired(wire([0, 1 + handed.length], total), ...past(handed)),
  );
};

/** What follows attention: [h, p] ↦ the next layer's hidden states; of [h] where the model has no p. */
const afterAttention = (config: Gemma4Config, pass: Pass, i: number): Layer<Values, Tensor> => {
  const mlp = mlpStep(config, pass, i);
  const factor = timesFixed(`${layerName(i)}.layer_scalar`);
  return config.perLayer === undefined
    ? compose(total, mlp, factor)
    : compose(
        wired(wire(0, mlp), ...past([1])),
        wired(wire([0, 1], ofTokens(config, pass, i)), ...past([0])),
        compose(total, factor),
      );
};

/** [h], [h, k, v], [h, p] or [h, k, v, p] to [h] or [h, k, v]. */
const gemma4Layer = (config: Gemma4Config, pass: Pass, angles: RotaryAngles, i: number): Layer<Values, Values> => {
  const keys = keysGiven(config, i);
  const handed = handedOn(config, i);
  const ofToken = config.perLayer === undefined ? [] : [narrowing(pass, i, config.numLayers)];
  return compose(
    wired(
      wire([0, ...keys], attentionStep(config, pass, angles, i)),
      ...ofToken.map((narrow) => wire(1 + keys.length, narrow)),
    ),
    wired(wire([0, ...ofToken.map(() => 1 + handed.length)], afterAttention(config, pass, i)), ...past(handed)),
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
  buffers: unreadMaps,
  embedding: 'model.embed_tokens',
  tokenTables: tokenTablesOf,
  body: (config, pass) =>
    sharingBody(config, pass, {
      streams: 1,
      begin: identity,
      core: (angles, i) => gemma4Layer(config, pass, angles, i),
      end: total,
    }),
  narrows: true,
  tail: (config) => norm(config, 'model.norm'),
  turnsOtherwiseBeyond: keysTurnOtherwiseBeyond,
  loraTargets: () => ['q_proj', 'v_proj'],
};
