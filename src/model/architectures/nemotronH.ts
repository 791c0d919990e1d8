/**
 * Nemotron-H (Nemotron Nano 2 and 3): blocks of one part each, by a pattern: mixers of Mamba-2, attention that knows no positions, MLPs
 * that square what a relu lets through, and mixtures of such as experts, which may read and write a narrower latent.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture, JoinedTensor } from '../architecture.js';
import {
  activation,
  boolean,
  decodeFields,
  layerCount,
  nonNegative,
  onlyAs,
  optional,
  positive,
  positiveInteger,
  unfit,
} from '../config.js';
import type { ExpertsConfig, RawConfig } from '../config.js';
import { mixture } from '../experts/experts.js';
import { alone, aloneByRow, stem } from '../layers/blocks.js';
import { compose, fanOut, mapLayers, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { queryKeyValue } from '../layers/linears.js';
import { plainMlp, plainTogether } from '../layers/mlp.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { block } from '../pass.js';
import { mamba2, mamba2Spec } from '../recurrent/mamba2.js';
import type { Mamba2Shape } from '../recurrent/mamba2.js';
import { renamedFiles } from '../stored/renamedFiles.js';
import { embeddingSpec, headSpec, linearSpec, perLayer, queryKeyValueSpec, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { groupedFamily } from './groupedRouting.js';
import { everywhere, llama, llamaConfig, norm, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';
import { rateBounds } from './mambaConfig.js';
import type { RoutingRules } from './mixture.js';
import { mtpTensors } from './qwen35.js';

type Map = Layer<Tensor, Tensor>;

type Kind = 'mamba' | 'attention' | 'mlp' | 'experts';

interface Experts extends ExpertsConfig {
  readonly routing: RoutingRules;
  readonly expertSize: number;
  readonly sharedSize: number;
  /** Width of what routed experts read and write; undefined: the model's. */
  readonly latentSize: number | undefined;
}

export interface NemotronHConfig extends LlamaConfig {
  /** One a block. */
  readonly blocks: ReadonlyArray<Kind>;
  readonly mamba: Mamba2Shape;
  /** What `experts` says, and more. */
  readonly mixture?: Experts;
}

const letters: Readonly<Record<string, Kind>> = { M: 'mamba', '*': 'attention', '-': 'mlp', E: 'experts' };

const names: Readonly<Record<string, Kind>> = {
  mamba: 'mamba',
  linear_attention: 'mamba',
  attention: 'attention',
  full_attention: 'attention',
  mlp: 'mlp',
  moe: 'experts',
};

const fields = t.type({
  // Which counts for nothing.
  num_hidden_layers: optional(layerCount),
  hidden_size: positiveInteger,
  layers_block_type: optional(t.array(t.string)),
  layer_types: optional(t.array(t.string)),
  hybrid_override_pattern: optional(t.string),
  intermediate_size: optional(positiveInteger),
  layer_norm_epsilon: optional(positive),
  mlp_hidden_act: optional(activation),
  mamba_num_heads: optional(positiveInteger),
  mamba_head_dim: optional(positiveInteger),
  ssm_state_size: optional(positiveInteger),
  n_groups: optional(positiveInteger),
  mamba_n_groups: optional(positiveInteger),
  conv_kernel: optional(positiveInteger),
  mamba_d_conv: optional(positiveInteger),
  use_conv_bias: optional(boolean),
  mamba_conv_bias: optional(boolean),
  use_bias: optional(boolean),
  time_step_min: optional(nonNegative),
  mamba_dt_min: optional(nonNegative),
  moe_intermediate_size: optional(positiveInteger),
  moe_shared_expert_intermediate_size: optional(positiveInteger),
  moe_latent_size: optional(positiveInteger),
});
type Fields = t.TypeOf<typeof fields>;

const known = (
  field: string,
  given: ReadonlyArray<string>,
  kinds: Readonly<Record<string, Kind>>,
): E.Either<FatalError, ReadonlyArray<Kind>> => {
  const found = given.flatMap((name) => (Object.hasOwn(kinds, name) ? (kinds[name] ?? []) : []));
  return found.length === given.length && found.length > 0
    ? E.right(found)
    : E.left(unfit(field, `one a block of ${Object.keys(kinds).join(', ')}`, given));
};

/** A list goes before a pattern, as in transformers; neither counts by the number of layers beside it. */
const blocksOf = (f: Fields): E.Either<FatalError, ReadonlyArray<Kind>> => {
  const list = f.layers_block_type ?? f.layer_types;
  if (list !== null && list !== undefined) return known('layers_block_type', list, names);
  const pattern = f.hybrid_override_pattern;
  return pattern === null || pattern === undefined
    ? E.right(['mamba', 'experts', 'attention', 'mlp'])
    : known('hybrid_override_pattern', Array.from(pattern), letters);
};

const mambaOf = (f: Fields, eps: number): E.Either<FatalError, Mamba2Shape> => {
  const heads = f.mamba_num_heads ?? 128;
  const groups = f.mamba_n_groups ?? f.n_groups ?? 8;
  if (heads % groups !== 0) return E.left(unfit('n_groups', `a divisor of mamba_num_heads ${heads}`, groups));
  return E.right({
    hiddenSize: f.hidden_size,
    heads,
    headDim: f.mamba_head_dim ?? 64,
    groups,
    stateDim: f.ssm_state_size ?? 128,
    taps: f.mamba_d_conv ?? f.conv_kernel ?? 4,
    convBias: f.mamba_conv_bias ?? f.use_conv_bias ?? true,
    projectionBias: f.use_bias ?? false,
    outputBias: f.use_bias ?? false,
    norm: { eps, groups, beforeGate: false },
    // Whatever time_step_limit says.
    ...rateBounds([f.mamba_dt_min ?? f.time_step_min ?? 0.001, Infinity]),
  });
};

const expertsOf = (raw: RawConfig, f: Fields): E.Either<FatalError, Experts> =>
  pipe(
    groupedFamily(raw, { numExperts: 8, perToken: 2, numShared: 1, expertSize: 7688, scores: 'sigmoid', llama: {} }),
    E.map(({ numExperts, perToken, normalized = true, routing = {} }) => ({
      numExperts,
      perToken,
      normalized,
      auxLossCoef: 0,
      balanced: false,
      routing,
      expertSize: f.moe_intermediate_size ?? 7688,
      sharedSize: f.moe_shared_expert_intermediate_size ?? 7688,
      latentSize: f.moe_latent_size ?? undefined,
    })),
  );

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, NemotronHConfig> =>
  pipe(
    onlyAs({ mamba_hidden_act: 'silu', sliding_window: null })(raw),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.bind('blocks', ({ f }) => blocksOf(f)),
    E.let('eps', ({ f }) => f.layer_norm_epsilon ?? 1e-5),
    E.bind('mamba', ({ f, eps }) => mambaOf(f, eps)),
    E.bind('experts', ({ f, blocks }) => (blocks.includes('experts') ? expertsOf(raw, f) : E.right(undefined))),
    E.bind('own', ({ f, blocks, eps }) =>
      llamaConfig(
        {
          ...raw,
          num_hidden_layers: blocks.length,
          intermediate_size: f.intermediate_size ?? 21_504,
          hidden_act: null,
          rms_norm_eps: eps,
          layer_types: null,
          attention_bias: null,
        },
        modelType,
        {
          numKvHeads: 8,
          headDim: 128,
          maxPositions: 4096,
          activation: f.mlp_hidden_act ?? 'relu2',
          turns: (own) => E.right(everywhere(own, false)),
        },
      ),
    ),
    E.map(({ blocks, mamba, experts, own }) => ({
      ...own,
      architecture: 'nemotron_h',
      raw,
      blocks,
      mamba,
      ...(experts === undefined ? {} : { experts, mixture: experts }),
    })),
  );

const mixerOf = (i: number): string => `model.layers.${i}.mixer`;

const expertOf = (i: number, e: number): string => `${mixerOf(i)}.experts.${e}`;

const mlpSpecs = (module: string, width: number, outer: number, bias: boolean): ReadonlyArray<TensorSpec> => [
  ...linearSpec(`${module}.up_proj`, width, outer, bias),
  ...linearSpec(`${module}.down_proj`, outer, width, bias),
];

const expertSpecs = (
  { hiddenSize, mlpBias }: NemotronHConfig,
  experts: Experts,
  i: number,
): ReadonlyArray<TensorSpec> => {
  const { numExperts, perToken, expertSize, sharedSize, latentSize } = experts;
  const module = mixerOf(i);
  const share = perToken / numExperts;
  return [
    ...linearSpec(`${module}.gate`, numExperts, hiddenSize, false).map((spec) => ({ ...spec, router: true })),
    { name: `${module}.gate.e_score_correction_bias`, shape: [numExperts], kind: 'buffer', exact: true },
    ...Array.from({ length: numExperts }, (_, e) =>
      mlpSpecs(expertOf(i, e), expertSize, latentSize ?? hiddenSize, false).map((spec) => ({ ...spec, share })),
    ).flat(),
    ...mlpSpecs(`${module}.shared_experts`, sharedSize, hiddenSize, mlpBias),
    ...(latentSize === undefined
      ? []
      : [
          ...linearSpec(`${module}.fc1_latent_proj`, latentSize, hiddenSize, mlpBias),
          ...linearSpec(`${module}.fc2_latent_proj`, hiddenSize, latentSize, mlpBias),
        ]),
  ];
};

const mixerSpecs = (c: NemotronHConfig, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, numHeads, headDim, intermediateSize, mlpBias } = c;
  const module = mixerOf(i);
  switch (c.blocks[i]) {
    case 'mamba':
      return mamba2Spec(module, c.mamba);
    case 'attention':
      return [
        ...queryKeyValueSpec(module, c, false),
        ...linearSpec(`${module}.o_proj`, hiddenSize, numHeads * headDim, false),
      ];
    case 'experts':
      return c.mixture === undefined ? [] : expertSpecs(c, c.mixture, i);
    default:
      return mlpSpecs(module, intermediateSize, hiddenSize, mlpBias);
  }
};

const mlp = (c: NemotronHConfig, pass: Pass, module: string): Map =>
  plainMlp(pass, c.activation, { up: `${module}.up_proj`, down: `${module}.down_proj` });

const experts = (c: NemotronHConfig, own: Experts, pass: Pass, i: number): Map => {
  const { numExperts, perToken, normalized, routing, latentSize } = own;
  const module = mixerOf(i);
  const latent = (name: string): Map => linear(pass, { module: `${module}.${name}` });
  const routed = mixture(pass, {
    layer: i,
    numExperts,
    perToken,
    normalized,
    ...routing,
    router: linear(pass, { module: `${module}.gate`, flows: false }),
    correction: `${module}.gate.e_score_correction_bias`,
    reads: latentSize === undefined ? undefined : latent('fc1_latent_proj'),
    expert: (e) => mlp(c, pass, expertOf(i, e)),
    together: plainTogether(c.activation, pass, (e) => expertOf(i, e)),
  });
  return compose(
    fanOut(
      latentSize === undefined ? routed : compose(routed, latent('fc2_latent_proj')),
      mlp(c, pass, `${module}.shared_experts`),
    ),
    total,
  );
};

const layer = (c: NemotronHConfig, pass: Pass, i: number): Map => {
  const place = { pass, i, numLayers: c.numLayers };
  const module = mixerOf(i);
  const normed = norm(c, `model.layers.${i}.norm`);
  switch (c.blocks[i]) {
    case 'mamba':
      return alone(place, compose(normed, mamba2(pass, module, c.mamba, narrowing(pass, i, c.numLayers))));
    case 'attention': {
      const parts = { project: queryKeyValue(pass, module), output: linear(pass, { module: `${module}.o_proj` }) };
      return alone(place, compose(normed, selfAttention(c, pass, undefined, i, parts)));
    }
    case 'experts':
      return c.mixture === undefined
        ? narrowing(pass, i, c.numLayers)
        : aloneByRow(place, compose(normed, experts(c, c.mixture, pass, i)));
    default:
      return aloneByRow(place, compose(normed, mlp(c, pass, module)));
  }
};

/** How transformers 5 may write the experts of a block (`save_original_format=False`). */
const packed = (c: NemotronHConfig): ReadonlyArray<JoinedTensor> =>
  c.blocks.flatMap((kind, i): ReadonlyArray<JoinedTensor> => {
    if (kind !== 'experts' || c.mixture === undefined) return [];
    const { numExperts, expertSize, latentSize = c.hiddenSize } = c.mixture;
    const joined = (name: string, rows: number, columns: number): JoinedTensor => ({
      name: `${mixerOf(i)}.experts.${name}`,
      shape: [numExperts, rows, columns],
      parts: Array.from({ length: numExperts }, (_, e) => `${expertOf(i, e)}.${name}.weight`),
    });
    return [joined('up_proj', expertSize, latentSize), joined('down_proj', latentSize, expertSize)];
  });

export const nemotronH: Architecture<NemotronHConfig> = {
  ...llama,
  name: 'nemotron_h',
  modelTypes: ['nemotron_h'],
  config,
  tensors: (c) => [
    embeddingSpec('model.embeddings', c.vocabSize, c.hiddenSize),
    ...perLayer(c.numLayers, (i) => [rmsNormSpec(`model.layers.${i}.norm`, c.hiddenSize), ...mixerSpecs(c, i)]),
    rmsNormSpec('model.norm_f', c.hiddenSize),
    ...headSpec(c.tieWordEmbeddings, c.vocabSize, c.hiddenSize),
  ],
  packed,
  fileLayout: () => renamedFiles([['backbone.', 'model.']]),
  // Layers that guess tokens further ahead.
  buffers: mtpTensors,
  embedding: 'model.embeddings',
  body: (c, pass) =>
    compose(
      stem(pass, 'model.embeddings'),
      mapLayers(c.numLayers, (i) => block(pass, layer(c, pass, i))),
    ),
  tail: (c) => norm(c, 'model.norm_f'),
  loraTargets: () => ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
};
