/** Adapters merged into the weights, and taken out again. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { checked } from '../../checked.js';
import type { FatalError, Warning } from '../../errors.js';
import { fatal, usage, warning } from '../../errors.js';
import { add, keep, mul, sub, tidy } from '../../tfjs.js';
import { architectureOf, bufferNames } from '../architectures.js';
import type { ModelConfig } from '../config.js';
import { untiedRaw } from '../imageText.js';
import { axpy } from '../kernels/axpy.js';
import { gatherRows } from '../kernels/gatherRows.js';
import { release } from '../kernels/hold.js';
import type { Weights } from '../layers/layer.js';
import { putRows } from '../layers/putRows.js';
import type { CausalLM, ModelWithWarnings } from '../model.js';
import { dequantizedCopy, dequantizeModel, placed } from '../quantize/base.js';
import { isGptq } from '../quantize/config.js';
import type { QuantizationConfig } from '../quantize/config.js';
import { quantizeMatrix, scalesOf } from '../quantize/matrix.js';
import type { QuantizedScales } from '../quantize/matrix.js';
import { weightOf } from '../weights.js';
import { adaptedWeight, liesTransposed } from './places.js';
import { copied } from './copied.js';
import { adaptedNorms, doraMerged, doraUnmerged } from './dora.js';
import { adaptersIn, isAdapterName, namesOf, tablesIn, tokenRowsName } from './adapterNames.js';
import { adapterOptions } from './lora.js';
import { tokenIndicesOf } from './tokenRows.js';
import type { LoraConfig } from './lora.js';
import type { Site } from './adapterNames.js';
import { loraDelta } from './loraDelta.js';

/** Adapters that meet in one module, module by module. */
const sitesByModule = (weights: Weights): ReadonlyArray<readonly [Site, ...Site[]]> => {
  const found = new Map<string, [Site, ...Site[]]>();
  for (const site of adaptersIn(weights)) {
    const others = found.get(site.module);
    if (others === undefined) found.set(site.module, [site]);
    else others.push(site);
  }
  return [...found.values()];
};

/** The configuration of weights among which the head has a table of its own, whatever it was before. */
const untiedConfig = (config: ModelConfig, weights: Weights): ModelConfig =>
  config.tieWordEmbeddings && 'lm_head.weight' in weights
    ? { ...config, tieWordEmbeddings: false, raw: untiedRaw(config.raw) }
    : config;

const withoutAdapter = (weights: Weights): Weights =>
  Object.fromEntries(Object.entries(weights).filter(([name]) => !isAdapterName(name)));

/** A quantised weight of new values [outputs, inputs]. */
const requantized = (
  config: QuantizationConfig,
  values: Float32Array,
  { shape: [rows = 0, columns = 0] }: Tensor,
): { readonly weight: Tensor; readonly scales: QuantizedScales } => {
  const matrix = quantizeMatrix(config, values, [rows, columns]);
  return { weight: placed(matrix), scales: scalesOf(matrix) };
};

/**
 * What a merge into a tied table needs first: an adapter of the embedding is none of the head's, nor the other way round, so the
 * head gets a table of its own.
 */
const parted = ({ weights, config }: CausalLM): Weights => {
  const { embedding } = architectureOf(config);
  const table = weights[`${embedding}.weight`];
  const alone = [
    ...adaptersIn(weights).map(({ module }) => module),
    ...tablesIn(weights).filter((m) => m === 'lm_head'),
  ];
  return table === undefined ||
    'lm_head.weight' in weights ||
    !alone.some((module) => module === embedding || module === 'lm_head')
    ? {}
    : { 'lm_head.weight': copied(table) };
};

/** What a merge in place must remember so that it can be undone: lengths of DoRA's rows, and rows that were replaced. */
type Remembered = Map<string, Tensor>;

interface Moving {
  readonly way: 'in' | 'out';
  /** Whether the weights given are used up. */
  readonly inPlace: boolean;
  readonly remembered: Remembered;
}

/** Options of the adapters in use, by the name that their tensors carry. */
const optionsOf = ({ lora, adapters }: CausalLM, further: string | undefined): LoraConfig | undefined =>
  further === undefined ? lora : adapters?.all[further]?.lora;

/** The weights with every adapter in use merged into what it adapts (`in`), or taken out again (`out`). */
const moved = (model: CausalLM, { way, inPlace, remembered }: Moving): Pick<CausalLM, 'weights' | 'quantized'> => {
  const { lora, weights, quantized } = model;
  const scales: Record<string, QuantizedScales> = { ...quantized?.scales };
  const changed: Record<string, Tensor> = { ...weights };
  /** The change that adapters of one module make together: a new tensor. */
  const changeOf = (sites: ReadonlyArray<Site>, transposed: boolean): Tensor =>
    tidy(() =>
      sites
        .map((site) => {
          const { a, b } = namesOf(site);
          const half = weightOf(weights, a);
          const { scaling } = adapterOptions(optionsOf(model, site.further), site.module, half);
          return mul(loraDelta(half, weightOf(weights, b), transposed), scaling);
        })
        .reduce((sum, change) => add(sum, change)),
    );
  for (const sites of sitesByModule(weights)) {
    const [site] = sites;
    const { module } = site;
    const name = `${module}.weight`;
    const w = adaptedWeight(model, module);
    const held = quantized !== undefined && !isGptq(quantized.config) && name in scales ? quantized.config : undefined;
    const transposed = liesTransposed(model, site);
    const magnitude = weights[namesOf(site).magnitude];
    if (inPlace && held === undefined && magnitude === undefined) {
      const change = changeOf(sites, transposed);
      release(w);
      changed[name] = axpy(w, change, way === 'in' ? 1 : -1);
      change.dispose();
      continue;
    }
    const next = tidy((): Tensor => {
      if (magnitude === undefined) return (way === 'in' ? add : sub)(w, changeOf(sites, transposed));
      const { a, b } = namesOf(site);
      const dora = { w, bias: undefined, a: weightOf(weights, a), b: weightOf(weights, b), magnitude };
      const attrs = { transposed, scaling: adapterOptions(lora, module, dora.a).scaling };
      if (way === 'out') return doraUnmerged(dora, remembered.get(module) ?? magnitude, attrs);
      if (inPlace) remembered.set(module, keep(adaptedNorms(dora, attrs)));
      return doraMerged(dora, attrs);
    });
    if (held === undefined) {
      changed[name] = next;
    } else {
      const again = requantized(held, next.dataSync<'float32'>(), w);
      changed[name] = again.weight;
      scales[name] = again.scales;
      next.dispose();
    }
    if (inPlace) w.dispose();
  }
  for (const module of tablesIn(weights)) {
    const name = `${module}.weight`;
    const ids = tokenIndicesOf(lora, module) ?? [];
    const before = changed[name] ?? weightOf(weights, name);
    if (way === 'in' && inPlace) remembered.set(name, gatherRows(before, Int32Array.from(ids)));
    const rows = way === 'in' ? weightOf(weights, tokenRowsName(module)) : remembered.get(name);
    if (rows === undefined) continue;
    changed[name] = putRows(before, rows, ids);
    if (inPlace || before !== weights[name]) before.dispose();
  }
  return { weights: changed, ...(quantized === undefined ? {} : { quantized: { ...quantized, scales } }) };
};

/** A model whose adapter has been added to its weights; the adapter's tensors are kept, so that it can be taken out again. */
export interface Merged {
  /** Runs as a plain model; nothing in it trains. */
  readonly model: CausalLM;
  /** The model before. Consumes the merged one. */
  readonly unmerge: () => CausalLM;
  /** The plain model, the adapter disposed. Consumes the merged one, and the model before. */
  readonly unload: () => CausalLM;
  /** `W_MERGE_ROUNDS` where weights are quantised: they were rounded again. `W_MERGE_DEQUANTIZED` for GPTQ's, which are not. */
  readonly warnings: ReadonlyArray<Warning>;
}

/** How an adapter is added to the weights. */
export interface MergeOptions {
  /**
   * Change the adapted weights where they lie (default false): no second copy of them, but what is taken out again is rounded: a
   * weight w that moved by d comes back within 2⁻²³·(|w| + |d|), DoRA's and quantised ones less nearly.
   */
  readonly inPlace?: boolean | undefined;
}

const isGptqBase = ({ quantized }: CausalLM): boolean => quantized !== undefined && isGptq(quantized.config);

const rounds = (model: CausalLM): ReadonlyArray<Warning> => {
  if (model.quantized === undefined) return [];
  return isGptqBase(model)
    ? [
        warning(
          'W_MERGE_DEQUANTIZED',
          'the adapter is merged into GPTQ weights, which are plain numbers from then on',
          {
            hint: 'quantise the merged model again, on rows of its task',
          },
        ),
      ]
    : [
        warning('W_MERGE_ROUNDS', 'the adapter is merged into quantised weights, which rounds what it learned', {
          hint: 'merge into the unquantised model: the same adapter fits it',
        }),
      ];
};

/** What keeps a model's adapter from being merged. */
const unmergeable = (model: CausalLM): FatalError | undefined => {
  if (model.lora === undefined)
    return usage('E_LORA_ABSENT', 'the model carries no adapter to merge', {
      hint: 'loadAdapter puts a saved one on, setActiveAdapters takes one into use',
    });
  const broken = Object.keys(model.weights).find(
    (name) => isAdapterName(name) && !weightOf(model.weights, name).dataSync().every(Number.isFinite),
  );
  return broken === undefined ? undefined : fatal('E_LORA_NOT_FINITE', `"${broken}" holds numbers that are not finite`);
};

/**
 * The model with scaling · B·A added to its weights, and token rows put in. The weights before are kept: `unmerge` gives back the
 * very model, bit for bit, at the price of a second copy of what is adapted; see `inPlace`, which consumes the model given, and
 * `mergeAndUnload`. Weights of GPTQ, which only calibration can make, become plain ones. Where an adapter sits on the embedding of
 * a tied model, the head gets a table of its own.
 * `E_LORA_NOT_FINITE` when the adapter holds a number that is none, `E_LORA_ABSENT` when there is no adapter.
 */
export const mergeLora = checked(
  'mergeLora',
  E.left,
  { 1: { inPlace: 'optional' } },
  (model: CausalLM, { inPlace = false }: MergeOptions = {}): E.Either<FatalError, Merged> => {
    const fault = unmergeable(model);
    if (fault !== undefined) return E.left(fault);
    const remembered: Remembered = new Map();
    const own = parted(model);
    const numbers = isGptqBase(model) ? (inPlace ? dequantizeModel : dequantizedCopy)(model) : model;
    const given: CausalLM = { ...numbers, weights: { ...numbers.weights, ...own } };
    const after = moved(given, { way: 'in', inPlace, remembered });
    const { weights } = after;
    const forget = (): void => {
      for (const old of remembered.values()) old.dispose();
    };
    /** Tensors of `from` that `others` do not share. */
    const drop = (from: Weights, ...others: ReadonlyArray<Weights>): void => {
      const shared = new Set(others.flatMap((each) => Object.values(each)));
      for (const weight of Object.values(from)) if (!shared.has(weight)) weight.dispose();
    };
    // Numbers that were made for the merge alone.
    if (!inPlace && numbers !== model) drop(numbers.weights, weights, model.weights);
    const { lora: _lora, adapters, taken = {}, ...base } = numbers;
    return E.right({
      model: { ...base, ...after, config: untiedConfig(base.config, weights), trainable: [] },
      unmerge: () => {
        if (!inPlace) {
          drop(own, model.weights);
          drop(weights, model.weights);
          return model;
        }
        const before = moved({ ...given, ...after }, { way: 'out', inPlace, remembered });
        forget();
        const { 'lm_head.weight': head, ...others } = before.weights;
        if (!('lm_head.weight' in own)) return { ...numbers, ...before };
        head?.dispose();
        return { ...numbers, ...before, weights: others };
      },
      unload: () => {
        forget();
        const plain = withoutAdapter(weights);
        drop(weights, plain);
        // In place these were used up already.
        if (!inPlace) for (const before of [given, model]) drop(before.weights, plain);
        drop(taken, plain);
        for (const { weights: own, beside, taken: began = {} } of Object.values(adapters?.all ?? {}))
          for (const tensors of [own, beside, began]) drop(tensors, plain);
        const buffers = bufferNames(base.config);
        const isHeld = (name: string): boolean => after.quantized !== undefined && name in after.quantized.scales;
        return {
          ...base,
          ...after,
          config: untiedConfig(base.config, plain),
          weights: plain,
          trainable: Object.keys(plain).filter((name) => !isHeld(name) && !buffers.has(name)),
        };
      },
      warnings: rounds(model),
    });
  },
);

/**
 * The plain model with the adapter's change in its weights, and warnings as of `mergeLora`. Consumes the model given and its
 * adapter; takes no second copy of the weights. `E_LORA_NOT_FINITE`, `E_LORA_ABSENT`.
 */
export const mergeAndUnload = (model: CausalLM): E.Either<FatalError, ModelWithWarnings> =>
  E.Functor.map(mergeLora(model, { inPlace: true }), ({ unload, warnings }) => ({ model: unload(), warnings }));
