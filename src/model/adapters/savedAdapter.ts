/** The adapter of a model as files have it: put on, and taken out to be saved. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { checked } from '../../checked.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { architectureOf } from '../architectures.js';
import { nameInside } from '../imageText.js';
import type { Weights } from '../layers/layer.js';
import type { CausalLM } from '../model.js';
import { resizeTokenEmbeddings } from '../resizeEmbeddings.js';
import { weightOf } from '../weights.js';
import { alreadyThere, replacing, trainedWith, untied, withAdapter } from './carrying.js';
import { adaptersIn, isAdapterName, namesOf, tablesIn, tokenRowsName } from './adapterNames.js';
import { moduleOf } from './moduleNames.js';
import { LoraConfig } from './lora.js';
import type { LoraOptions } from './lora.js';
import type { Target } from './targets.js';
import type { TokenRows } from './tokenRows.js';
import { adaptedWeight, namedInside, placesOf } from './places.js';
import { takeFromBase } from './takeFromBase.js';

const baseLayer = '.base_layer.';

/** What has a row for every token: PEFT saves these with an adapter whose base has been resized. */
const tokenTables = (model: CausalLM): ReadonlyArray<string> =>
  [
    `${architectureOf(model.config).embedding}.weight`,
    'lm_head.weight',
    'lm_head.bias',
    ...(architectureOf(model.config).tokenTables?.modules ?? []).map((module) => `${module}.weight`),
  ].filter((name) => name in model.weights);

/** The model with as many token rows as the tables saved with an adapter have; those tables are put in with the rest. */
const sizedAs = (model: CausalLM, saved: Weights): E.Either<FatalError, CausalLM> => {
  // A table may have rows beside those of the vocabulary: Mllama's embedding those of its images.
  const rowsOf = (name: string): number | undefined => {
    const rows = (saved[name] ?? saved[name.replace(/\.([^.]*)$/, `${baseLayer}$1`)])?.shape[0];
    const own = model.weights[name]?.shape[0] ?? model.config.vocabSize;
    return rows === undefined ? undefined : rows - own + model.config.vocabSize;
  };
  const tables = tokenTables(model);
  const [vocabSize = model.config.vocabSize] = tables.flatMap((name) => rowsOf(name) ?? []);
  if (vocabSize === model.config.vocabSize) return E.right(model);
  const short = tables.find((name) => rowsOf(name) !== vocabSize);
  return short === undefined
    ? resizeTokenEmbeddings(model, { rows: vocabSize, init: 'mean' })
    : E.left(
        fatal('E_LORA_WEIGHTS', 'the adapter brings other token rows for a part of the model only', {
          expected: `"${short}" with ${vocabSize} rows too`,
          actual: `${rowsOf(short) ?? 'no'} rows`,
        }),
      );
};

/** What PEFT saves of a tied head beside the embedding's own. */
const ownsNothing: ReadonlySet<string> = new Set(['lm_head.weight', tokenRowsName('lm_head')]);

const expertPath = /\.experts\.\d+\./;

/**
 * Those of the targets that a saved adapter is of. transformers 5 holds the experts of a layer in one tensor, which names of maps do not
 * reach: adapters made there leave out all experts, though they have maps of those names.
 */
const reachedBy = (saved: Weights, targets: ReadonlyArray<Target>): ReadonlyArray<Target> => {
  const others = targets.filter(({ module }) => !expertPath.test(module));
  const some = targets.some((target) => expertPath.test(target.module) && namesOf(target).a in saved);
  return some || others.length === 0 ? targets : others;
};

/** How a saved adapter is put on. */
export interface SavedAdapterOptions {
  /** Whether it trains, and nothing else. Default true; false: nothing trains. */
  readonly isTrainable?: boolean | undefined;
}

/**
 * The model with a saved adapter: `saved` holds the tensors of adapter_model.safetensors under their names without
 * `base_model.model.`. Takes what it uses of `saved` into the model and trains it, unless `isTrainable` is false.
 * `E_LORA_WEIGHTS` for an adapter that does not fit, `E_OPTIONS`, `E_LORA_TARGET`, `E_LORA_PRESENT`.
 */
export const attachSavedLora = checked(
  'attachSavedLora',
  E.left,
  { 3: { isTrainable: 'optional' } },
  (
    model: CausalLM,
    options: LoraOptions,
    saved: Weights,
    { isTrainable = true }: SavedAdapterOptions = {},
  ): E.Either<FatalError, CausalLM> =>
    pipe(
      LoraConfig.decode(options),
      E.flatMap((config) => withSavedAdapter(model, config, saved, { isTrainable })),
      E.map(replacing(model)),
    ),
);

const misfit = (message: string, expected: string, actual: string): E.Either<FatalError, never> =>
  E.left(fatal('E_LORA_WEIGHTS', message, { expected, actual }));

const lacks = (name: string): E.Either<FatalError, never> =>
  misfit('the adapter lacks a tensor', name, 'nothing of that name');

const shapeOf = ({ shape }: Tensor): string => `[${shape.join(', ')}]`;

/** What is saved of a target's adapter: its halves, and of DoRA its lengths. */
const savedHalves = (
  saved: Weights,
  target: Target,
  { useDora }: Pick<LoraConfig, 'useDora'>,
): E.Either<FatalError, Weights> => {
  const { module, inputs, outputs } = target;
  const { a, b, magnitude } = namesOf(target);
  const [halfA, halfB, lengths] = [saved[a], saved[b], saved[magnitude]];
  if (halfA === undefined || halfB === undefined) return lacks(halfA === undefined ? a : b);
  const [rank = 0] = halfA.shape;
  const message = `the adapter of "${module}" does not fit the model`;
  if (`${halfA.shape.join()};${halfB.shape.join()}` !== `${rank},${inputs};${outputs},${rank}`)
    return misfit(message, `A [r, ${inputs}], B [${outputs}, r]`, `A ${shapeOf(halfA)}, B ${shapeOf(halfB)}`);
  // Its factor is alpha / r: of another rank the adapter would count for more or less than it was trained to.
  if (rank !== target.rank)
    return misfit(
      `the adapter of "${module}" is not of the rank that its configuration tells`,
      `rank ${target.rank}, by r and rankPattern`,
      `rank ${rank}`,
    );
  const halves = { [a]: halfA, [b]: halfB };
  if (!useDora) return E.right(halves);
  if (lengths === undefined) return lacks(magnitude);
  if (lengths.size !== outputs) return misfit(message, `[${outputs}]`, shapeOf(lengths));
  return E.right({ ...halves, [magnitude]: lengths });
};

/** What is saved of a table's rows that train apart. */
const savedRows = (model: CausalLM, saved: Weights, { module, ids }: TokenRows): E.Either<FatalError, Weights> => {
  const name = tokenRowsName(module);
  const [, width = 0] = adaptedWeight(model, module).shape;
  const own = saved[name];
  if (own === undefined) return lacks(name);
  if (own.shape.join() !== [ids.length, width].join())
    return misfit(`"${name}" does not fit`, `[${ids.length}, ${width}]`, shapeOf(own));
  return E.right({ [name]: own });
};

/** The weights `base` with those in place that were saved whole: all that is no part of the adapter. */
const withSavedWhole = (
  base: Weights,
  saved: Weights,
  adapter: Weights,
  { tieWordEmbeddings }: Pick<CausalLM['config'], 'tieWordEmbeddings'>,
): E.Either<FatalError, Weights> => {
  const whole: Record<string, Tensor> = { ...base };
  for (const [key, value] of Object.entries(saved)) {
    if (key in adapter) continue;
    const name = key.replace(baseLayer, '.');
    const own = whole[name];
    // PEFT saves the head of a resized model even where it is the embedding.
    if (own === undefined && tieWordEmbeddings && ownsNothing.has(name)) continue;
    if (own === undefined)
      return misfit('the adapter holds a tensor that the model has no place for', 'a weight of the model', key);
    if (own.shape.join() !== value.shape.join())
      return misfit(`the adapter's "${key}" does not fit the model`, shapeOf(own), shapeOf(value));
    whole[name] = value;
  }
  return E.right(whole);
};

/** All of these together, or the first that is wrong. */
const merged = (parts: ReadonlyArray<E.Either<FatalError, Weights>>): E.Either<FatalError, Weights> =>
  E.Functor.map(E.sequenceArray(parts), (all) => Object.assign({}, ...all) as Weights);

/** The same; weights that the adapter replaces stay. */
export const withSavedAdapter = (
  given: CausalLM,
  asked: LoraConfig,
  tensors: Weights,
  { isTrainable = true }: { readonly isTrainable?: boolean } = {},
): E.Either<FatalError, CausalLM> => {
  const config = namedInside(given, asked);
  const saved = Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [nameInside(given.config, name), tensor]),
  );
  return pipe(
    alreadyThere(given),
    E.flatMap((plain) => sizedAs(plain, saved)),
    E.bindTo('model'),
    E.bind('places', ({ model }) => placesOf(model, config)),
    E.let('targets', ({ places }) => reachedBy(saved, places.targets)),
    // Not converted when it was saved: it fits weights without the part that it began with, which is the same again.
    E.bind('taking', ({ model, targets }) => takeFromBase(model, config, targets, 0)),
    E.bind('adapter', ({ model, places, targets }) =>
      merged([
        ...targets.map((target) => savedHalves(saved, target, config)),
        ...places.rows.map((table) => savedRows(model, saved, table)),
      ]),
    ),
    E.bind('base', ({ model, taking, adapter }) =>
      withSavedWhole({ ...model.weights, ...taking.left, ...untied(model, config) }, saved, adapter, model.config),
    ),
    E.map(({ model, targets, taking: { taken }, adapter, base }) => {
      const plain = withAdapter(model, config, targets, adapter, base);
      const attached = Object.keys(taken).length === 0 ? plain : { ...plain, taken };
      return isTrainable ? attached : { ...attached, trainable: [] };
    }),
  );
};

/** PEFT saves the whole table of an adapted module that is called so. */
const savedWhole = /(?:^|\.)(?:embed_tokens|lm_head)$/;

/**
 * What adapter_model.safetensors holds, under PEFT's names without `base_model.model.`: the adapter, biases and whole modules that
 * train with it, and tables that the base on disk has not, or that PEFT saves because they are adapted. Borrowed from the model.
 */
export const adapterTensors = (model: CausalLM): Weights => {
  const { lora, weights } = model;
  if (lora === undefined) return {};
  const further = new Set(
    adaptersIn(weights)
      .filter((site) => site.further !== undefined)
      .flatMap((site): ReadonlyArray<string> => Object.values({ ...namesOf(site) })),
  );
  const adapter = Object.keys(weights).filter((name) => isAdapterName(name) && !further.has(name));
  const hasRows = tablesIn(weights);
  const modules = new Set(adaptersIn(weights).flatMap((site) => (site.further === undefined ? [site.module] : [])));
  const beside = trainedWith(model, lora);
  const savedName = (name: string): string => {
    const module = moduleOf(name);
    if (hasRows.includes(module)) return name.replace(/\.([^.]*)$/, `.token_adapter${baseLayer}$1`);
    return modules.has(module) ? name.replace(/\.([^.]*)$/, `${baseLayer}$1`) : name;
  };
  const tables = [
    ...(model.resizedFrom === undefined ? [] : tokenTables(model)),
    ...(hasRows.length > 0
      ? []
      : [...modules].filter((module) => savedWhole.test(module)).map((module) => `${module}.weight`)),
  ];
  const own = (name: string): Tensor => weights[name] ?? adaptedWeight(model, moduleOf(name));
  return Object.fromEntries([
    ...adapter.map((name) => [name, weightOf(weights, name)] as const),
    ...[...new Set([...beside, ...tables])].map((name) => [savedName(name), own(name)] as const),
  ]);
};
