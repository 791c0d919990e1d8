/** LoRA as PEFT does it: its options, and the rank and factor of a module's adapter. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import {
  boolean,
  integer,
  json,
  list,
  nonEmptyString,
  oneOf,
  positiveInteger,
  positiveNumber,
  properFraction,
} from '../../formats/optionCodecs.js';
import { closed, option, optional } from '../../formats/closed.js';
import type { ClosedInput, ClosedValue } from '../../formats/closed.js';
import { linearRegex, wholeRegex } from '../../formats/regex/linearRegex.js';
import type { Search } from '../../formats/regex/search.js';

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
export const layersRegex = (name: string): E.Either<string, Search> =>
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
/** LoraConfig's options as a caller gives them: all may be left out. */
export type LoraOptions = ClosedInput<typeof LoraConfig>;

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

export const rankOf = (config: LoraConfig, module: string): number => fromPattern(config.rankPattern, module, config.r);

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
