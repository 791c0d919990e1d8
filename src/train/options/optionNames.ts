/** Options under the names that users bring from elsewhere. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { foreignArguments } from './foreignArguments.js';
import { fromKwargs, kwargsNames } from './kwargs.js';
import { attentionNamed, precisionNamed } from './loaderNames.js';
import { optimizerNamed } from './optimNames.js';

type Options = Readonly<Record<string, unknown>>;

/** Other names under which users know an option. */
export const sftAliases = {
  maxSeqLength: 'maxLength',
  evaluationStrategy: 'evalStrategy',
  noiseAlpha: 'neftuneNoiseAlpha',
  batchSize: 'perDeviceTrainBatchSize',
  perDeviceBatchSize: 'perDeviceTrainBatchSize',
  perGpuTrainBatchSize: 'perDeviceTrainBatchSize',
  perGpuEvalBatchSize: 'perDeviceEvalBatchSize',
  epochs: 'numTrainEpochs',
  loraR: 'r',
  loraTargetModules: 'targetModules',
  loraModulesToSave: 'modulesToSave',
  loraBias: 'bias',
  datasetStreaming: 'streaming',
  useBnbNestedQuant: 'bnb4bitUseDoubleQuant',
} as const;

/** What transformers' loader calls the numbers that a model is held in. */
const dtypeNames: ReadonlyArray<string> = ['dtype', 'torchDtype'];

/** transformers' orders of rows that an option asks for here. */
const orders: Readonly<Record<string, Options>> = {
  sequential: { shuffle: false },
  group_by_length: { groupByLength: true },
};

const aliases: Readonly<Record<string, string>> = sftAliases;

/** Names that are understood besides options and aliases, and what their flags take. */
export const understoodNames: Readonly<Record<string, 'boolean' | 'json'>> = {
  ...Object.fromEntries(Object.entries(foreignArguments).map(([name, { flag }]) => [name, flag])),
  ...Object.fromEntries(kwargsNames.map((name) => [name, 'json'])),
  bf16: 'boolean',
  ...Object.fromEntries(dtypeNames.map((name) => [name, 'json'])),
};

/** float32 is what is so anyway, also beside bf16, which says how products round. */
const heldAs = (key: string, value: unknown): Either<FatalError, Options> => {
  if (value === null || value === 'auto') return E.right({});
  const precision = precisionNamed(value);
  if (precision === undefined)
    return E.left(
      usage('E_OPTIONS', 'weights are not held as that', {
        field: key,
        hint: 'float32 or bfloat16; loadIn4bit and loadIn8bit go further',
      }),
    );
  return E.right(precision === 'bfloat16' ? { precision } : {});
};

/** The options that one given option stands for: itself, one of another name or value, several, or none. */
const meant = (
  key: string,
  value: unknown,
  all: Options,
  isOption: (name: string) => boolean,
): Either<FatalError, Options> => {
  if (key === 'bf16' && (value === null || typeof value === 'boolean')) {
    return E.right(value === null ? {} : { precision: value ? 'bfloat16' : 'float32' });
  }
  if (key === 'bf16') return E.right({ precision: value });
  // PEFT's lora_bias is a switch, and another thing.
  if (key === 'loraBias' && (value === false || value === null)) return E.right({});
  if (dtypeNames.includes(key)) return heldAs(key, value);
  if (key === 'attnImplementation' && typeof value === 'string')
    return E.right({ [key]: attentionNamed(value) ?? value });
  if (kwargsNames.includes(key)) return fromKwargs(key, value, all);
  if (key === 'trainSamplingStrategy' && typeof value === 'string' && Object.hasOwn(orders, value))
    return E.right(orders[value] ?? {});
  const foreign = Object.hasOwn(foreignArguments, key) && !isOption(key) ? foreignArguments[key] : undefined;
  if (foreign !== undefined) {
    return value === null || foreign.harmless(value)
      ? E.right({})
      : E.left(
          usage('E_OPTIONS', `option "${key}" is not offered${shown(value)}`, { field: key, hint: foreign.reason }),
        );
  }
  if (key === 'optim' && typeof value === 'string') {
    return E.bimap(
      (hint: string) => usage('E_OPTIONS', `optimizer "${value}" is not offered`, { field: 'optim', hint }),
      (optim: string): Options => ({ optim }),
    )(optimizerNamed(value));
  }
  if (key === 'lrSchedulerType' && typeof value === 'string' && Object.hasOwn(otherSchedules, value)) {
    return E.left(
      usage('E_OPTIONS', `schedule "${value}" is not offered`, { field: key, hint: otherSchedules[value] ?? '' }),
    );
  }
  return E.right({ [Object.hasOwn(aliases, key) ? (aliases[key] ?? key) : key]: value });
};

/** Schedules of transformers that there are not here, and what to do instead. */
const otherSchedules: Readonly<Record<string, string>> = {
  reduce_lr_on_plateau: 'constant, and in code setLearningRate when evaluations say so',
  greedy: 'constant, and in code setLearningRate when losses say so',
  cosine_warmup_with_min_lr: 'cosine_with_min_lr: the same waves, one update later',
};

/** Only what can be no secret. */
const shown = (value: unknown): string =>
  typeof value === 'boolean' || typeof value === 'number' ? ` at ${value}` : '';

/** Options under their own names, and what is refused of those that were given. */
export interface OwnNames {
  readonly options: Options;
  readonly faults: ReadonlyArray<FatalError>;
}

/**
 * The given options under their own names: aliases resolved, what changes nothing left out, what cannot be had refused. Names that
 * nobody knows stay for the codec to refuse.
 */
export const ownNames = (given: Options, isOption: (name: string) => boolean): OwnNames => {
  // Not an object built key by key: `__proto__` would become no key of it.
  const result = new Map<string, unknown>();
  const faults: Array<FatalError> = [];
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const found = meant(key, value, given, isOption);
    if (E.isLeft(found)) {
      faults.push(found.left);
      continue;
    }
    for (const [name, own] of Object.entries(found.right)) {
      // torch_dtype: bfloat16 and bf16: true say the same.
      if (result.has(name) && result.get(name) !== own)
        faults.push(
          usage('E_OPTIONS', `option "${name}" is given twice`, {
            field: name,
            hint: `"${key}" is another name for it`,
          }),
        );
      else result.set(name, own);
    }
  }
  return { options: Object.fromEntries(result), faults };
};
