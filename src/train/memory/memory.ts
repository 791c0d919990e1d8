/** How much memory a run will need at its worst instant, and what of its options to change where that is too much: arithmetic only. */
import { fatal, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { moduleOf } from '../../model/adapters/moduleNames.js';
import { momentShapes } from '../../model/kernels/adamW8bit.js';
import type { TensorSpec } from '../../model/weights.js';
import { isEmbedding, min8bitSize } from '../optimizers/adamw8bit.js';
import type { SftConfig } from '../options/config.js';
import { keptWidths } from './activations.js';
import type { ActivationShape } from './activations.js';

/** What of a model, its adapter and the options decides how much memory a run needs. */
export interface MemoryShape extends ActivationShape {
  /** Hidden states that go from layer to layer. Default: 1. */
  readonly streams?: number | undefined;
  readonly vocabSize: number;
  readonly tieWordEmbeddings: boolean;
  /** Numbers of the rows of tables that train apart. */
  readonly tokenRows?: number | undefined;
  /** Matrices of the size of the output head that a pass makes for what an adapter changes there, its gradient among them. */
  readonly headMatrices?: number | undefined;
  /** Bytes a number of a matrix that does not train takes: 4, or 2 in bfloat16. */
  readonly frozenBytes: number;
  /** The engine adds a gradient to one that is there without making a third. */
  readonly addsInPlace: boolean;
  /** Weights held in 8 or 4 bits, and the bytes a number of them takes, its share of the scales included. */
  readonly quantized?: { readonly names: ReadonlySet<string>; readonly bytes: number } | undefined;
  /** Tokens of the largest micro-batch, all of its rows together. */
  readonly tokens: number;
  readonly gradientAccumulationSteps: number;
  readonly gradientCheckpointing: boolean;
  readonly optim: SftConfig['optim'];
  readonly momentum: number;
}

/** Bytes. */
export interface MemoryNeed {
  readonly weights: number;
  readonly gradients: number;
  readonly optimizer: number;
  /** What the forward pass keeps for the way back. */
  readonly activations: number;
  /** What one layer, the output head and the optimizer need on top while they run. */
  readonly workspace: number;
  /** Node.js, the engine, this library; none of it lies on a card. */
  readonly process: number;
  /** At the worst instant. Less than the sum: gradients come as activations go. */
  readonly peak: number;
}

const floatBytes = 4;
/** Measured: an empty Node.js process with the library and the native engine loaded. */
const processBytes = 128 * 2 ** 20;

/** Numbers of the block of logits that the output head works through at a time, as the native engine cuts it. */
const logitsAtATime = (rows: number, vocabSize: number): number =>
  Math.min(rows, 1024, Math.max(16, Math.floor(2 ** 25 / vocabSize))) * vocabSize;

/** The same on a card (native/cuda/host/table.cc): blocks of equal length, of whole tiles, each row in whole vectors. */
const logitsOnCard = (rows: number, vocabSize: number): number => {
  const limit = Math.max(64, Math.min(4096, Math.floor(2 ** 27 / Math.max(1, vocabSize))));
  const chunks = Math.ceil(rows / limit);
  const each = chunks === 0 ? 0 : Math.ceil(rows / chunks);
  const tiles = Math.ceil(each / 256) * 256;
  return (chunks > 1 && tiles <= limit ? tiles : each) * Math.ceil(vocabSize / 64) * 64;
};

/** Measured on the emulated card: what products are given to work in. */
const productBytes = 32 * 2 ** 20;

const sizeOf = ({ shape }: Pick<TensorSpec, 'shape'>): number => shape.reduce((a, b) => a * b, 1);

/** Something that trains. */
interface Trained {
  readonly shape: ReadonlyArray<number>;
  readonly embedding: boolean;
}

/** Bytes of optimizer state for a parameter. */
const stateBytes = (
  { optim, momentum }: Pick<MemoryShape, 'optim' | 'momentum'>,
  { shape, embedding }: Trained,
): number => {
  const size = sizeOf({ shape });
  switch (optim) {
    case 'adamw_torch':
      return 2 * size * floatBytes;
    case 'adamw_8bit': {
      if (embedding || size < min8bitSize) return 2 * size * floatBytes;
      const { codes, absmax } = momentShapes(size);
      return 2 * (codes + absmax) * floatBytes;
    }
    case 'lion':
      return size * floatBytes;
    case 'sgd':
      return momentum > 0 ? size * floatBytes : 0;
    case 'adafactor':
      return (shape.length === 2 ? shape.reduce((a, b) => a + b, 0) : size) * floatBytes;
  }
};

/** Everything that trains, the adapters' halves included. */
const trainedOf = ({ specs, trains, adapters, tokenRows = 0 }: MemoryShape): ReadonlyArray<Trained> => [
  ...(tokenRows === 0 ? [] : [{ shape: [tokenRows], embedding: false }]),
  ...specs.flatMap((spec) => {
    const [first = 0, second = 0] = spec.shape;
    const rank = spec.name.endsWith('.weight') ? adapters.get(moduleOf(spec.name)) : undefined;
    const [output, input] = spec.kind === 'conv1d' ? [second, first] : [first, second];
    const half = (...shape: ReadonlyArray<number>): Trained => ({ shape, embedding: false });
    return [
      ...(trains(spec) ? [{ shape: spec.shape, embedding: isEmbedding(spec.name) }] : []),
      ...(rank === undefined ? [] : [half(rank, input), half(output, rank)]),
    ];
  }),
];

/**
 * The memory of a run with its largest micro-batch. The forward pass keeps, for every token, what each layer's maps put out and, for
 * maps that train and for norms, what they read, of routed experts those of the tokens that go there, evenly spread; attention is fused and
 * keeps no scores; with gradient checkpointing one hidden state a layer stays (or its streams), and one layer's activations while it runs again. The
 * peak is either at the end of the forward pass, when all activations are there, or at the end of the way back, when all gradients
 * are.
 */
export const memoryNeed = (shape: MemoryShape): MemoryNeed => {
  const { specs, trains, hiddenSize, streams = 1, vocabSize, tokens, tokenRows = 0, headMatrices = 0 } = shape;
  const trained = trainedOf(shape);
  const shapes = new Map(specs.map(({ name, shape: own }) => [name, own]));
  const adapterNumbers = [...shape.adapters].reduce((sum, [module, rank]) => {
    const [first = 0, second = 0] = shapes.get(`${module}.weight`) ?? [];
    return sum + rank * (first + second);
  }, tokenRows);
  const bytesOf = (spec: TensorSpec): number => {
    if (trains(spec) || spec.shape.length < 2) return floatBytes;
    return shape.quantized?.names.has(spec.name) === true ? shape.quantized.bytes : shape.frozenBytes;
  };
  const weights = specs.reduce((sum, spec) => sum + sizeOf(spec) * bytesOf(spec), adapterNumbers * floatBytes);
  const numbers = trained.map(sizeOf);
  const oneSet = numbers.reduce((a, b) => a + b, 0) * floatBytes;
  const optimizer = trained.reduce((sum, one) => sum + stateBytes(shape, one), 0);
  const { kept, outside, widest, layers } = keptWidths(shape);
  const ofLayers = kept * tokens;
  const activations =
    outside * tokens +
    (shape.gradientCheckpointing ? layers * streams * hiddenSize * tokens * floatBytes + ofLayers / layers : ofLayers);
  const largest = Math.max(0, ...numbers) * floatBytes;
  const head = specs.some((spec) => (spec.head === true || spec.kind === 'embedding') && trains(spec));
  // The head's gradient is there first; where the embedding is the head, its two gradients meet at the very end, those of the
  // tokens' rows alone where they are added in place.
  const headGradient = head ? vocabSize * hiddenSize * floatBytes : 0;
  // On a card activations of a layer are bfloat16 and the stream float32; three operands lie rounded there, attention's parts beside them,
  // and the head's table, where it trains or has rows that are no whole vectors.
  const halved = shape.onCard === true && shape.keptBytes !== floatBytes;
  const rounded = halved && (head || vocabSize % 8 !== 0) ? 2 * vocabSize * hiddenSize : 0;
  const workspace =
    (halved
      ? tokens * (3 * widest * shape.keptBytes + 15 * hiddenSize) + rounded + productBytes
      : tokens * (3 * widest + 4 * hiddenSize) * floatBytes) +
    ((shape.onCard === true ? logitsOnCard(tokens, vocabSize) : logitsAtATime(tokens, vocabSize)) +
      headMatrices * vocabSize * hiddenSize) *
      floatBytes +
    // Rules written in tensor operations make several tensors the size of the parameter.
    (shape.optim === 'adamw_torch' || shape.optim === 'adamw_8bit' ? 0 : 4 * largest);
  const before = shape.gradientAccumulationSteps > 1 ? oneSet : 0;
  const turning = Math.max(
    activations + headGradient,
    oneSet + (shape.tieWordEmbeddings && !shape.addsInPlace ? headGradient : 0),
  );
  const process = shape.onCard === true ? 0 : processBytes;
  return {
    weights,
    gradients: before + oneSet,
    optimizer,
    activations,
    workspace,
    process,
    peak: process + weights + optimizer + before + turning + workspace,
  };
};

/** Bytes as people read them. */
export const gibibytes = (bytes: number): string =>
  bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** A change of options that saves memory. */
export interface Saving {
  readonly told: string;
  readonly change: (shape: MemoryShape) => MemoryShape;
}

/** Changes that leave the model as good, first; each is left out where it would change nothing. */
const savingsFor = (config: MemoryOptions, adapted: MemoryShape | undefined): ReadonlyArray<Saving> => [
  ...(config.perDeviceTrainBatchSize > 1
    ? [
        {
          told: `perDeviceTrainBatchSize 1 with gradientAccumulationSteps ${config.perDeviceTrainBatchSize * config.gradientAccumulationSteps}`,
          change: (shape: MemoryShape): MemoryShape => ({
            ...shape,
            tokens: Math.ceil(shape.tokens / config.perDeviceTrainBatchSize),
            gradientAccumulationSteps: config.perDeviceTrainBatchSize * config.gradientAccumulationSteps,
          }),
        },
      ]
    : []),
  ...(config.gradientCheckpointing
    ? []
    : [
        {
          told: 'gradientCheckpointing',
          change: (shape: MemoryShape): MemoryShape => ({ ...shape, gradientCheckpointing: true }),
        },
      ]),
  ...(adapted === undefined
    ? []
    : [
        {
          told: 'an adapter (usePeft)',
          change: (shape: MemoryShape): MemoryShape => ({
            ...shape,
            trains: adapted.trains,
            adapters: adapted.adapters,
            tokenRows: adapted.tokenRows,
            headMatrices: adapted.headMatrices,
          }),
        },
      ]),
  ...(config.optim === 'adamw_torch'
    ? [{ told: 'optim adamw_8bit', change: (shape: MemoryShape): MemoryShape => ({ ...shape, optim: 'adamw_8bit' }) }]
    : []),
  ...(config.optim === 'adafactor'
    ? []
    : [{ told: 'optim adafactor', change: (shape: MemoryShape): MemoryShape => ({ ...shape, optim: 'adafactor' }) }]),
  ...(config.precision === 'bfloat16'
    ? []
    : [
        {
          told: 'precision bfloat16',
          change: (shape: MemoryShape): MemoryShape => ({ ...shape, frozenBytes: 2, keptBytes: 2 }),
        },
      ]),
  ...[2, 4].map((part) => ({
    told: `maxLength ${Math.floor((config.maxLength ?? 1024) / part)}`,
    change: (shape: MemoryShape): MemoryShape => ({ ...shape, tokens: Math.ceil(shape.tokens / part) }),
  })),
];

export type MemoryOptions = Pick<
  SftConfig,
  | 'perDeviceTrainBatchSize'
  | 'gradientAccumulationSteps'
  | 'gradientCheckpointing'
  | 'optim'
  | 'precision'
  | 'maxLength'
>;

/**
 * What to change so that the run fits into `limit` bytes: every single change that does, else the shortest row of changes, taken one
 * after another, that does. Empty: none.
 */
export const fittingOptions = (
  shape: MemoryShape,
  config: MemoryOptions,
  limit: number,
  adapted?: MemoryShape,
): ReadonlyArray<string> => {
  const savings = savingsFor(config, adapted);
  const fits = (changed: MemoryShape): boolean => memoryNeed(changed).peak <= limit;
  const single = savings.filter(({ change }) => fits(change(shape))).map(({ told }) => told);
  if (single.length > 0) return single;
  let changed = shape;
  const taken: Array<string> = [];
  for (const { told, change } of savings) {
    const next = change(changed);
    if (memoryNeed(next).peak >= memoryNeed(changed).peak) continue;
    changed = next;
    taken.push(told);
    if (fits(changed)) return [taken.join(' and ')];
  }
  return [];
};

/** What memory is for, largest first. */
export const needParts = (need: MemoryNeed): ReadonlyArray<readonly [part: string, bytes: number]> =>
  (['weights', 'gradients', 'optimizer', 'activations', 'workspace', 'process'] as const)
    .map((part) => [part, need[part]] as const)
    .toSorted(([, a], [, b]) => b - a);

const toldNeed = (need: MemoryNeed): string =>
  needParts(need)
    .map(([part, bytes]) => `${part} ${gibibytes(bytes)}`)
    .join(', ');

/** Share of the limit above which a run that fits is warned about: the estimate is no promise. */
const tight = 0.85;

/** Whether the run fits into what there is. `E_MEMORY` with the options that would fit; near the limit a warning. */
export const checkMemory = (
  shape: MemoryShape,
  config: MemoryOptions,
  { bytes: limit, source }: { readonly bytes: number; readonly source: string },
  adapted?: MemoryShape,
): FatalError | Warning | undefined => {
  const need = memoryNeed(shape);
  if (need.peak <= limit * tight) return undefined;
  const details = {
    expected: `at most ${gibibytes(limit)} (${source})`,
    actual: `about ${gibibytes(need.peak)} at the worst instant: ${toldNeed(need)}`,
  };
  if (need.peak <= limit) {
    return warning('W_MEMORY', 'the run takes nearly all of the memory there is', details);
  }
  const options = fittingOptions(shape, config, limit, adapted);
  return fatal('E_MEMORY', 'the run needs more memory than there is', {
    ...details,
    hint:
      options.length === 0
        ? 'no option makes it fit: a smaller model or a larger machine; maxMemory 0 leaves the check out'
        : `${options.join(', or ')}; maxMemory (in GiB) sets the limit, 0 leaves the check out`,
  });
};
