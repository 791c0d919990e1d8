/** `adapter_config.json`: what PEFT keeps of a LoRA adapter's options, decoded and encoded. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import { fatal, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { describe } from '../describe.js';
import { decodeFrom } from '../json/json.js';

export const adapterConfigFile = 'adapter_config.json';

type Names = string | ReadonlyArray<string>;

/** What the adapter is; the names of PEFT's LoraConfig, camelCased. What is null on disk is absent here. */
export interface AdapterLora {
  readonly r: number;
  readonly loraAlpha: number;
  readonly loraDropout: number;
  readonly bias: 'none' | 'all' | 'lora_only';
  readonly fanInFanOut: boolean;
  readonly useRslora: boolean;
  readonly useDora: boolean;
  readonly initLoraWeights: boolean | string;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  readonly targetModules?: Names;
  /** Parameters that hold the weights of several experts. */
  readonly targetParameters?: ReadonlyArray<string>;
  readonly excludeModules?: Names;
  readonly modulesToSave?: ReadonlyArray<string>;
  readonly layersToTransform?: number | ReadonlyArray<number>;
  readonly layersPattern?: Names;
  readonly trainableTokenIndices?: ReadonlyArray<number> | Readonly<Record<string, ReadonlyArray<number>>>;
}

/** An adapter_config.json: names camelCased, what is null there absent. */
export interface AdapterConfig {
  readonly lora: AdapterLora;
  readonly baseModelNameOrPath?: string;
  readonly revision?: string;
  /** `CAUSAL_LM`, as a rule. */
  readonly taskType?: string;
  /** Filled by PEFT when there is no task type. */
  readonly autoMapping?: Readonly<Record<string, unknown>>;
}

const orNull = <C extends t.Mixed>(codec: C) => t.union([codec, t.null, t.undefined], `${codec.name}, or null`);
const names = t.union([t.string, t.readonlyArray(t.string)], 'a string or a list of strings');
const count = new t.Type<number, number, unknown>(
  'a whole number ≥ 1',
  (u): u is number => typeof u === 'number' && Number.isSafeInteger(u) && u >= 1,
  (u, context) => (typeof u === 'number' && Number.isSafeInteger(u) && u >= 1 ? t.success(u) : t.failure(u, context)),
  t.identity,
);

/** What is on disk. Everything but the rank may be missing: older releases had fewer keys. */
const OnDisk = t.intersection(
  [
    t.type({ r: count, peft_type: t.string }),
    t.partial({
      lora_alpha: t.number,
      lora_dropout: t.number,
      bias: t.keyof({ none: null, all: null, lora_only: null }, 'none, all or lora_only'),
      fan_in_fan_out: t.boolean,
      use_rslora: orNull(t.boolean),
      use_dora: orNull(t.boolean),
      init_lora_weights: orNull(t.union([t.boolean, t.string], 'true, false or a string')),
      rank_pattern: orNull(t.record(t.string, count, 'a record of ranks')),
      alpha_pattern: orNull(t.record(t.string, t.number, 'a record of alphas')),
      target_modules: orNull(names),
      target_parameters: orNull(t.readonlyArray(t.string)),
      exclude_modules: orNull(names),
      modules_to_save: orNull(t.readonlyArray(t.string)),
      layers_to_transform: orNull(t.union([t.number, t.readonlyArray(t.number)], 'a number or a list of numbers')),
      layers_pattern: orNull(names),
      trainable_token_indices: orNull(
        t.union(
          [t.readonlyArray(t.number), t.record(t.string, t.readonlyArray(t.number))],
          'a list of token ids, or an object of them',
        ),
      ),
      base_model_name_or_path: orNull(t.string),
      revision: orNull(t.string),
      task_type: orNull(t.string),
      auto_mapping: orNull(t.UnknownRecord),
    }),
  ],
  'an adapter configuration',
);

type OnDisk = t.TypeOf<typeof OnDisk>;

/** Keys that are read above, and those that do not touch what a saved adapter computes. */
const harmless = new Set([
  ...[
    'r',
    'peft_type',
    'lora_alpha',
    'lora_dropout',
    'bias',
    'fan_in_fan_out',
    'use_rslora',
    'use_dora',
    'init_lora_weights',
  ],
  ...[
    'rank_pattern',
    'alpha_pattern',
    'target_modules',
    'target_parameters',
    'exclude_modules',
    'modules_to_save',
    'layers_to_transform',
  ],
  ...[
    'trainable_token_indices',
    'layers_pattern',
    'base_model_name_or_path',
    'revision',
    'task_type',
    'auto_mapping',
    'inference_mode',
  ],
  ...[
    'loftq_config',
    'eva_config',
    'corda_config',
    'lora_ga_config',
    'megatron_config',
    'megatron_core',
    'runtime_config',
  ],
  ...['peft_version', 'qalora_group_size', 'ensure_weight_tying'],
]);

/** Keys of later releases that change what the adapter computes. */
const unsupported = new Set([
  ...['use_qalora', 'use_bdlora', 'lora_bias', 'layer_replication'],
  ...['alora_invocation_tokens', 'arrow_config', 'kasa_config', 'velora_config', 'monteclora_config'],
]);

/** Initialisations that rewrite the base weights by chance or by data: such an adapter means nothing beside the original ones. */
const rewritesBase = /^(pissa_niter|corda|lora_ga)/;
/** Those that matter after training: what the base lacks is made again (pissa, olora). */
const repeatable = ['gaussian', 'pissa', 'olora'];

const isNeutral = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === false ||
  (typeof value === 'object' && Object.keys(value).length === 0);

/** An adapter_config.json as it was read, and what is to be told of it. */
export interface AdapterConfigRead {
  readonly config: AdapterConfig;
  /** One for each key that is not known and not neutral. */
  readonly warnings: ReadonlyArray<Warning>;
}

const present = <K extends string, V>(key: K, value: V | null | undefined): Readonly<Partial<Record<K, V>>> =>
  // A computed key loses its literal type.
  (value === null || value === undefined ? {} : { [key]: value }) as Readonly<Partial<Record<K, V>>>;

type Keys = Readonly<Record<string, unknown>>;

/** The kind of an adapter that is no LoRA; undefined for one that is, or that does not say. */
const otherMethod = ({ peft_type: method }: Keys): string | undefined =>
  typeof method === 'string' && method !== 'LORA' ? method : undefined;

/** A key whose value changes what the adapter computes into something that this library does not. */
const unsupportedKey = (raw: Keys): string | undefined => {
  const { init_lora_weights: init } = raw;
  if (typeof init === 'string' && rewritesBase.test(init)) return 'init_lora_weights';
  return [...unsupported].find((key) => !isNeutral(raw[key]));
};

const notSupported = (file: string, key: string, value: unknown): FatalError =>
  fatal('E_ADAPTER_UNSUPPORTED', `${file}: ${key} is not supported`, {
    file,
    field: key,
    expected:
      key === 'init_lora_weights'
        ? 'an initialisation that leaves the base weights alone, or one that can be repeated: save it with path_initial_model_for_weight_conversion'
        : 'false or null',
    actual: describe(value),
  });

const unknownKeys = (raw: Keys, file: string): ReadonlyArray<Warning> =>
  Object.keys(raw)
    .filter((key) => !harmless.has(key) && !unsupported.has(key) && !isNeutral(raw[key]))
    .map((key) =>
      warning('W_ADAPTER_KEY', `${file}: the key "${key}" is not known and has no effect here`, {
        file,
        field: key,
        actual: describe(raw[key]),
      }),
    );

const initOf = (init: boolean | string | null | undefined): boolean | string =>
  typeof init === 'string' ? (repeatable.includes(init) ? init : true) : (init ?? true);

const loraOf = (disk: OnDisk): AdapterLora => ({
  r: disk.r,
  loraAlpha: disk.lora_alpha ?? 8,
  loraDropout: disk.lora_dropout ?? 0,
  bias: disk.bias ?? 'none',
  fanInFanOut: disk.fan_in_fan_out ?? false,
  useRslora: disk.use_rslora ?? false,
  useDora: disk.use_dora ?? false,
  initLoraWeights: initOf(disk.init_lora_weights),
  rankPattern: disk.rank_pattern ?? {},
  alphaPattern: disk.alpha_pattern ?? {},
  ...present('targetModules', disk.target_modules),
  ...present('targetParameters', disk.target_parameters),
  ...present('excludeModules', disk.exclude_modules),
  ...present('modulesToSave', disk.modules_to_save),
  ...present('layersToTransform', disk.layers_to_transform),
  ...present('layersPattern', disk.layers_pattern),
  ...present('trainableTokenIndices', disk.trainable_token_indices),
});

const configOf = (disk: OnDisk): AdapterConfig => ({
  lora: loraOf(disk),
  ...present('baseModelNameOrPath', disk.base_model_name_or_path),
  ...present('revision', disk.revision),
  ...present('taskType', disk.task_type),
  ...present('autoMapping', disk.auto_mapping),
});

/** The content of an `adapter_config.json` of any PEFT release. Refuses other methods and what this library cannot compute. */
export const decodeAdapterConfig = (
  value: unknown,
  file: string = adapterConfigFile,
): Either<FatalError, AdapterConfigRead> => {
  const raw: Keys = t.UnknownRecord.is(value) ? value : {};
  const method = otherMethod(raw);
  if (method !== undefined) {
    return E.left(
      fatal('E_ADAPTER_TYPE', `${file} is of an adapter of another kind`, {
        file,
        field: 'peft_type',
        expected: 'LORA',
        actual: method,
      }),
    );
  }
  const disk = decodeFrom(OnDisk, file, 'E_ADAPTER_CONFIG')(value);
  if (E.isLeft(disk)) return disk;
  const key = unsupportedKey(raw);
  if (key !== undefined) return E.left(notSupported(file, key, raw[key]));
  return E.right({ warnings: unknownKeys(raw, file), config: configOf(disk.right) });
};

/** The 21 keys that PEFT 0.7.1 knows; a later key only when it is used, since older releases refuse unknown ones. */
export const encodeAdapterConfig = (config: AdapterConfig): Readonly<Record<string, unknown>> => {
  const { lora } = config;
  return {
    alpha_pattern: lora.alphaPattern,
    auto_mapping: config.autoMapping ?? null,
    base_model_name_or_path: config.baseModelNameOrPath ?? null,
    bias: lora.bias,
    ...(lora.excludeModules === undefined ? {} : { exclude_modules: lora.excludeModules }),
    fan_in_fan_out: lora.fanInFanOut,
    inference_mode: true,
    // Older releases refuse names that they do not know, and how it began means nothing now.
    init_lora_weights: lora.initLoraWeights === 'orthogonal' ? true : lora.initLoraWeights,
    layers_pattern: lora.layersPattern ?? null,
    layers_to_transform: lora.layersToTransform ?? null,
    loftq_config: {},
    lora_alpha: lora.loraAlpha,
    lora_dropout: lora.loraDropout,
    megatron_config: null,
    megatron_core: 'megatron.core',
    modules_to_save: lora.modulesToSave ?? null,
    peft_type: 'LORA',
    r: lora.r,
    rank_pattern: lora.rankPattern,
    revision: config.revision ?? null,
    target_modules: lora.targetModules ?? null,
    task_type: config.taskType ?? null,
    ...(lora.trainableTokenIndices === undefined ? {} : { trainable_token_indices: lora.trainableTokenIndices }),
    ...(lora.useDora ? { use_dora: true } : {}),
    ...(lora.useRslora ? { use_rslora: true } : {}),
  };
};
