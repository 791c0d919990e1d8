/** Which modules of a model get a LoRA adapter. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { usage } from '../../errors.js';
import { wholeRegex } from '../../formats/regex/linearRegex.js';
import type { Search } from '../../formats/regex/search.js';
import type { TensorSpec } from '../weights.js';
import { layersRegex, rankOf } from './lora.js';
import type { LoraConfig } from './lora.js';
import { isNamed, moduleOf } from './moduleNames.js';

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
 * opens. `E_LORA_TARGET` when there is none, when a list names a norm or a convolution, when an expression is none, or when the options
 * contradict each other.
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
  const weights = specs.filter(({ name }) => name.endsWith('.weight'));
  const candidates = weights.filter(({ kind }) => kind !== 'norm' && kind !== 'convolution');
  // all-linear leaves out what is no map of a layer: the head, and embeddings.
  const found = candidates
    .filter(({ name, kind, head }) => isTarget(called(moduleOf(name)), head === true || kind === 'embedding'))
    .map((spec) => targetOf(config, spec));
  const modules = [...new Set(candidates.map(({ name }) => moduleOf(name).replace(/^.*\./, '')))];
  const hint = `modules are named ${modules.join(', ')}`;
  // A name in a list is meant; an expression may match more than what takes an adapter.
  const without = typeof targets === 'string' ? [] : weights.filter((spec) => !candidates.includes(spec));
  const named = without.find(({ name }) => isTarget(called(moduleOf(name)), false));
  if (named !== undefined)
    return refused(
      `targetModules names "${called(moduleOf(named.name))}", a ${named.kind}, and only maps and tables take an adapter`,
      hint,
    );
  if (found.length > 0) return E.right(found);
  return refused(`no module of the model matches targetModules ${JSON.stringify(targets)}`, hint);
};
