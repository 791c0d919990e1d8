/**
 * Granite 4, and Granite with experts: Granite whose layers are mixers of Mamba-2 or attention, by a list, and whose MLPs are routed
 * experts, one that all tokens go to, or both. Attention of Granite 4 may know no positions.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture, JoinedTensor } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import {
  boolean,
  decodeFields,
  layerCount,
  nonNegative,
  nonNegativeInteger,
  optional,
  positiveInteger,
  unfit,
} from '../config.js';
import type { ExpertsConfig, RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose, fanOut, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { gatedNames, joinedMlp } from '../layers/mlp.js';
import { narrowing } from '../layers/rows.js';
import { scaled } from '../layers/scaled.js';
import type { Pass } from '../pass.js';
import { mamba2, mamba2Spec } from '../recurrent/mamba2.js';
import type { Mamba2Shape } from '../recurrent/mamba2.js';
import { joinedFiles } from '../stored/joinedFiles.js';
import { linearSpec, perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { graniteConfig, graniteStem } from './granite.js';
import type { GraniteConfig } from './granite.js';
import { sinkSpecs, swaBody, swaWindows, withThetas } from './graniteSwa.js';
import type { Turning } from './graniteSwa.js';
import { llama, llamaTensors, norm, selfAttention } from './llama.js';
import type { LlamaParts } from './llama.js';
import { mambaFields, mambaShape, onlySilu } from './mambaConfig.js';
import { mixturePacked, mixtureSpecs, routedExperts, usualGate } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

type Map = Layer<Tensor, Tensor>;

export interface GraniteMoeConfig extends GraniteConfig {
  /** One a layer: the mixer of Mamba-2 that it is. Undefined: it attends. */
  readonly mixers: ReadonlyArray<Mamba2Shape | undefined>;
  /** Width of the MLP that all tokens go to; 0: there is none. */
  readonly sharedSize: number;
  /** Width of a routed expert, where there are such. */
  readonly expertSize: number;
}

const kinds = t.keyof({ mamba: null, linear_attention: null, attention: null, full_attention: null });

const fields = t.type({
  ...mambaFields,
  num_hidden_layers: layerCount,
  layer_types: optional(t.array(kinds)),
  layers_block_type: optional(t.array(kinds)),
  position_embedding_type: optional(t.keyof({ rope: null, nope: null })),
  intermediate_size: optional(positiveInteger),
  shared_intermediate_size: optional(nonNegativeInteger),
  num_local_experts: optional(nonNegativeInteger),
  // 0 in files of models without experts.
  num_experts_per_tok: optional(nonNegativeInteger),
  output_router_logits: optional(boolean),
  router_aux_loss_coef: optional(nonNegative),
});
type Fields = t.TypeOf<typeof fields>;

/** What differs between the model types. */
interface Kind {
  /** Layers may be mixers of Mamba-2, and are where nothing is said. */
  readonly hybrid: boolean;
  /** Width of the MLP that all tokens go to, where nothing is said; null: there is none, whatever is said. */
  readonly sharedSize: number | null;
  /** Layers see windows and have sinks, by their kinds. */
  readonly slides?: true;
}

const modelKinds: Readonly<Record<string, Kind>> = {
  granitemoe: { hybrid: false, sharedSize: null },
  granitemoeshared: { hybrid: false, sharedSize: 0 },
  granitemoehybrid: { hybrid: true, sharedSize: 1024 },
  granitemoe_swa: { hybrid: false, sharedSize: 0, slides: true },
};

const recurrentLayers = (f: Fields, { hybrid }: Kind): E.Either<FatalError, ReadonlyArray<boolean>> => {
  const otherwise = (): ReadonlyArray<string> => Array.from({ length: f.num_hidden_layers }, () => 'mamba');
  const types = hybrid ? (f.layer_types ?? f.layers_block_type ?? otherwise()) : [];
  return !hybrid || types.length === f.num_hidden_layers
    ? E.right(
        Array.from({ length: f.num_hidden_layers }, (_, i) => types[i] === 'mamba' || types[i] === 'linear_attention'),
      )
    : E.left(unfit('layer_types', `${f.num_hidden_layers} entries, one a layer`, types));
};

const mixersOf = (
  f: Fields,
  own: GraniteConfig,
  recurrent: ReadonlyArray<boolean>,
): E.Either<FatalError, GraniteMoeConfig['mixers']> =>
  recurrent.includes(true)
    ? pipe(
        onlySilu(own),
        E.flatMap(({ rmsNormEps }) => mambaShape(f, { normEps: rmsNormEps })),
        E.map((shape) => recurrent.map((is) => (is ? shape : undefined))),
      )
    : E.right(recurrent.map(() => undefined));

const expertsOf = (f: Fields): E.Either<FatalError, ExpertsConfig | undefined> => {
  const numExperts = f.num_local_experts ?? 8;
  const perToken = f.num_experts_per_tok ?? 2;
  if (numExperts === 0) return E.right(undefined);
  if (perToken === 0 || perToken > numExperts)
    return E.left(unfit('num_experts_per_tok', `1 to ${numExperts}, the number of experts`, perToken));
  const auxLossCoef = f.output_router_logits === true ? (f.router_aux_loss_coef ?? 0.001) : 0;
  // A softmax over the chosen alone, which is that over all divided by their sum.
  return E.right({ numExperts, perToken, normalized: true, auxLossCoef });
};

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, GraniteMoeConfig> =>
  pipe(
    E.Do,
    E.let('kind', (): Kind => modelKinds[modelType] ?? { hybrid: true, sharedSize: 1024 }),
    E.bind('f', ({ kind }) => decodeFields(fields)(kind.slides === true ? { ...raw, layer_types: null } : raw)),
    E.bind('recurrent', ({ f, kind }) => recurrentLayers(f, kind)),
    E.bind('experts', ({ f }) => expertsOf(f)),
    E.let('sharedSize', ({ f, kind: { sharedSize } }) =>
      sharedSize === null ? 0 : (f.shared_intermediate_size ?? sharedSize),
    ),
    E.filterOrElse(
      ({ experts, sharedSize }) => experts !== undefined || sharedSize > 0,
      ({ sharedSize }) => unfit('shared_intermediate_size', 'a whole number > 0, without experts', sharedSize),
    ),
    E.bind('own', ({ f, kind, sharedSize }) => {
      const own = { ...raw, intermediate_size: sharedSize || f.intermediate_size, mlp_bias: null };
      return kind.slides === true
        ? graniteConfig(own, modelType, { windows: swaWindows })
        : graniteConfig({ ...own, layer_types: null }, modelType);
    }),
    E.bind('mixers', ({ f, own, recurrent }) => mixersOf(f, own, recurrent)),
    E.map(({ f, kind, own, mixers, experts, sharedSize }) => {
      return {
        ...own,
        architecture: 'granitemoehybrid',
        raw,
        turns: own.turns.map(() => !kind.hybrid || f.position_embedding_type === 'rope'),
        mixers,
        sharedSize,
        expertSize: f.intermediate_size ?? 11_008,
        ...(experts === undefined ? {} : { experts }),
      };
    }),
  );

const layerAt = (i: number): string => `model.layers.${i}`;

const block = 'block_sparse_moe';
const names: MixtureNames = { block, router: 'router.layer', ...gatedNames };
const sharedNames = { gateUp: 'input_linear', down: 'output_linear' };

/** The routed experts, as other mixtures have them; undefined: there are none. */
const mixtureOf = (c: GraniteMoeConfig): MixtureConfig | undefined =>
  c.experts && { ...c, experts: c.experts, sharedSize: 0, routed: c.mixers.map(() => true) };

const feedForward = (c: GraniteMoeConfig, pass: Pass, i: number): Map => {
  const everyToken = joinedMlp(pass, c.activation, `${layerAt(i)}.shared_mlp`, c.sharedSize, sharedNames);
  const mixture = mixtureOf(c);
  if (mixture === undefined) return everyToken;
  const routed = routedExperts(mixture, { names, gate: usualGate }, pass, i);
  return c.sharedSize === 0 ? routed : compose(fanOut(routed, everyToken), total);
};

const layer = (
  c: GraniteMoeConfig,
  pass: Pass,
  angles: RotaryAngles | undefined,
  i: number,
  parts: LlamaParts = {},
): Map => {
  const normed = (name: string): Map => norm(c, `${layerAt(i)}.${name}`);
  const smaller = scaled(c.residualMultiplier);
  const shape = c.mixers[i];
  const mixer =
    shape === undefined
      ? selfAttention(c, pass, angles, i, parts)
      : mamba2(pass, `${layerAt(i)}.mamba`, shape, narrowing(pass, i, c.numLayers));
  return inTurn(
    { pass, i, numLayers: c.numLayers },
    compose(normed('input_layernorm'), mixer, smaller),
    compose(normed('post_attention_layernorm'), feedForward(c, pass, i), smaller),
  );
};

const mixerSpecs = ({ mixers }: GraniteMoeConfig, i: number): ReadonlyArray<TensorSpec> => {
  const shape = mixers[i];
  return shape === undefined ? [] : mamba2Spec(`${layerAt(i)}.mamba`, shape);
};

const tensors = (c: GraniteMoeConfig): ReadonlyArray<TensorSpec> => {
  const replaced = (name: string): boolean => {
    const [, i, module] = /^model\.layers\.(\d+)\.(mlp|self_attn)\./.exec(name) ?? [];
    return module === 'mlp' || (module === 'self_attn' && c.mixers[Number(i)] !== undefined);
  };
  const { sharedSize, hiddenSize } = c;
  const mixture = mixtureOf(c);
  return [
    ...llamaTensors(c).filter(({ name }) => !replaced(name)),
    ...perLayer(c.numLayers, (i) => [
      ...mixerSpecs(c, i),
      ...(mixture === undefined ? [] : mixtureSpecs(mixture, names, i)),
      ...(sharedSize === 0
        ? []
        : [
            ...linearSpec(`${layerAt(i)}.shared_mlp.input_linear`, 2 * sharedSize, hiddenSize, false),
            ...linearSpec(`${layerAt(i)}.shared_mlp.output_linear`, hiddenSize, sharedSize, false),
          ]),
    ]),
  ];
};

/** What transformers 5 calls the experts of a layer, and files. */
const stored: ReadonlyArray<readonly [RegExp, string]> = [
  [/\.experts\.gate_up_proj$/, '.input_linear.weight'],
  [/\.experts\.down_proj$/, '.output_linear.weight'],
];

const packedIn = (c: GraniteMoeConfig): ReadonlyArray<JoinedTensor> => {
  const mixture = mixtureOf(c);
  return mixture === undefined ? [] : mixturePacked(mixture, names, block);
};

const inFiles = (c: GraniteMoeConfig): ReadonlyArray<JoinedTensor> =>
  packedIn(c).map((joined) => ({
    ...joined,
    name: stored.reduce((name, [own, file]) => name.replace(own, file), joined.name),
  }));

const tail = (c: GraniteMoeConfig): Map => compose(norm(c, 'model.norm'), scaled(1 / c.logitsScaling));

/** Routers as transformers 5 calls them. */
const routersIn = (c: GraniteMoeConfig): ReadonlyArray<JoinedTensor> =>
  c.mixers.flatMap((_, i): ReadonlyArray<JoinedTensor> => {
    const router = `${layerAt(i)}.${block}.router`;
    const shape = [c.experts?.numExperts ?? 0, c.hiddenSize];
    return c.experts === undefined ? [] : [{ name: `${router}.weight`, shape, parts: [`${router}.layer.weight`] }];
  });

export const graniteMoe: Architecture<GraniteMoeConfig> = {
  ...llama,
  name: 'granitemoehybrid',
  modelTypes: Object.keys(modelKinds).filter((type) => modelKinds[type]?.slides === undefined),
  config,
  tensors,
  packed: (c) => [...packedIn(c), ...inFiles(c), ...routersIn(c)],
  fileLayout: (c) => joinedFiles(inFiles(c), 'model.'),
  body: (c, pass) => rotaryBody(c, pass, graniteStem(c, pass), (angles, i) => layer(c, pass, angles, i)),
  tail,
};

/** Granite-MoE with windows and sinks; its files have what transformers 5 calls its parts. */
export const graniteMoeSwa: Architecture<GraniteMoeConfig & Turning> = {
  ...llama,
  name: 'granitemoe_swa',
  modelTypes: ['granitemoe_swa'],
  config: (raw, modelType) =>
    pipe(
      config(raw, modelType),
      E.flatMap(withThetas(raw)),
      E.map((c) => ({ ...c, architecture: 'granitemoe_swa' })),
    ),
  tensors: (c) => [...tensors(c), ...sinkSpecs(c)],
  packed: (c) => [...packedIn(c), ...routersIn(c)],
  fileLayout: (c) => joinedFiles([...packedIn(c), ...routersIn(c)], 'model.'),
  body: (c, pass) => swaBody(c, pass, (angles, i, parts) => layer(c, pass, angles, i, parts)),
  tail,
};
