/** LoRA adapters of a model: attach, take out for saving, merge into the weights and back. */
import * as E from 'fp-ts/lib/Either.js';
import { add as addTensors, keep, mul, sub, tensor, tensor2d, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { FatalError, Warning } from '../errors.js';
import { fatal, warning } from '../errors.js';
import { architectureOf } from './architectures.js';
import type { ModelConfig } from './config.js';
import { adaptedNorms, doraMerged, doraUnmerged } from './dora.js';
import { axpy } from './kernels/axpy.js';
import { release } from './kernels/hold.js';
import type { Weights } from './layer.js';
import {
  adaptedModule,
  adapterNames,
  adapterOptions,
  initialAdapter,
  isNamed,
  isAdapterName,
  isSavedModule,
  loraTargets,
  moduleOf,
} from './lora.js';
import type { LoraConfig, Target } from './lora.js';
import { loraDelta } from './loraDelta.js';
import type { CausalLM } from './model.js';
import { placed } from './quantize/base.js';
import { quantizeMatrix, scalesOf } from './quantize/matrix.js';
import type { QuantizationConfig } from './quantize/config.js';
import type { QuantizedScales } from './quantize/matrix.js';
import { resizeTokenEmbeddings } from './resizeEmbeddings.js';
import { weightOf } from './weights.js';

const targetsOf = (model: CausalLM, config: LoraConfig): E.Either<FatalError, ReadonlyArray<Target>> => {
  const { tensors, loraTargets: defaults } = architectureOf(model.config);
  const modules = [...tensors.map(({ name }) => moduleOf(name)), 'lm_head'];
  const nowhere = config.modulesToSave?.find((name) => !modules.some((module) => isNamed(module, [name])));
  if (nowhere !== undefined)
    return E.left(
      fatal('E_LORA_TARGET', `modulesToSave names "${nowhere}", and no module of the model ends so`, { kind: 'usage' }),
    );
  const whole = Object.keys(model.quantized?.scales ?? {}).find((name) => isSavedModule(config, moduleOf(name)));
  if (whole !== undefined)
    return E.left(
      fatal('E_LORA_TARGET', `modulesToSave names "${moduleOf(whole)}", whose weight is quantised and cannot train`, {
        kind: 'usage',
        hint: 'name it in llmInt8SkipModules too, or give it an adapter',
      }),
    );
  return E.Monad.chain(loraTargets(config, tensors, defaults, model.config.modelType), (targets) =>
    config.useDora && targets.some(({ module }) => module === 'lm_head')
      ? E.left(
          fatal('E_LORA_TARGET', 'useDora does not reach the output head', {
            kind: 'usage',
            field: 'useDora',
            hint: 'leave lm_head out of targetModules, or list it in modulesToSave',
          }),
        )
      : E.right(targets),
  );
};

/** A physical copy: clones share data, which an optimizer that works in place would write through. */
const copied = (source: Tensor): Tensor => tensor(source.dataSync().slice(), source.shape, 'float32');

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

/** The configuration of weights among which the head has a table of its own, whatever it was before. */
const untiedConfig = (config: ModelConfig, weights: Weights): ModelConfig =>
  config.tieWordEmbeddings && 'lm_head.weight' in weights
    ? { ...config, tieWordEmbeddings: false, raw: { ...config.raw, tie_word_embeddings: false } }
    : config;

const isBias = (name: string): boolean => name.endsWith('bias');

/** What trains beside the adapter itself. */
const trainedBeside = (
  names: ReadonlyArray<string>,
  config: LoraConfig,
  modules: ReadonlySet<string>,
): ReadonlyArray<string> =>
  names.filter(
    (name) =>
      isSavedModule(config, moduleOf(name)) ||
      (config.bias === 'all' && isBias(name)) ||
      (config.bias === 'lora_only' && isBias(name) && modules.has(moduleOf(name))),
  );

const withAdapter = (
  model: CausalLM,
  config: LoraConfig,
  targets: ReadonlyArray<Target>,
  adapter: Weights,
  base: Weights,
): CausalLM => {
  const trainable = trainedBeside(Object.keys(base), config, new Set(targets.map(({ module }) => module)));
  return {
    ...model,
    weights: { ...base, ...adapter },
    trainable: [...Object.keys(adapter), ...trainable],
    lora: config,
  };
};

const withoutAdapter = (weights: Weights): Weights =>
  Object.fromEntries(Object.entries(weights).filter(([name]) => !isAdapterName(name)));

const alreadyThere = (model: CausalLM): E.Either<FatalError, CausalLM> =>
  model.lora === undefined
    ? E.right(model)
    : E.left(
        fatal('E_LORA_PRESENT', 'the model carries an adapter already', {
          kind: 'usage',
          hint: 'go on training it, or merge it first',
        }),
      );

/** DoRA begins with the lengths that the rows have. */
const firstMagnitude = (model: CausalLM, config: LoraConfig, { module }: Target, adapter: Weights): Tensor => {
  const names = adapterNames(module);
  const [a, b] = [weightOf(adapter, names.a), weightOf(adapter, names.b)];
  const name = `${module}.weight`;
  const held = model.quantized !== undefined && name in model.quantized.scales;
  const isConv1d = architectureOf(model.config).tensors.some((spec) => spec.name === name && spec.kind === 'conv1d');
  const { scaling } = adapterOptions(config, module, a);
  return adaptedNorms({ w: weightOf(model.weights, name), a, b }, { transposed: isConv1d && !held, scaling });
};

/**
 * The model with a new adapter, which alone trains (with what `bias` and `modulesToSave` name). Takes the base weights over: use
 * the result, not the model given. `E_LORA_TARGET`, `E_LORA_PRESENT`.
 */
export const attachLora = (model: CausalLM, config: LoraConfig, seed: number): E.Either<FatalError, CausalLM> =>
  E.Monad.chain(alreadyThere(model), () =>
    E.Functor.map(targetsOf(model, config), (targets) => {
      const adapter: Record<string, Tensor> = {};
      for (const target of targets) {
        const names = adapterNames(target.module);
        const { a, b } = initialAdapter(config, target, seed);
        adapter[names.a] = tensor2d(a, [target.rank, target.inputs]);
        adapter[names.b] = tensor2d(b, [target.outputs, target.rank]);
        if (config.useDora) adapter[names.magnitude] = firstMagnitude(model, config, target, adapter);
      }
      return withAdapter(model, config, targets, adapter, { ...model.weights, ...untied(model, config) });
    }),
  );

const baseLayer = '.base_layer.';

/** What has a row for every token: PEFT saves these with an adapter whose base has been resized. */
const tokenTables = (model: CausalLM): ReadonlyArray<string> =>
  [`${architectureOf(model.config).embedding}.weight`, 'lm_head.weight', 'lm_head.bias'].filter(
    (name) => name in model.weights,
  );

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

/**
 * The model with a saved adapter: `saved` holds the tensors of adapter_model.safetensors under their names without
 * `base_model.model.`. Takes what it uses of `saved` into the model and trains it, unless `isTrainable` is false.
 * `E_LORA_WEIGHTS` for an adapter that does not fit, `E_LORA_TARGET`, `E_LORA_PRESENT`.
 */
export const attachSavedLora = (
  given: CausalLM,
  config: LoraConfig,
  saved: Weights,
  { isTrainable = true }: { readonly isTrainable?: boolean } = {},
): E.Either<FatalError, CausalLM> => {
  const free = E.Monad.chain(alreadyThere(given), (plain) => sizedAs(plain, saved));
  if (E.isLeft(free)) return free;
  const model = free.right;
  const found = targetsOf(model, config);
  if (E.isLeft(found)) return found;
  const targets = found.right;
  const misfit = (message: string, expected: string, actual: string): E.Either<FatalError, never> =>
    E.left(fatal('E_LORA_WEIGHTS', message, { expected, actual }));
  const adapter: Record<string, Tensor> = {};
  for (const { module, inputs, outputs } of targets) {
    const { a, b, magnitude } = adapterNames(module);
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
  const base: Record<string, Tensor> = { ...model.weights, ...untied(model, config) };
  for (const [key, value] of Object.entries(saved)) {
    if (key in adapter) continue;
    const name = key.replace(baseLayer, '.');
    const own = base[name];
    // PEFT saves the head of a resized model even where it is the embedding.
    if (own === undefined && name === 'lm_head.weight' && model.config.tieWordEmbeddings) continue;
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
  const attached = withAdapter(model, config, targets, adapter, base);
  return E.right(isTrainable ? attached : { ...attached, trainable: [] });
};

/**
 * What adapter_model.safetensors holds, under PEFT's names without `base_model.model.`: the adapter, biases and whole modules
 * that train with it. Borrowed from the model.
 */
export const adapterTensors = (model: CausalLM): Weights => {
  const { lora, weights } = model;
  if (lora === undefined) return {};
  const adapter = Object.keys(weights).filter(isAdapterName);
  const modules = new Set(adapter.map(adaptedModule));
  const beside = trainedBeside(
    Object.keys(weights).filter((name) => !isAdapterName(name)),
    lora,
    modules,
  );
  const savedName = (name: string): string =>
    modules.has(moduleOf(name)) ? name.replace(/\.([^.]*)$/, `${baseLayer}$1`) : name;
  const tables = model.resizedFrom === undefined ? [] : tokenTables(model).filter((name) => !beside.includes(name));
  return Object.fromEntries([
    ...adapter.map((name) => [name, weightOf(weights, name)] as const),
    ...[...beside, ...tables].map((name) => [savedName(name), weightOf(weights, name)] as const),
  ]);
};

/** A quantised weight of new values [outputs, inputs]. */
const requantized = (
  config: QuantizationConfig,
  values: Float32Array,
  { shape: [rows = 0, columns = 0] }: Tensor,
): { readonly weight: Tensor; readonly scales: QuantizedScales } => {
  const matrix = quantizeMatrix(config, values, [rows, columns]);
  return { weight: placed(matrix), scales: scalesOf(matrix) };
};

/** Lengths of DoRA's rows before a merge, by module. */
type Lengths = Map<string, Tensor>;

/**
 * The weights with the adapter merged into every adapted one (`in`), or taken out again (`out`); consumes those. `lengths` is
 * filled on the way in and read on the way out.
 */
const moved = (model: CausalLM, way: 'in' | 'out', lengths: Lengths): Pick<CausalLM, 'weights' | 'quantized'> => {
  const { config, lora, weights, quantized } = model;
  const scales: Record<string, QuantizedScales> = { ...quantized?.scales };
  const conv1d = new Set(architectureOf(config).tensors.flatMap(({ name, kind }) => (kind === 'conv1d' ? [name] : [])));
  const changed: Record<string, Tensor> = { ...weights };
  for (const name of Object.keys(weights)) {
    const module = adaptedModule(name);
    const names = adapterNames(module);
    if (!isAdapterName(name) || name !== names.a) continue;
    const [a, b] = [weightOf(weights, names.a), weightOf(weights, names.b)];
    const target = `${module}.weight`;
    const w = weightOf(weights, target);
    const held = quantized !== undefined && target in scales ? quantized : undefined;
    const attrs = {
      transposed: held === undefined && conv1d.has(target),
      scaling: adapterOptions(lora, module, a).scaling,
    };
    const magnitude = weights[names.magnitude];
    if (held === undefined && magnitude === undefined) {
      const change = loraDelta(a, b, attrs.transposed);
      release(w);
      changed[target] = axpy(w, change, way === 'in' ? attrs.scaling : -attrs.scaling);
      change.dispose();
      continue;
    }
    const next = tidy((): Tensor => {
      if (magnitude === undefined) {
        const change = mul(loraDelta(a, b, attrs.transposed), attrs.scaling);
        return way === 'in' ? addTensors(w, change) : sub(w, change);
      }
      const dora = { w, bias: undefined, a, b, magnitude };
      if (way === 'in') {
        lengths.set(module, keep(adaptedNorms(dora, attrs)));
        return doraMerged(dora, attrs);
      }
      return doraUnmerged(dora, lengths.get(module) ?? magnitude, attrs);
    });
    if (held === undefined) {
      changed[target] = next;
    } else {
      const again = requantized(held.config, next.dataSync<'float32'>(), w);
      changed[target] = again.weight;
      scales[target] = again.scales;
      next.dispose();
    }
    w.dispose();
  }
  return { weights: changed, ...(quantized === undefined ? {} : { quantized: { ...quantized, scales } }) };
};

/** A model whose adapter has been added to its weights; the adapter's tensors are kept, so that it can be taken out again. */
export interface Merged {
  /** Runs as a plain model; nothing in it trains. */
  readonly model: CausalLM;
  /** The model before, of weights equal up to rounding. Consumes the merged one. */
  readonly unmerge: () => CausalLM;
  /** The plain model, the adapter disposed. */
  readonly unload: () => CausalLM;
  /** `W_MERGE_ROUNDS` where weights are quantised: they were rounded again. */
  readonly warnings: ReadonlyArray<Warning>;
}

const rounds = ({ quantized }: CausalLM): ReadonlyArray<Warning> =>
  quantized === undefined
    ? []
    : [
        warning('W_MERGE_ROUNDS', 'the adapter is merged into quantised weights, which rounds what it learned', {
          hint: 'merge into the unquantised model: the same adapter fits it',
        }),
      ];

/**
 * The model with scaling · B·A added to the weights. Consumes the model given (its adapted weights change); use the result.
 * `E_LORA_NOT_FINITE` when the adapter holds a number that is none, `E_LORA_ABSENT` when there is no adapter.
 */
export const mergeLora = (model: CausalLM): E.Either<FatalError, Merged> => {
  if (model.lora === undefined)
    return E.left(fatal('E_LORA_ABSENT', 'the model carries no adapter to merge', { kind: 'usage' }));
  const broken = Object.keys(model.weights).find(
    (name) => isAdapterName(name) && !weightOf(model.weights, name).dataSync().every(Number.isFinite),
  );
  if (broken !== undefined) return E.left(fatal('E_LORA_NOT_FINITE', `"${broken}" holds numbers that are not finite`));
  const lengths: Lengths = new Map();
  const after = moved(model, 'in', lengths);
  const forget = (): void => {
    for (const length of lengths.values()) length.dispose();
  };
  const { weights } = after;
  const { lora: _, ...base } = model;
  return E.right({
    model: { ...base, ...after, trainable: [] },
    unmerge: () => {
      const before = moved({ ...model, ...after }, 'out', lengths);
      forget();
      return { ...model, ...before };
    },
    unload: () => {
      forget();
      for (const [name, value] of Object.entries(weights)) if (isAdapterName(name)) value.dispose();
      const plain = withoutAdapter(weights);
      const isHeld = (name: string): boolean => after.quantized !== undefined && name in after.quantized.scales;
      return {
        ...base,
        ...after,
        config: untiedConfig(base.config, plain),
        weights: plain,
        trainable: Object.keys(plain).filter((name) => !isHeld(name)),
      };
    },
    warnings: rounds(model),
  });
};
