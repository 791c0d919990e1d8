/** The memory check of a run: before its weights are loaded, and again when its rows are known. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { isFatal } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import {
  adaptedModule,
  adapterNames,
  embeddingAdapterNames,
  isAdapterName,
  tokenRowsName,
} from '../../model/adapters/adapterNames.js';
import { LoraConfig } from '../../model/adapters/lora.js';
import { loraTargets } from '../../model/adapters/targets.js';
import { architectureOf, expectedTensors } from '../../model/architectures.js';
import type { CausalLM } from '../../model/model.js';
import type { ModelConfig } from '../../model/config.js';
import { nameOutside } from '../../model/imageText.js';
import { quantizableTensors } from '../../model/quantize/base.js';
import { decodeQuantization, isGptq } from '../../model/quantize/config.js';
import type { StoredQuantization } from '../../model/quantize/config.js';
import type { Row } from '../../records.js';
import { cardMemoryLeft } from '../engine.js';
import { loraOf } from '../options/config.js';
import type { SftConfig } from '../options/config.js';
import { availableMemory } from './availableMemory.js';
import type { AvailableMemory } from './availableMemory.js';
import { checkMemory, fittingOptions, gibibytes, memoryNeed, needParts } from './memory.js';
import type { MemoryNeed, MemoryShape } from './memory.js';

const gibibyte = 2 ** 30;

/** What the engine that runs has: a card's own memory where its tensors lie there, else the process's. */
const availableHere = (): AvailableMemory => {
  const left = cardMemoryLeft();
  return left === undefined ? availableMemory() : { bytes: left, source: 'free on the card', onCard: true };
};

/** WebAssembly addresses no more. */
const wasmLimit: AvailableMemory = { bytes: 4 * gibibyte, source: 'all that the wasm engine can address' };

type Adapted = Pick<MemoryShape, 'trains' | 'adapters' | 'tokenRows' | 'headMatrices'>;

/** What trains, by the options alone. Targets that cannot be found are an error elsewhere; here they are none. */
const adaptedBy = (model: ModelConfig, lora: LoraConfig): Adapted => {
  const { tensors, loraTargets: defaults } = architectureOf(model);
  const targets = loraTargets(lora, tensors, defaults, model.modelType, (module) => nameOutside(model, module));
  return {
    trains: () => false,
    adapters: new Map(E.isRight(targets) ? targets.right.map(({ module, rank }) => [module, rank]) : []),
  };
};

/**
 * The head's table is joined with the adapter's half, or with the rows that train, and its gradient has that shape too; DoRA scales
 * it first.
 */
const headMatricesOf = ({ weights, config }: CausalLM): number => {
  const { a, magnitude } = adapterNames('lm_head');
  if (magnitude in weights) return 3;
  const tables = 'lm_head.weight' in weights ? ['lm_head'] : ['lm_head', architectureOf(config).embedding];
  return a in weights || tables.some((module) => tokenRowsName(module) in weights) ? 2 : 0;
};

const adaptedModel = (model: CausalLM): Adapted => {
  const { weights, trainable } = model;
  const names = new Set(trainable);
  return {
    trains: ({ name }) => names.has(name),
    adapters: new Map(
      trainable.filter(isAdapterName).flatMap((name): Array<[string, number]> => {
        const module = adaptedModule(name);
        const isHalf = name === adapterNames(module).a || name === embeddingAdapterNames(module).a;
        return isHalf ? [[module, weights[name]?.shape[0] ?? 0]] : [];
      }),
    ),
    tokenRows: trainable.reduce((sum, name) => {
      const isRows = isAdapterName(name) && name === tokenRowsName(adaptedModule(name));
      return sum + (isRows ? (weights[name]?.size ?? 0) : 0);
    }, 0),
    headMatrices: headMatricesOf(model),
  };
};

/** Bytes a value of a quantised weight: 4 bits and a scale for each block of them, 8 bits; float32 for what is not held so. */
const heldBytes = (stored: StoredQuantization): number => {
  if (!isGptq(stored)) return stored.loadIn8bit ? 1 : 0.5 + 4 / 64;
  const { bits, groupSize, sym, descAct } = stored;
  if (!sym || descAct || (bits === 8 && groupSize !== -1)) return 4;
  return bits === 8 ? 1 : 0.5 + (groupSize === -1 ? 0 : 4 / groupSize);
};

/** Only the native engine holds what is quantised as it lies. A checkpoint that is quantised already stays so. */
const quantizedIn = (model: ModelConfig, config: SftConfig): MemoryShape['quantized'] => {
  const own = decodeQuantization(model.raw);
  const stored = E.isRight(own) && own.right !== undefined ? own.right : undefined;
  const how = stored ?? (config.loadIn4bit || config.loadIn8bit ? config : undefined);
  if (how === undefined || (config.engine ?? 'native') !== 'native') return undefined;
  const skipping = isGptq(how) ? {} : how;
  return {
    names: new Set(quantizableTensors(expectedTensors(model), skipping).map(({ name }) => name)),
    bytes: heldBytes(how),
  };
};

/** Only the native engine keeps activations as bfloat16. */
const keptBytes = ({ precision, engine }: SftConfig): number =>
  precision === 'bfloat16' && (engine ?? 'native') === 'native' ? 2 : 4;

const shapeOf = (
  model: ModelConfig,
  config: SftConfig,
  { onCard = false }: AvailableMemory,
  adapted: Adapted,
  tokens: number,
): MemoryShape => ({
  specs: expectedTensors(model),
  hiddenSize: model.hiddenSize,
  streams: model.streams,
  vocabSize: model.vocabSize,
  tieWordEmbeddings: model.tieWordEmbeddings,
  frozenBytes: config.precision === 'bfloat16' ? 2 : 4,
  keptBytes: keptBytes(config),
  onCard,
  addsInPlace: (config.engine ?? 'native') === 'native',
  quantized: quantizedIn(model, config),
  tokens,
  gradientAccumulationSteps: config.gradientAccumulationSteps,
  gradientCheckpointing: config.gradientCheckpointing,
  optim: config.optim,
  momentum: config.momentum,
  ...adapted,
});

/** Tokens of the largest micro-batch there can be: the longest rows, all in one. */
export const mostTokens = (
  rows: ReadonlyArray<Row> | undefined,
  { perDeviceTrainBatchSize: size, maxLength }: Pick<SftConfig, 'perDeviceTrainBatchSize' | 'maxLength'>,
): number =>
  rows === undefined
    ? size * (maxLength ?? 1024)
    : Int32Array.from(rows, ({ inputIds }) => inputIds.length)
        .sort()
        .slice(-size)
        .reduce((a, b) => a + b, 0);

type Checked = Either<FatalError, Warning | undefined>;

/** What a run may take: what there is, or what the options and the engine allow. */
const limitOf = (config: SftConfig, free: AvailableMemory): AvailableMemory => {
  const given =
    config.maxMemory === undefined || config.maxMemory === 0
      ? free
      : { bytes: config.maxMemory * gibibyte, source: 'maxMemory' };
  return config.engine === 'wasm' && wasmLimit.bytes < given.bytes ? wasmLimit : given;
};

/** The same run with a small adapter in place of all weights; undefined where it has one already. */
const withAdapter = (shape: MemoryShape, model: ModelConfig): MemoryShape | undefined => {
  const small = LoraConfig.decode({});
  return shape.adapters.size > 0 || E.isLeft(small) ? undefined : { ...shape, ...adaptedBy(model, small.right) };
};

const checked = (shape: MemoryShape, model: ModelConfig, config: SftConfig, free: AvailableMemory): Checked => {
  if (config.maxMemory === 0) return E.right(undefined);
  const result = checkMemory(shape, config, limitOf(config, free), withAdapter(shape, model));
  return isFatal(result) ? E.left(result) : E.right(result);
};

/** What trains by the options; `adapted`: an adapter that is there already. */
const trainingOf = (model: ModelConfig, config: SftConfig, adapted: boolean): Adapted => {
  const lora = adapted ? undefined : loraOf(config);
  return lora !== undefined
    ? adaptedBy(model, lora)
    : { trains: ({ kind }) => !adapted && kind !== 'buffer', adapters: new Map<string, number>() };
};

/** What a run is expected to need, and what there is for it. Bytes. */
export interface MemoryEstimate {
  readonly need: MemoryNeed;
  /** Tokens of the largest micro-batch. */
  readonly tokens: number;
  readonly available: number;
  /** What sets `available`, for people. */
  readonly source: string;
  readonly fits: boolean;
  /** What to change so that it fits: each of them does. Empty where it fits, or where nothing helps. */
  readonly options: ReadonlyArray<string>;
}

/** The estimate for a model of this shape and options alone: no weight is loaded. */
export const estimateMemory = (
  model: ModelConfig,
  config: SftConfig,
  tokens: number,
  available: () => AvailableMemory = availableHere,
): MemoryEstimate => {
  const free = available();
  const shape = shapeOf(model, config, free, trainingOf(model, config, false), tokens);
  const need = memoryNeed(shape);
  const { bytes, source } = limitOf(config, free);
  const fits = need.peak <= bytes;
  return {
    ...{ need, tokens, available: bytes, source, fits },
    options: fits ? [] : fittingOptions(shape, config, bytes, withAdapter(shape, model)),
  };
};

/** The estimate for people, largest part first. */
export const memoryFacts = ({
  need,
  tokens,
  available,
  source,
  fits,
  options,
}: MemoryEstimate): ReadonlyArray<readonly [name: string, value: string]> => [
  ...needParts(need).map(([part, bytes]) => [part, gibibytes(bytes)] as const),
  ['at the worst instant', `${gibibytes(need.peak)}, with ${tokens.toLocaleString('en-US')} tokens in a micro-batch`],
  ['there is', `${gibibytes(available)} (${source})`],
  [
    'the run',
    fits
      ? 'fits'
      : options.length === 0
        ? 'does not fit, whatever the options: take a smaller model or a larger machine'
        : `does not fit; it would with ${options.join(', or with ')}`,
  ],
];

/** The same in brief, for a page. */
export const memoryTiles = ({
  need,
  available,
  fits,
}: MemoryEstimate): ReadonlyArray<readonly [name: string, value: string]> => [
  [fits ? 'memory a run takes' : 'memory a run would take', gibibytes(need.peak)],
  [fits ? 'memory there is' : 'and there is only', gibibytes(available)],
];

/**
 * Before the weights are loaded: whether they, their gradients and the optimizer's state fit at all. Rows are not known yet and
 * count nothing. `adapted`: an adapter that is there already trains, not the model.
 */
export const fitsUnloaded = (
  model: ModelConfig,
  config: SftConfig,
  {
    adapted = false,
    available = availableHere,
  }: { readonly adapted?: boolean; readonly available?: () => AvailableMemory } = {},
): Checked => {
  const free = available();
  return checked(shapeOf(model, config, free, trainingOf(model, config, adapted), 0), model, config, free);
};

/** When model and rows are there: whether the whole run fits, its longest micro-batch included. `E_MEMORY`. */
export const fitsLoaded = (
  model: CausalLM,
  rows: ReadonlyArray<Row> | undefined,
  config: SftConfig,
  available: () => AvailableMemory = availableHere,
): Checked => {
  const free = available();
  const shape = shapeOf(model.config, config, free, adaptedModel(model), mostTokens(rows, config));
  // What the process holds by now is no longer free, and part of what the run needs.
  const { weights, process } = memoryNeed(shape);
  return checked(shape, model.config, config, { ...free, bytes: free.bytes + weights + process });
};

/** What the check adds up, for people. */
export const needOf = (
  model: CausalLM,
  rows: ReadonlyArray<Row> | undefined,
  config: SftConfig,
): ReturnType<typeof memoryNeed> =>
  memoryNeed(shapeOf(model.config, config, availableHere(), adaptedModel(model), mostTokens(rows, config)));
