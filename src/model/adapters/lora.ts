/** LoRA as PEFT does it: which modules get an adapter, how it begins, by what factor it counts. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { usage } from '../../errors.js';
import {
  boolean,
  closed,
  integer,
  json,
  list,
  nonEmptyString,
  oneOf,
  option,
  optional,
  positiveInteger,
  positiveNumber,
  properFraction,
} from '../../formats/closed.js';
import type { ClosedValue } from '../../formats/closed.js';
import { linearRegex, wholeRegex } from '../../formats/regex/linearRegex.js';
import type { Search } from '../../formats/regex/search.js';
import { random } from '../../seed.js';
import { remembered } from '../remembered.js';
import type { TensorSpec } from '../weights.js';
import { orthogonalHalves } from './initLora.js';

const textOrList = json<string | ReadonlyArray<string>>(
  t.union([t.string, t.readonlyArray(t.string)], 'a regular expression or a list of module names'),
);
const integerOrList = json<number | ReadonlyArray<number>>(
  t.union([integer, t.readonlyArray(integer)], 'a layer number or a list of them'),
);
const indices = t.readonlyArray(
  t.refinement(integer, (id) => id >= 0, 'a token id'),
  'a list of token ids',
);
const indicesOrRecord = json<ReadonlyArray<number> | Readonly<Record<string, ReadonlyArray<number>>>>(
  t.union([indices, t.record(t.string, indices)], 'a list of token ids, or an object of module name → such a list'),
);
/** PEFT matches a pattern as (^|.*\.)pattern$. */
const patternRegex = (key: string): E.Either<string, Search> => wholeRegex(`(?:.*\\.)?(?:${key})`);

/** What stands before the number of a layer and the number itself. */
const layersRegex = (name: string): E.Either<string, Search> =>
  E.flatMap(() => linearRegex(`(?:^|^.*?\\.)(?:${name})\\.\\d+\\.`))(wholeRegex(name));

const pattern = (item: t.Type<number, unknown>) =>
  json<Readonly<Record<string, number>>>(
    t.refinement(
      t.record(t.string, item),
      (record) => Object.keys(record).every((key) => E.isRight(patternRegex(key))),
      `an object of module name → number (a name may be a regular expression that can be matched without going back)`,
    ),
  );
const layersNames = json<string | ReadonlyArray<string>>(
  t.refinement(
    t.union([t.string, t.readonlyArray(t.string)]),
    (names) => (typeof names === 'string' ? [names] : names).every((name) => E.isRight(layersRegex(name))),
    'a name or a list of them (they may be regular expressions that can be matched without going back)',
  ),
);

/** PEFT's LoraConfig, names camelCased, its defaults. */
export const LoraConfig = closed('LoraConfig', {
  r: option(positiveInteger, 8, 'Rank of the adapter.'),
  loraAlpha: option(positiveNumber, 8, 'Scale of the adapter, as alpha / r.'),
  loraDropout: option(properFraction, 0, 'Dropout on what the adapter reads.'),
  targetModules: optional(
    textOrList,
    "Modules that get an adapter: names, a regular expression of whole paths, or 'all-linear'. Default: by model type.",
  ),
  excludeModules: optional(textOrList, 'Modules that get none, whatever targetModules says.'),
  bias: option(
    oneOf('none', 'all', 'lora_only'),
    'none',
    'Biases that train too: none, all, or those of adapted modules.',
  ),
  fanInFanOut: option(boolean, false, 'Accepted and ignored: the layout of every weight is known.'),
  useRslora: option(boolean, false, 'Scale the adapter by alpha / √r (rank-stabilised LoRA).'),
  useDora: option(boolean, false, 'DoRA: learn the length of each row of a weight apart from its direction.'),
  modulesToSave: optional(list(nonEmptyString), 'Modules that train whole and are saved with the adapter.'),
  initLoraWeights: option(
    json<boolean | string>(t.union([t.boolean, t.string], 'true, false or the name of a way to begin')),
    true,
    'true: A uniform (Kaiming), B zero; gaussian: A normal, B zero; false: both uniform; orthogonal; pissa, pissa_niter_N, olora: parts of the weight.',
  ),
  layersToTransform: optional(integerOrList, 'Only these layers get an adapter.'),
  layersPattern: optional(layersNames, 'Name of the list of layers, if not the first numbered one.'),
  rankPattern: option(pattern(positiveInteger), {}, 'Ranks of single modules, by name or regular expression.'),
  alphaPattern: option(pattern(positiveNumber), {}, 'Alphas of single modules, by name or regular expression.'),
  trainableTokenIndices: optional(
    indicesOrRecord,
    'Ids of tokens whose rows train and are saved with the adapter: of the embedding (and a head tied to it), or by module.',
  ),
});
/** The options of a LoRA adapter as decoded (`LoraConfig.decode`): PEFT's, camelCased, defaults filled in. */
export type LoraConfig = ClosedValue<typeof LoraConfig>;

/** Names of an adapter's tensors; the magnitude is DoRA's alone. */
export interface AdapterNames {
  readonly a: string;
  readonly b: string;
  readonly magnitude: string;
}

const namesEnding =
  (own: string) =>
  (module: string): AdapterNames => ({
    a: `${module}.lora_A${own}.weight`,
    b: `${module}.lora_B${own}.weight`,
    magnitude: `${module}.lora_magnitude_vector${own}`,
  });
const namesInUse = remembered(namesEnding(''));

/** Names of an adapter of a module: of the one in use, or of a further one beside it, which has a name of its own. */
export const adapterNames = (module: string, further?: string): AdapterNames =>
  further === undefined ? namesInUse(module) : namesEnding(`.${further}`)(module);

/** The same of an embedding: A [r, rows], B [width, r]. */
export const embeddingAdapterNames = (module: string, further?: string): AdapterNames => {
  const own = further === undefined ? '' : `.${further}`;
  return {
    a: `${module}.lora_embedding_A${own}`,
    b: `${module}.lora_embedding_B${own}`,
    magnitude: `${module}.lora_magnitude_vector${own}`,
  };
};

/** Name of the rows of a table that train apart from it, [k, width]. */
export const tokenRowsName = (module: string): string => `${module}.token_adapter.trainable_tokens_delta`;

const adapterEnding =
  /\.(?:lora_[AB](?:\.([^.]+))?\.weight|lora_(?:embedding_[AB]|magnitude_vector)(?:\.([^.]+))?|token_adapter\.trainable_tokens_delta)$/;

/** Whether the weight is part of an adapter. */
export const isAdapterName = (name: string): boolean => adapterEnding.test(name);

/** The module that an adapter's weight belongs to. */
export const adaptedModule = (name: string): string => name.replace(adapterEnding, '');

/** The patterns of an adapter are asked for every module of a model. */
const compiled = new WeakMap<object, ReadonlyArray<readonly [Search, number]>>();

const searchesOf = (patterns: Readonly<Record<string, number>>): ReadonlyArray<readonly [Search, number]> => {
  const known =
    compiled.get(patterns) ??
    Object.entries(patterns).flatMap(([key, value]): ReadonlyArray<readonly [Search, number]> => {
      const search = patternRegex(key);
      return E.isRight(search) ? [[search.right, value]] : [];
    });
  compiled.set(patterns, known);
  return known;
};

/** What the patterns say of a module, by name. */
export const fromPattern = (patterns: Readonly<Record<string, number>>, module: string, otherwise: number): number =>
  searchesOf(patterns).find(([search]) => search.test(module))?.[1] ?? otherwise;

const rankOf = (config: LoraConfig, module: string): number => fromPattern(config.rankPattern, module, config.r);

/** What the adapter of a module counts: alpha / r, or alpha / √r. */
export const scalingOf = (config: LoraConfig, module: string, rank: number): number => {
  const alpha = fromPattern(config.alphaPattern, module, config.loraAlpha);
  return config.useRslora ? alpha / Math.sqrt(rank) : alpha / rank;
};

/** Factor and dropout of a module's adapter, whose rank is read off its weight a [r, I]. */
export const adapterOptions = (
  config: LoraConfig | undefined,
  module: string,
  a: Tensor,
): { readonly scaling: number; readonly rate: number } => {
  const [r = 1] = a.shape;
  return config === undefined
    ? { scaling: 1, rate: 0 }
    : { scaling: scalingOf(config, module, r), rate: config.loraDropout };
};

/** Path of the module a weight belongs to. */
export const moduleOf = (name: string): string => name.slice(0, name.lastIndexOf('.'));

/** Whether the module's path is one of the names or ends with `.name`. */
export const isNamed = (module: string, names: ReadonlyArray<string>): boolean =>
  names.some((name) => module === name || module.endsWith(`.${name}`));

const regularExpression = (source: string): E.Either<FatalError, Search> =>
  E.mapLeft((why: string) =>
    usage('E_LORA_TARGET', `"${source}" is not a regular expression that can be used here: ${why}`),
  )(wholeRegex(source));

const layerNumber = (module: string, layersPattern: string | ReadonlyArray<string> | undefined): number | undefined => {
  const names = layersPattern === undefined ? [] : typeof layersPattern === 'string' ? [layersPattern] : layersPattern;
  if (names.length === 0) {
    const number = /^.*?\.[^.]*\.(\d+)\./.exec(module)?.[1];
    return number === undefined ? undefined : Number(number);
  }
  for (const name of names) {
    const search = layersRegex(name);
    const found = E.isRight(search) ? search.right.first(module) : undefined;
    if (found !== undefined) return Number(/(\d+)\.$/.exec(found)?.[1]);
  }
  return undefined;
};

const isGiven = (value: number | string | ReadonlyArray<unknown> | undefined): boolean =>
  typeof value === 'number' || (value?.length ?? 0) > 0;

/** A module that gets an adapter. */
export interface Target {
  readonly module: string;
  /** An embedding is a map from its rows to its width. */
  readonly inputs: number;
  readonly outputs: number;
  readonly rank: number;
  readonly isEmbedding: boolean;
}

/** An adapter of a module: the one in use, or one beside it by its name. */
export interface Site extends Pick<Target, 'module' | 'isEmbedding'> {
  readonly further?: string | undefined;
}

/** Names of the tensors of an adapter. */
export const namesOf = ({ module, isEmbedding, further }: Site): AdapterNames =>
  isEmbedding ? embeddingAdapterNames(module, further) : adapterNames(module, further);

/** The name that an adapter's tensor carries while the adapter is in use beside the first. */
export const furtherName = (name: string, further: string): string =>
  name
    .replace(/\.(lora_[AB])\.weight$/, `.$1.${further}.weight`)
    .replace(/\.lora_(?:embedding_[AB]|magnitude_vector)$/, `$&.${further}`);

/** Where adapters of two halves sit. */
export const adaptersIn = (weights: object): ReadonlyArray<Site> =>
  Object.keys(weights).flatMap((name) => {
    const found = adapterEnding.exec(name);
    if (found === null) return [];
    const further = found[1] ?? found[2];
    const module = name.slice(0, found.index);
    return [true, false].flatMap((isEmbedding) => {
      const site = { module, isEmbedding, further };
      return name === namesOf(site).a ? [site] : [];
    });
  });

/** Tables of which rows train apart. */
export const tablesIn = (weights: object): ReadonlyArray<string> =>
  Object.keys(weights)
    .filter((name) => isAdapterName(name) && name === tokenRowsName(adaptedModule(name)))
    .map(adaptedModule);

const targetOf = (config: LoraConfig, { name, shape, kind }: TensorSpec): Target => {
  const module = moduleOf(name);
  const [first = 0, second = 0] = shape;
  const rank = rankOf(config, module);
  const isEmbedding = kind === 'embedding';
  return isEmbedding || kind === 'conv1d'
    ? { module, inputs: first, outputs: second, rank, isEmbedding }
    : { module, inputs: second, outputs: first, rank, isEmbedding };
};

/**
 * The modules that get an adapter, in the checkpoint's order; options name them as they are `called` in the class that transformers
 * opens. `E_LORA_TARGET` when there is none, when an expression is none, or
 * when the options contradict each other.
 */
export const loraTargets = (
  config: LoraConfig,
  specs: ReadonlyArray<TensorSpec>,
  defaults: ReadonlyArray<string> | undefined,
  modelType: string,
  called: (module: string) => string = (module) => module,
): E.Either<FatalError, ReadonlyArray<Target>> => {
  const refused = (message: string, hint?: string): E.Either<FatalError, never> =>
    E.left(usage('E_LORA_TARGET', message, hint === undefined ? {} : { hint }));
  const targets = config.targetModules ?? defaults;
  if (targets === undefined)
    return refused(`no default target modules are known for model type "${modelType}"`, 'give targetModules');
  const wholeString = typeof targets === 'string' && targets.toLowerCase() !== 'all-linear';
  const layerOption = (['layersToTransform', 'layersPattern'] as const).find((name) => isGiven(config[name]));
  // PEFT would refuse to read such an adapter: of "all-linear" too.
  if (typeof targets === 'string' && layerOption !== undefined)
    return refused(`${layerOption} needs targetModules as a list of names, not "${targets}"`);
  if (layerOption === 'layersPattern') return refused('layersPattern says where layersToTransform looks: give both');
  const expression = wholeString ? regularExpression(targets) : E.right(undefined);
  if (E.isLeft(expression)) return expression;
  const exclusion =
    typeof config.excludeModules === 'string' ? regularExpression(config.excludeModules) : E.right(undefined);
  if (E.isLeft(exclusion)) return exclusion;
  const layers =
    config.layersToTransform === undefined
      ? undefined
      : typeof config.layersToTransform === 'number'
        ? [config.layersToTransform]
        : config.layersToTransform;
  const isTarget = (module: string, head: boolean): boolean => {
    if (exclusion.right?.test(module) === true) return false;
    if (Array.isArray(config.excludeModules) && isNamed(module, config.excludeModules)) return false;
    if (config.modulesToSave?.some((saved) => `.${module}.`.includes(`.${saved}.`)) === true) return false;
    if (expression.right !== undefined) return expression.right.test(module);
    if (typeof targets === 'string' ? head : !isNamed(module, targets)) return false;
    if (layers === undefined || layers.length === 0) return true;
    const layer = layerNumber(module, config.layersPattern);
    return layer !== undefined && layers.includes(layer);
  };
  const candidates = specs.filter(
    ({ name, kind }) => name.endsWith('.weight') && kind !== 'norm' && kind !== 'convolution',
  );
  // all-linear leaves out what is no map of a layer: the head, and embeddings.
  const found = candidates
    .filter(({ name, kind, head }) => isTarget(called(moduleOf(name)), head === true || kind === 'embedding'))
    .map((spec) => targetOf(config, spec));
  if (found.length > 0) return E.right(found);
  const modules = [...new Set(candidates.map(({ name }) => moduleOf(name).replace(/^.*\./, '')))];
  return refused(
    `no module of the model matches targetModules ${JSON.stringify(targets)}`,
    `modules are named ${modules.join(', ')}`,
  );
};

/**
 * The first values of a new adapter's halves, A [r, inputs] and B [outputs, r]; the same for the same seed and module. An
 * embedding's begin the other way round: A zero, B normal.
 */
export const initialAdapter = (
  { initLoraWeights }: LoraConfig,
  { module, inputs, outputs, rank, isEmbedding }: Target,
  seed: number,
): { readonly a: Float32Array; readonly b: Float32Array } => {
  const draws = (half: number): ReturnType<typeof random> =>
    random(seed, 'init', half, ...Array.from(module, (letter) => letter.charCodeAt(0)));
  const fill = (size: number, draw: () => number): Float32Array => Float32Array.from({ length: size }, draw);
  const first = draws(0);
  const second = draws(1);
  if (isEmbedding) {
    const b = fill(outputs * rank, second.normal);
    return { a: initLoraWeights === false ? fill(rank * inputs, first.normal) : new Float32Array(rank * inputs), b };
  }
  // torch's kaiming_uniform with a = √5 is uniform in ±1/√(fan in).
  const uniform = (source: typeof first, fanIn: number) => (): number => (2 * source.uniform() - 1) / Math.sqrt(fanIn);
  if (initLoraWeights === 'orthogonal') return orthogonalHalves({ module, inputs, outputs, rank }, seed);
  const a =
    initLoraWeights === 'gaussian'
      ? fill(rank * inputs, () => first.normal() / rank)
      : fill(rank * inputs, uniform(first, inputs));
  const b = initLoraWeights === false ? fill(outputs * rank, uniform(second, rank)) : new Float32Array(outputs * rank);
  return { a, b };
};

/** Ids of the rows of the module's table that train apart, in the order in which they lie. */
export const tokenIndicesOf = (config: LoraConfig | undefined, module: string): ReadonlyArray<number> | undefined => {
  const given = config?.trainableTokenIndices;
  if (given === undefined || isList(given)) return given;
  return Object.entries(given).find(([name]) => isNamed(module, [name]))?.[1];
};

export const isList = (value: NonNullable<LoraConfig['trainableTokenIndices']>): value is ReadonlyArray<number> =>
  Array.isArray(value);

/** A table of which single rows train. */
export interface TokenRows {
  readonly module: string;
  readonly ids: ReadonlyArray<number>;
}

/**
 * The tables of which rows train: the token embedding for a list of ids, those named for an object. Of a tied model, the same ids
 * for the head as for the embedding are those of the embedding, whose rows the head multiplies by. `E_LORA_TARGET`.
 */
export const tokenRows = (
  config: LoraConfig,
  specs: ReadonlyArray<TensorSpec>,
  { embedding, tied }: { readonly embedding: string; readonly tied: boolean },
  targets: ReadonlyArray<Target>,
): E.Either<FatalError, ReadonlyArray<TokenRows>> => {
  const given = config.trainableTokenIndices;
  const refuse = (message: string, hint?: string): E.Either<FatalError, never> =>
    E.left(
      usage('E_LORA_TARGET', `trainableTokenIndices: ${message}`, {
        field: 'trainableTokenIndices',
        ...(hint === undefined ? {} : { hint }),
      }),
    );
  if (given === undefined) return E.right([]);
  const tables = specs.filter(
    ({ kind, head, name }) => kind === 'embedding' || (head === true && name.endsWith('.weight')),
  );
  const found: Array<TokenRows> = [];
  for (const [name, ids] of isList(given) ? [[embedding, given] as const] : Object.entries(given)) {
    const table = tables.find((spec) => isNamed(moduleOf(spec.name), [name]));
    if (table === undefined)
      return refuse(`the model has no table "${name}"`, `tables are ${tables.map((t) => moduleOf(t.name)).join(', ')}`);
    const module = moduleOf(table.name);
    const [rows = 0] = table.shape;
    const wrong = ids.find((id) => id >= rows);
    if (wrong !== undefined) return refuse(`"${module}" has ${rows} rows, and ${wrong} is none of them`);
    if (new Set(ids).size !== ids.length) return refuse(`an id of "${module}" is given twice`);
    if (isSavedModule(config, module))
      return refuse(`"${module}" trains whole already`, 'take it out of modulesToSave');
    const meant = tied && module === embedding ? [module, 'lm_head'] : [module];
    if (targets.some((target) => meant.includes(target.module)))
      return refuse(`"${module}" has an adapter already`, 'take it out of targetModules');
    if (ids.length > 0) found.push({ module, ids });
  }
  const own = found.find(({ module }) => module === embedding);
  return E.right(found.filter(({ module, ids }) => !(tied && module === 'lm_head' && ids.join() === own?.ids.join())));
};

/** Whether `modulesToSave` names the module: by any end of its path, as in PEFT ("norm" is every norm whose name ends so). */
export const isSavedModule = ({ modulesToSave = [] }: Pick<LoraConfig, 'modulesToSave'>, module: string): boolean =>
  modulesToSave.some((name) => module.endsWith(name));
