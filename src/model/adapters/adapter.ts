/** LoRA adapters of a model: attach, and take out for saving. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import { fatal, usage } from '../../errors.js';
import { mul, sub, tensor2d, tidy } from '../../tfjs.js';
import { architectureOf, bufferNames } from '../architectures.js';
import { endInside, nameInside, nameOutside } from '../imageText.js';
import { gatherRows } from '../kernels/gatherRows.js';
import type { Weights } from '../layers/layer.js';
import type { CausalLM } from '../model.js';
import { resizeTokenEmbeddings } from '../resizeEmbeddings.js';
import { turned } from '../turned.js';
import { headSpec, weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { copied } from './copied.js';
import { adaptedNorms } from './dora.js';
import { initFault, rankFault, takenHalves, takesFromBase } from './initLora.js';
import {
  adapterOptions,
  adaptersIn,
  initialAdapter,
  isAdapterName,
  isList,
  isSavedModule,
  loraTargets,
  moduleOf,
  namesOf,
  scalingOf,
  tablesIn,
  tokenRows,
  tokenRowsName,
} from './lora.js';
import type { LoraConfig, Target, TokenRows } from './lora.js';
import { loraDelta } from './loraDelta.js';
import type { Matrix } from './singularVectors.js';

/** The model's tensors, its head among them where that is the embedding. */
const specsOf = ({ config }: CausalLM): ReadonlyArray<TensorSpec> => {
  const { tensors, embedding } = architectureOf(config);
  const table = tensors.find(({ name }) => name === `${embedding}.weight`);
  const [rows = 0, width = 0] = table?.shape ?? [];
  return tensors.some(({ name }) => name === 'lm_head.weight')
    ? tensors
    : [...tensors, ...headSpec(false, rows, width)];
};

/** What an adapter sits on. */
interface Places {
  readonly targets: ReadonlyArray<Target>;
  readonly rows: ReadonlyArray<TokenRows>;
}

const placesOf = (model: CausalLM, config: LoraConfig): E.Either<FatalError, Places> => {
  const { loraTargets: defaults, embedding } = architectureOf(model.config);
  const specs = specsOf(model);
  const modules = specs.map(({ name }) => moduleOf(name));
  const nowhere = config.modulesToSave?.find((name) => !modules.some((module) => module.endsWith(name)));
  if (nowhere !== undefined)
    return E.left(usage('E_LORA_TARGET', `modulesToSave names "${nowhere}", and no module of the model ends so`));
  const whole = Object.keys(model.quantized?.scales ?? {}).find((name) => isSavedModule(config, moduleOf(name)));
  if (whole !== undefined)
    return E.left(
      usage('E_LORA_TARGET', `modulesToSave names "${moduleOf(whole)}", whose weight is quantised and cannot train`, {
        hint: 'name it in llmInt8SkipModules too, or give it an adapter',
      }),
    );
  const tied = !('lm_head.weight' in model.weights);
  return pipe(
    loraTargets(config, specs, defaults, model.config.modelType, (module) => nameOutside(model.config, module)),
    E.bindTo('targets'),
    E.bind('rows', ({ targets }) => tokenRows(config, specs, { embedding, tied }, targets)),
  );
};

/**
 * Weights that `modulesToSave` needs and a tied model lacks. PEFT trains a copy of the named module, which unties it: the head
 * and the embedding part ways.
 */
const untied = (model: CausalLM, config: LoraConfig): Weights => {
  const embedding = architectureOf(model.config).embedding;
  const table = model.weights[`${embedding}.weight`];
  if (table === undefined || 'lm_head.weight' in model.weights) return {};
  return isSavedModule(config, 'lm_head') || isSavedModule(config, embedding)
    ? { 'lm_head.weight': copied(table) }
    : {};
};

/** As PEFT has it: what a module calls its bias, not the `dt_bias` of recurrent layers. */
const isBias = (name: string): boolean => name.endsWith('.bias');

/** What trains beside the adapter itself. */
const trainedBeside = (
  { config: model }: CausalLM,
  names: ReadonlyArray<string>,
  config: LoraConfig,
  modules: ReadonlySet<string>,
): ReadonlyArray<string> => {
  const buffers = bufferNames(model);
  return names.filter(
    (name) =>
      !buffers.has(name) &&
      (isSavedModule(config, moduleOf(name)) ||
        (config.bias === 'all' && isBias(name)) ||
        (config.bias === 'lora_only' && isBias(name) && modules.has(moduleOf(name)))),
  );
};

/** Names of the weights of the base that train with an adapter. */
export const trainedWith = (model: CausalLM, config: LoraConfig): ReadonlyArray<string> =>
  trainedBeside(
    model,
    Object.keys(model.weights).filter((name) => !isAdapterName(name)),
    config,
    new Set(adaptersIn(model.weights).map(({ module }) => module)),
  );

const withAdapter = (
  model: CausalLM,
  config: LoraConfig,
  targets: ReadonlyArray<Target>,
  adapter: Weights,
  base: Weights,
): CausalLM => {
  const trainable = trainedBeside(model, Object.keys(base), config, new Set(targets.map(({ module }) => module)));
  return {
    ...model,
    weights: { ...base, ...adapter },
    trainable: [...Object.keys(adapter), ...trainable],
    lora: config,
  };
};

const alreadyThere = (model: CausalLM): E.Either<FatalError, CausalLM> =>
  model.lora === undefined && model.adapters === undefined
    ? E.right(model)
    : E.left(
        usage('E_LORA_PRESENT', 'the model carries an adapter already', {
          hint: 'go on training it, merge it first, or put another one beside it: addAdapter',
        }),
      );

const headName = ({ weights, config }: CausalLM): string =>
  'lm_head.weight' in weights ? 'lm_head.weight' : `${architectureOf(config).embedding}.weight`;

/** The weight that a target's adapter adapts; of a tied head the embedding's table. */
export const adaptedWeight = (model: CausalLM, module: string): Tensor =>
  weightOf(model.weights, module === 'lm_head' ? headName(model) : `${module}.weight`);

/** Whether the weight a target adapts lies [inputs, outputs]. */
export const liesTransposed = (
  { config, quantized }: CausalLM,
  { module, isEmbedding }: Pick<Target, 'module' | 'isEmbedding'>,
): boolean => {
  const name = `${module}.weight`;
  if (isEmbedding) return true;
  // Quantised weights lie outputs first, those of Conv1D too.
  if (quantized !== undefined && name in quantized.scales) return false;
  return architectureOf(config).tensors.some((spec) => spec.name === name && spec.kind === 'conv1d');
};

/** DoRA begins with the lengths that the rows have. */
const firstMagnitude = (model: CausalLM, config: LoraConfig, target: Target, adapter: Weights): Tensor => {
  const names = namesOf(target);
  const [a, b] = [weightOf(adapter, names.a), weightOf(adapter, names.b)];
  const { scaling } = adapterOptions(config, target.module, a);
  const transposed = liesTransposed(model, target);
  return adaptedNorms({ w: adaptedWeight(model, target.module), a, b }, { transposed, scaling });
};

/** Where a table's rows that train apart begin: with what they are. */
const firstRows = (model: CausalLM, { module, ids }: TokenRows): Tensor =>
  gatherRows(adaptedWeight(model, module), Int32Array.from(ids));

/** The weight without the part s·B·A that its adapter begins with: a new tensor. */
const lacking = (
  w: Tensor,
  { a, b }: { readonly a: Tensor; readonly b: Tensor },
  transposed: boolean,
  scaling: number,
): Tensor => tidy(() => sub(w, mul(loraDelta(a, b, transposed), scaling)));

/** The weight as [outputs, inputs]. */
const matrixOf = (w: Tensor, transposed: boolean): Matrix => {
  const [first = 0, second = 0] = w.shape;
  const values = w.dataSync<'float32'>();
  if (!transposed) return { values, rows: first, columns: second };
  return { values: turned(values, [first, second]), rows: second, columns: first };
};

/** What a rewriting way to begin takes of the weights, and the weights that lack it. */
interface Taking {
  readonly taken: Weights;
  readonly left: Weights;
}

/** `E_LORA_INIT` where weights are quantised. */
const takeFromBase = (
  model: CausalLM,
  config: LoraConfig,
  targets: ReadonlyArray<Target>,
  seed: number,
): E.Either<FatalError, Taking> => {
  const init = config.initLoraWeights;
  const fault = initFault(init);
  if (fault !== undefined) return E.left(fault);
  const maps = targets.filter(({ isEmbedding }) => !isEmbedding);
  for (const target of maps) {
    const wrong = rankFault(init, target);
    if (E.isLeft(wrong)) return wrong;
  }
  if (typeof init !== 'string' || !takesFromBase(init)) return E.right({ taken: {}, left: {} });
  const held = maps.find(({ module }) => model.quantized?.scales[`${module}.weight`] !== undefined);
  if (held !== undefined)
    return E.left(
      usage('E_LORA_INIT', `initLoraWeights "${init}" takes a part of the weights, and "${held.module}" is quantised`, {
        hint: 'load the model unquantised, or begin with initLoraWeights true',
      }),
    );
  const taken: Record<string, Tensor> = {};
  const left: Record<string, Tensor> = {};
  for (const target of maps) {
    const { module, rank, inputs, outputs } = target;
    const names = namesOf(target);
    const transposed = liesTransposed(model, target);
    const w = adaptedWeight(model, module);
    const scaling = scalingOf(config, module, rank);
    const { a, b } = takenHalves(init, matrixOf(w, transposed), { rank, scaling, seed, module });
    const halves = { a: tensor2d(a, [rank, inputs]), b: tensor2d(b, [outputs, rank]) };
    taken[names.a] = halves.a;
    taken[names.b] = halves.b;
    left[`${module}.weight`] = lacking(w, halves, transposed, scaling);
  }
  return E.right({ taken, left });
};

/** The options with names of modules, other than targets, as they end here. */
const namedInside = (model: CausalLM, config: LoraConfig): LoraConfig => {
  if (model.config.within === undefined) return config;
  const { modulesToSave, trainableTokenIndices: rows } = config;
  const inside = (name: string): string => endInside(model.config, name);
  const keyed = <V>(by: Readonly<Record<string, V>>): Readonly<Record<string, V>> =>
    Object.fromEntries(Object.entries(by).map(([name, value]) => [inside(name), value]));
  return {
    ...config,
    rankPattern: keyed(config.rankPattern),
    alphaPattern: keyed(config.alphaPattern),
    ...(modulesToSave === undefined ? {} : { modulesToSave: modulesToSave.map(inside) }),
    ...(rows === undefined || isList(rows) ? {} : { trainableTokenIndices: keyed(rows) }),
  };
};

/** The model with a new adapter, as `attachLora`; the weights given stay, those that lack a part are new. */
export const withNewAdapter = (model: CausalLM, asked: LoraConfig, seed: number): E.Either<FatalError, CausalLM> => {
  const config = namedInside(model, asked);
  return pipe(
    alreadyThere(model),
    E.flatMap(() => placesOf(model, config)),
    E.bind('taking', ({ targets }) => takeFromBase(model, config, targets, seed)),
    E.map(({ targets, rows, taking: { taken, left } }) => {
      const adapter: Record<string, Tensor> = {};
      const base = { ...model, weights: { ...model.weights, ...left } };
      for (const target of targets) {
        const names = namesOf(target);
        const [ofA, ofB] = [taken[names.a], taken[names.b]];
        if (ofA !== undefined && ofB !== undefined) {
          adapter[names.a] = copied(ofA);
          adapter[names.b] = copied(ofB);
        } else {
          const { a, b } = initialAdapter(config, target, seed);
          adapter[names.a] = tensor2d(a, [target.rank, target.inputs]);
          adapter[names.b] = tensor2d(b, [target.outputs, target.rank]);
        }
        if (config.useDora) adapter[names.magnitude] = firstMagnitude(base, config, target, adapter);
      }
      for (const table of rows) adapter[tokenRowsName(table.module)] = firstRows(model, table);
      const attached = withAdapter(model, config, targets, adapter, { ...base.weights, ...untied(model, config) });
      return Object.keys(taken).length === 0 ? attached : { ...attached, taken };
    }),
  );
};

/** The same model; weights of `before` that it has replaced are freed. */
const replacing =
  (before: CausalLM) =>
  (after: CausalLM): CausalLM => {
    if (after.taken !== undefined)
      for (const [name, weight] of Object.entries(before.weights)) if (after.weights[name] !== weight) weight.dispose();
    return after;
  };

/**
 * The model with a new adapter, which alone trains (with what `bias`, `modulesToSave` and `trainableTokenIndices` name). Takes the
 * base weights over: use the result, not the model given. With `initLoraWeights` pissa or olora the adapter begins with a part of
 * each weight, which the weight then lacks. `E_LORA_TARGET`, `E_LORA_PRESENT`, `E_LORA_INIT` for a way to begin that is not offered or
 * that rank or quantisation rule out.
 */
export const attachLora = (model: CausalLM, config: LoraConfig, seed: number): E.Either<FatalError, CausalLM> =>
  E.Functor.map(withNewAdapter(model, config, seed), replacing(model));

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
  const rowsOf = (name: string): number | undefined =>
    (saved[name] ?? saved[name.replace(/\.([^.]*)$/, `${baseLayer}$1`)])?.shape[0];
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

/**
 * The model with a saved adapter: `saved` holds the tensors of adapter_model.safetensors under their names without
 * `base_model.model.`. Takes what it uses of `saved` into the model and trains it, unless `isTrainable` is false.
 * `E_LORA_WEIGHTS` for an adapter that does not fit, `E_LORA_TARGET`, `E_LORA_PRESENT`.
 */
export const attachSavedLora = (
  given: CausalLM,
  config: LoraConfig,
  saved: Weights,
  options: { readonly isTrainable?: boolean } = {},
): E.Either<FatalError, CausalLM> => E.Functor.map(withSavedAdapter(given, config, saved, options), replacing(given));

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
  const free = E.Monad.chain(alreadyThere(given), (plain) => sizedAs(plain, saved));
  if (E.isLeft(free)) return free;
  const model = free.right;
  const found = placesOf(model, config);
  if (E.isLeft(found)) return found;
  const { rows } = found.right;
  const targets = reachedBy(saved, found.right.targets);
  // Not converted when it was saved: it fits weights without the part that it began with, which is the same again.
  const taking = takeFromBase(model, config, targets, 0);
  if (E.isLeft(taking)) return taking;
  const { taken, left } = taking.right;
  const misfit = (message: string, expected: string, actual: string): E.Either<FatalError, never> =>
    E.left(fatal('E_LORA_WEIGHTS', message, { expected, actual }));
  const adapter: Record<string, Tensor> = {};
  for (const target of targets) {
    const { module, inputs, outputs } = target;
    const { a, b, magnitude } = namesOf(target);
    const halfA = saved[a];
    const halfB = saved[b];
    if (halfA === undefined || halfB === undefined)
      return misfit('the adapter lacks a tensor', halfA === undefined ? a : b, 'nothing of that name');
    const [rank = 0] = halfA.shape;
    if (`${halfA.shape.join()};${halfB.shape.join()}` !== `${rank},${inputs};${outputs},${rank}`)
      return misfit(
        `the adapter of "${module}" does not fit the model`,
        `A [r, ${inputs}], B [${outputs}, r]`,
        `A [${halfA.shape.join(', ')}], B [${halfB.shape.join(', ')}]`,
      );
    // Its factor is alpha / r: of another rank the adapter would count for more or less than it was trained to.
    if (rank !== target.rank)
      return misfit(
        `the adapter of "${module}" is not of the rank that its configuration tells`,
        `rank ${target.rank}, by r and rankPattern`,
        `rank ${rank}`,
      );
    adapter[a] = halfA;
    adapter[b] = halfB;
    if (!config.useDora) continue;
    const lengths = saved[magnitude];
    if (lengths === undefined) return misfit('the adapter lacks a tensor', magnitude, 'nothing of that name');
    if (lengths.size !== outputs)
      return misfit(
        `the adapter of "${module}" does not fit the model`,
        `[${outputs}]`,
        `[${lengths.shape.join(', ')}]`,
      );
    adapter[magnitude] = lengths;
  }
  for (const { module, ids } of rows) {
    const name = tokenRowsName(module);
    const [, width = 0] = adaptedWeight(model, module).shape;
    const own = saved[name];
    if (own === undefined) return misfit('the adapter lacks a tensor', name, 'nothing of that name');
    if (own.shape.join() !== [ids.length, width].join())
      return misfit(`"${name}" does not fit`, `[${ids.length}, ${width}]`, `[${own.shape.join(', ')}]`);
    adapter[name] = own;
  }
  const base: Record<string, Tensor> = { ...model.weights, ...left, ...untied(model, config) };
  for (const [key, value] of Object.entries(saved)) {
    if (key in adapter) continue;
    const name = key.replace(baseLayer, '.');
    const own = base[name];
    // PEFT saves the head of a resized model even where it is the embedding.
    if (own === undefined && model.config.tieWordEmbeddings && ownsNothing.has(name)) continue;
    if (own === undefined)
      return misfit('the adapter holds a tensor that the model has no place for', 'a weight of the model', key);
    if (own.shape.join() !== value.shape.join())
      return misfit(
        `the adapter's "${key}" does not fit the model`,
        `[${own.shape.join(', ')}]`,
        `[${value.shape.join(', ')}]`,
      );
    base[name] = value;
  }
  const plain = withAdapter(model, config, targets, adapter, base);
  const attached = Object.keys(taken).length === 0 ? plain : { ...plain, taken };
  return E.right(isTrainable ? attached : { ...attached, trainable: [] });
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
