/** What Llama-like models with routed experts have in common: Mixtral, Qwen's, OLMoE, gpt-oss, DeepSeek's and what routes as they do. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture, JoinedTensor } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { boolean, nonNegative, nonNegativeInteger, optional, positiveInteger, unfit } from '../config.js';
import type { ExpertsConfig, RawConfig } from '../config.js';
import { mixture, shared } from '../experts/experts.js';
import type { Mixture } from '../experts/experts.js';
import type { RoutingShape } from '../experts/routing.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose, fanOut, identity, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { gated, gatedBy, gatedMlp, gatedNames, gatedTogether } from '../layers/mlp.js';
import type { GatedNames } from '../layers/mlp.js';
import { softcapped } from '../layers/softcapped.js';
import type { Pass } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, norm, selfAttention } from './llama.js';
import type { Family, LlamaConfig, LlamaParts } from './llama.js';

/** What files call the parts of a layer's mixture. */
export interface MixtureNames extends GatedNames {
  /** The mixture within its layer. */
  readonly block: string;
  /** The MLP of a layer without experts. Default: `mlp`. */
  readonly dense?: string;
  /** Its router. Default: `gate`. */
  readonly router?: string;
  /** Its expert that all tokens go to, where there is one, and whether that has a gate. Default: `shared_expert`, which has. */
  readonly shared?: { readonly module: string; readonly gated: boolean };
  /** What is added where experts are chosen. Default: nothing. */
  readonly correction?: Correction;
  /** The router multiplies in float32 under every precision, and may lie so: `exact`. Default: it is a linear map as others. */
  readonly precise?: 'product' | 'exact';
  /** Norms of a layer. Default: `usualNorms`. */
  readonly norms?: LayerNorms;
  /** A norm of a layer behind its mixture alone. Default: there is none. */
  readonly behind?: string;
}

/** A buffer that routers choose by, of the shape given but for its last length, the number of experts. */
interface Correction {
  readonly name: string;
  readonly before: ReadonlyArray<number>;
  /** What transformers' classes call it. Default: the same. */
  readonly inClasses?: string;
}

/** Modules of a layer's norms. Absent: there is none. */
interface LayerNorms {
  readonly beforeAttention?: string;
  readonly afterAttention?: string;
  readonly beforeMlp?: string;
  readonly afterMlp?: string;
}

const usualNorms: LayerNorms = { beforeAttention: 'input_layernorm', beforeMlp: 'post_attention_layernorm' };

export interface MixtureConfig extends LlamaConfig {
  readonly experts: ExpertsConfig;
  /** Width of an expert. */
  readonly expertSize: number;
  /** Width of the expert that all tokens go to; 0: there is none. */
  readonly sharedSize: number;
  /** Router and experts have biases. Default: none. */
  readonly expertBias?: boolean;
  /** One a layer: whether it has experts, or a plain MLP. */
  readonly routed: ReadonlyArray<boolean>;
  /** What routers' logits are capped at (see `softcapped`). Default: they are not. */
  readonly routerSoftcap?: number;
  /** How experts are chosen and weighed. Default: by a softmax of the logits. */
  readonly routing?: RoutingRules;
}

/** What of routing models do otherwise than by a softmax whose parts count the experts' outputs. */
export type RoutingRules = Omit<RoutingShape, 'numExperts' | 'perToken' | 'normalized'> & Pick<Mixture, 'ahead'>;

/** Either spelling of the number of experts: files that transformers 5 writes have the one for the other. */
const mixtureFields = t.type({
  num_experts: optional(positiveInteger),
  num_local_experts: optional(positiveInteger),
  num_experts_per_tok: optional(positiveInteger),
  norm_topk_prob: optional(boolean),
  output_router_logits: optional(boolean),
  router_aux_loss_coef: optional(nonNegative),
  moe_intermediate_size: optional(positiveInteger),
  shared_expert_intermediate_size: optional(positiveInteger),
  decoder_sparse_step: optional(positiveInteger),
  mlp_only_layers: optional(t.array(nonNegativeInteger)),
});
type MixtureFields = t.TypeOf<typeof mixtureFields>;

/** What differs between the model types, mostly where config.json says nothing. */
export interface MixtureFamily {
  readonly numExperts: number;
  readonly perToken: number;
  /** Default: as `norm_topk_prob` says, which is no where it says nothing. */
  readonly normalized?: boolean;
  readonly auxLossCoef: number;
  /** Width of an expert. Default: the width of a plain MLP. */
  readonly expertSize?: (fields: MixtureFields) => number;
  /** Default: 0, there is none. */
  readonly sharedSize?: (fields: MixtureFields) => number;
  /** Some layers may have a plain MLP: `decoder_sparse_step`, `mlp_only_layers`; or those that this says. Default: none. */
  readonly mixed?: boolean | ((layer: number) => boolean);
  readonly routing?: RoutingRules;
  /** See `ExpertsConfig`. */
  readonly balanced?: false;
  readonly llama: Family;
  readonly only: Readonly<Record<string, boolean | number | string | null>>;
}

const isRouted = (f: MixtureFields, { mixed = false }: MixtureFamily, i: number): boolean => {
  if (typeof mixed === 'function') return mixed(i);
  return !mixed || (f.mlp_only_layers?.includes(i) !== true && (i + 1) % (f.decoder_sparse_step ?? 1) === 0);
};

export const mixtureConfig = (
  raw: RawConfig,
  modelType: string,
  family: MixtureFamily,
): E.Either<FatalError, MixtureConfig> =>
  pipe(
    llamaConfigWith(raw, modelType, { fields: mixtureFields, only: family.only, family: family.llama }),
    E.let('numExperts', ({ f }) => f.num_experts ?? f.num_local_experts ?? family.numExperts),
    E.let('perToken', ({ f }) => f.num_experts_per_tok ?? family.perToken),
    E.filterOrElse(
      ({ numExperts, perToken }) => perToken <= numExperts,
      ({ numExperts, perToken }) =>
        unfit('num_experts_per_tok', `at most ${numExperts}, the number of experts`, perToken),
    ),
    E.map(({ f, config, numExperts, perToken }) => ({
      ...config,
      experts: {
        numExperts,
        perToken,
        normalized: family.normalized ?? f.norm_topk_prob ?? false,
        auxLossCoef:
          f.output_router_logits === true && family.balanced !== false
            ? (f.router_aux_loss_coef ?? family.auxLossCoef)
            : 0,
        ...(family.balanced === false ? { balanced: false } : {}),
      },
      expertSize: family.expertSize?.(f) ?? config.intermediateSize,
      sharedSize: family.sharedSize?.(f) ?? 0,
      routed: Array.from({ length: config.numLayers }, (_, i) => isRouted(f, family, i)),
      ...(family.routing === undefined ? {} : { routing: family.routing }),
    })),
  );

const expertModule = (block: string, e: number): string => `${block}.experts.${e}`;

const gatedSpecs = (
  module: string,
  names: GatedNames,
  width: number,
  hiddenSize: number,
  bias = false,
): ReadonlyArray<TensorSpec> => [
  ...linearSpec(`${module}.${names.gate}`, width, hiddenSize, bias),
  ...linearSpec(`${module}.${names.up}`, width, hiddenSize, bias),
  ...linearSpec(`${module}.${names.down}`, hiddenSize, width, bias),
];

const routerModule = (block: string, { router = 'gate' }: MixtureNames): string => `${block}.${router}`;

const usualShared = { module: 'shared_expert', gated: true };

const correctionName = (block: string, { correction }: MixtureNames): string | undefined =>
  correction === undefined ? undefined : `${block}.${correction.name}`;

/** The tensors of the mixture of layer `i`. */
export const mixtureSpecs = (config: MixtureConfig, names: MixtureNames, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, expertSize, sharedSize, experts, expertBias = false, mlpBias } = config;
  const { shared: always = usualShared, correction, precise, behind } = names;
  const block = `model.layers.${i}.${names.block}`;
  const share = experts.perToken / experts.numExperts;
  const added = correctionName(block, names);
  return [
    ...linearSpec(routerModule(block, names), experts.numExperts, hiddenSize, expertBias).map((spec) => ({
      ...spec,
      router: true,
      ...(precise === 'exact' ? { exact: true } : {}),
    })),
    ...(added === undefined
      ? []
      : [
          {
            name: added,
            shape: [...(correction?.before ?? []), experts.numExperts],
            kind: 'buffer',
            exact: true,
          } as const,
        ]),
    ...Array.from({ length: experts.numExperts }, (_, e) =>
      gatedSpecs(expertModule(block, e), names, expertSize, hiddenSize, expertBias).map((spec) => ({ ...spec, share })),
    ).flat(),
    ...(sharedSize === 0
      ? []
      : [
          ...gatedSpecs(`${block}.${always.module}`, gatedNames, sharedSize, hiddenSize, mlpBias),
          ...(always.gated ? linearSpec(`${block}.${always.module}_gate`, 1, hiddenSize, false) : []),
        ]),
    ...(behind === undefined ? [] : [rmsNormSpec(`model.layers.${i}.${behind}`, hiddenSize)]),
  ];
};

/** Llama's tensors, the plain MLPs of routed layers replaced. */
export const mixtureTensors = (config: MixtureConfig, names: MixtureNames): ReadonlyArray<TensorSpec> => {
  const replaced = (name: string): boolean => {
    const layer = /^model\.layers\.(\d+)\.mlp\./.exec(name)?.[1];
    return layer !== undefined && config.routed[Number(layer)] === true;
  };
  const { norms, dense = 'mlp' } = names;
  const isUsual = (name: string): boolean => Object.values(usualNorms).some((norm) => name.endsWith(`.${norm}.weight`));
  return [
    ...llamaTensors(config)
      .filter(({ name }) => !replaced(name) && (norms === undefined || !isUsual(name)))
      .map((spec) => ({ ...spec, name: spec.name.replace('.mlp.', `.${dense}.`) })),
    ...perLayer(config.numLayers, (i) =>
      Object.values(norms ?? {}).map((norm) => rmsNormSpec(`model.layers.${i}.${norm}`, config.hiddenSize)),
    ),
    ...perLayer(config.numLayers, (i) => (config.routed[i] === true ? mixtureSpecs(config, names, i) : [])),
  ];
};

/**
 * How transformers 5 may write them (`save_original_format=False`): one tensor for the gates and ups of all experts of a layer,
 * another for their downs, within `block`.
 */
export const mixturePacked = (config: MixtureConfig, names: MixtureNames, block = 'mlp'): ReadonlyArray<JoinedTensor> =>
  config.routed.flatMap((routed, i): ReadonlyArray<JoinedTensor> => {
    if (!routed) return [];
    const layer = `model.layers.${i}`;
    const { hiddenSize, expertSize, experts } = config;
    const parts = (...own: ReadonlyArray<string>): ReadonlyArray<string> =>
      Array.from({ length: experts.numExperts }, (_, e) =>
        own.map((name) => `${expertModule(`${layer}.${names.block}`, e)}.${name}.weight`),
      ).flat();
    return [
      {
        name: `${layer}.${block}.experts.gate_up_proj`,
        shape: [experts.numExperts, 2 * expertSize, hiddenSize],
        parts: parts(names.gate, names.up),
      },
      {
        name: `${layer}.${block}.experts.down_proj`,
        shape: [experts.numExperts, hiddenSize, expertSize],
        parts: parts(names.down),
      },
      ...(names.block === block
        ? []
        : [
            {
              name: `${layer}.${block}.gate.weight`,
              shape: [experts.numExperts, hiddenSize],
              parts: [`${layer}.${names.block}.gate.weight`],
            },
          ]),
      ...correctionInClasses(names, { layer, block, numExperts: experts.numExperts }),
    ];
  });

const correctionInClasses = (
  { block, correction }: MixtureNames,
  { layer, block: own, numExperts }: { readonly layer: string; readonly block: string; readonly numExperts: number },
): ReadonlyArray<JoinedTensor> => {
  if (correction === undefined) return [];
  const name = `${layer}.${own}.${correction.inClasses ?? correction.name}`;
  const stored = `${layer}.${block}.${correction.name}`;
  return name === stored ? [] : [{ name, shape: [...correction.before, numExperts], parts: [stored] }];
};

/** What an expert makes of [gate(x), up(x)]. */
type MakeGate = (config: MixtureConfig) => Layer<ReadonlyArray<Tensor>, Tensor>;

/** What a model's layers are made with. */
interface Made<C extends MixtureConfig> {
  readonly names: MixtureNames;
  readonly gate: MakeGate;
  /** Attention of a layer, [N, hiddenSize] to the same. */
  readonly attention: (config: C, pass: Pass, angles: RotaryAngles, i: number) => Layer<Tensor, Tensor>;
}

export const usualGate: MakeGate = ({ activation }) => gated(activation);

/** The experts of layer `i`, [N, hiddenSize] to the same. */
export const routedExperts = (
  config: MixtureConfig,
  { names, gate }: Pick<Made<MixtureConfig>, 'names' | 'gate'>,
  pass: Pass,
  i: number,
): Layer<Tensor, Tensor> => {
  const { numExperts, perToken, normalized } = config.experts;
  const { shared: always = usualShared } = names;
  const block = `model.layers.${i}.${names.block}`;
  const gateOf = gate(config);
  const moduleOf = (e: number): string => expertModule(block, e);
  const router = linear(pass, { module: routerModule(block, names), flows: names.precise === undefined });
  const chosen = mixture(pass, {
    layer: i,
    numExperts,
    perToken,
    normalized,
    ...config.routing,
    router: config.routerSoftcap === undefined ? router : compose(router, softcapped(config.routerSoftcap)),
    correction: correctionName(block, names),
    expert: (e) => gatedBy(gateOf, pass, moduleOf(e), names),
    together: gatedTogether(gateOf, pass, moduleOf, names),
  });
  if (config.sharedSize === 0) return chosen;
  const everyToken = gatedMlp(pass, config.activation, `${block}.${always.module}`);
  const counted = always.gated
    ? shared(everyToken, linear(pass, { module: `${block}.${always.module}_gate` }))
    : everyToken;
  return compose(fanOut(chosen, counted), total);
};

const mixtureLayer = <C extends MixtureConfig>(
  config: C,
  made: Made<C>,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
): Layer<Tensor, Tensor> => {
  const { norms = usualNorms, dense = 'mlp', behind } = made.names;
  const normed = (module: string | undefined): Layer<Tensor, Tensor> =>
    module === undefined ? identity : norm(config, `model.layers.${i}.${module}`);
  const feedForward =
    config.routed[i] === true
      ? compose(routedExperts(config, made, pass, i), normed(behind))
      : gatedMlp(pass, config.activation, `model.layers.${i}.${dense}`);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(normed(norms.beforeAttention), made.attention(config, pass, angles, i), normed(norms.afterAttention)),
    compose(normed(norms.beforeMlp), feedForward, normed(norms.afterMlp)),
  );
};

/** An architecture of Llama's attention, unless another is given, and experts under these names. */
export const mixtureArchitecture = <C extends MixtureConfig>({
  names = { block: 'mlp', ...gatedNames },
  gate = usualGate,
  parts = () => ({}),
  attention = (config, pass, angles, i) => selfAttention(config, pass, angles, i, parts(config, pass, i)),
  around = (config, pass, layer) => rotaryBody(config, pass, llamaStem(config, pass), layer),
  ...own
}: {
  readonly names?: MixtureNames;
  readonly gate?: MakeGate;
  readonly parts?: (config: C, pass: Pass, i: number) => LlamaParts;
  readonly attention?: Made<C>['attention'];
  /** The body, of layers made of the angles that they turn by. Default: `rotaryBody`. */
  readonly around?: (
    config: C,
    pass: Pass,
    layer: (angles: RotaryAngles, i: number) => Layer<Tensor, Tensor>,
  ) => Layer<Sequence, Tensor>;
} & Pick<Architecture<C>, 'name' | 'modelTypes' | 'config'> &
  Partial<Architecture<C>>): Architecture<C> => ({
  ...llama,
  tensors: (config) => mixtureTensors(config, names),
  packed: (config) => mixturePacked(config, names),
  body: (config, pass) =>
    around(config, pass, (angles, i) => mixtureLayer(config, { names, gate, attention }, pass, angles, i)),
  ...own,
});
