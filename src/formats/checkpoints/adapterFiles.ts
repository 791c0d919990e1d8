/** LoRA adapters as PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import * as t from 'io-ts';
import { fatal, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { describe } from '../describe.js';
import { writeTextAtomically } from '../files/atomicFile.js';
import { fileError } from '../files/byteSource.js';
import { decodeFrom, jsonText, readJson } from '../json/json.js';
import { writeSafetensors } from '../tensors/safetensors.js';
import type { StoredTensor, TensorToWrite } from '../tensors/safetensors.js';
import { readTensorFile } from '../tensors/tensorFile.js';

export const adapterConfigFile = 'adapter_config.json';
export const adapterWeightsFile = 'adapter_model.safetensors';
/** What older releases of PEFT wrote: read, without running it, where the other is not there. */
export const pickledAdapterFile = 'adapter_model.bin';
const prefix = 'base_model.model.';

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
export interface ReadConfig {
  readonly config: AdapterConfig;
  /** One for each key that is not known and not neutral. */
  readonly warnings: ReadonlyArray<Warning>;
}

const present = <K extends string, V>(key: K, value: V | null | undefined): Readonly<Partial<Record<K, V>>> =>
  // A computed key loses its literal type.
  (value === null || value === undefined ? {} : { [key]: value }) as Readonly<Partial<Record<K, V>>>;

/** The content of an `adapter_config.json` of any PEFT release. Refuses other methods and what this library cannot compute. */
export const decodeAdapterConfig = (
  value: unknown,
  file: string = adapterConfigFile,
): Either<FatalError, ReadConfig> => {
  const raw = t.UnknownRecord.is(value) ? value : {};
  const method = raw['peft_type'];
  if (typeof method === 'string' && method !== 'LORA') {
    return E.left(
      fatal('E_ADAPTER_TYPE', `${file} is of an adapter of another kind`, {
        file,
        field: 'peft_type',
        expected: 'LORA',
        actual: method,
      }),
    );
  }
  const decoded = decodeFrom(OnDisk, file, 'E_ADAPTER_CONFIG')(value);
  if (E.isLeft(decoded)) return decoded;
  const disk = decoded.right;
  const init = disk.init_lora_weights ?? true;
  const bad =
    typeof init === 'string' && rewritesBase.test(init)
      ? 'init_lora_weights'
      : [...unsupported].find((key) => !isNeutral(raw[key]));
  if (bad !== undefined) {
    return E.left(
      fatal('E_ADAPTER_UNSUPPORTED', `${file}: ${bad} is not supported`, {
        file,
        field: bad,
        expected:
          bad === 'init_lora_weights'
            ? 'an initialisation that leaves the base weights alone, or one that can be repeated: save it with path_initial_model_for_weight_conversion'
            : 'false or null',
        actual: describe(raw[bad]),
      }),
    );
  }
  const warnings = Object.keys(raw)
    .filter((key) => !harmless.has(key) && !unsupported.has(key) && !isNeutral(raw[key]))
    .map((key) =>
      warning('W_ADAPTER_KEY', `${file}: the key "${key}" is not known and has no effect here`, {
        file,
        field: key,
        actual: describe(raw[key]),
      }),
    );
  return E.right({
    warnings,
    config: {
      lora: {
        r: disk.r,
        loraAlpha: disk.lora_alpha ?? 8,
        loraDropout: disk.lora_dropout ?? 0,
        bias: disk.bias ?? 'none',
        fanInFanOut: disk.fan_in_fan_out ?? false,
        useRslora: disk.use_rslora ?? false,
        useDora: disk.use_dora ?? false,
        initLoraWeights: typeof init === 'boolean' || repeatable.includes(init) ? init : true,
        rankPattern: disk.rank_pattern ?? {},
        alphaPattern: disk.alpha_pattern ?? {},
        ...present('targetModules', disk.target_modules),
        ...present('targetParameters', disk.target_parameters),
        ...present('excludeModules', disk.exclude_modules),
        ...present('modulesToSave', disk.modules_to_save),
        ...present('layersToTransform', disk.layers_to_transform),
        ...present('layersPattern', disk.layers_pattern),
        ...present('trainableTokenIndices', disk.trainable_token_indices),
      },
      ...present('baseModelNameOrPath', disk.base_model_name_or_path),
      ...present('revision', disk.revision),
      ...present('taskType', disk.task_type),
      ...present('autoMapping', disk.auto_mapping),
    },
  });
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

/**
 * `model.….q_proj.lora_A.weight` → its key in the file. A weight or bias of a module that is itself adapted lies in PEFT's
 * wrapper, one level deeper.
 */
export const adapterKey = (name: string, adapted: ReadonlySet<string> = new Set()): string => {
  const dot = name.lastIndexOf('.');
  const module = name.slice(0, dot);
  const isWrapped = adapted.has(module) && /^\.(?:weight|bias)$/.test(name.slice(dot));
  return isWrapped ? `${prefix}${module}.base_layer${name.slice(dot)}` : `${prefix}${name}`;
};

const adaptedModules = (tensors: ReadonlyArray<TensorToWrite>): ReadonlySet<string> =>
  new Set(
    tensors.flatMap(({ name }) => {
      const at = name.search(/\.lora_(?:embedding_)?A(?:\.|$)/);
      return at === -1 ? [] : [name.slice(0, at)];
    }),
  );

const adapterParts = 'lora_A|lora_B|lora_embedding_A|lora_embedding_B|modules_to_save';

/** A key of the file → the name it has here: without prefix, wrapper, or an adapter's name should it have one. */
export const nameOfAdapterKey = (key: string): string =>
  (key.startsWith(prefix) ? key.slice(prefix.length) : key)
    .replace(new RegExp(`\\.(${adapterParts})\\.default(?=\\.|$)`), '.$1')
    .replace('.modules_to_save.', '.')
    .replace('.token_adapter.base_layer.', '.')
    // A second adapter around one module lies in the first one's wrapper.
    .replace(/\.base_layer\.(?!lora_)/, '.');

/** Every A has its B, of the same rank. */
const checkedPairs = (file: string, tensors: ReadonlyMap<string, StoredTensor>): Either<FatalError, void> => {
  for (const [name, { shape }] of tensors) {
    const [, half] = /\.lora_(?:embedding_)?([AB])(?:\.weight)?$/.exec(name) ?? [];
    if (half === undefined) continue;
    const other = name.replace(/\.lora_(embedding_)?[AB](?=(\.weight)?$)/, `.lora_$1${half === 'A' ? 'B' : 'A'}`);
    const partner = tensors.get(other);
    const rank = half === 'A' ? shape[0] : shape[1];
    const otherRank = half === 'A' ? partner?.shape[1] : partner?.shape[0];
    if (shape.length !== 2 || partner === undefined || rank !== otherRank) {
      return E.left(
        fatal('E_ADAPTER_WEIGHTS', `${file}: "${name}" does not fit its other half`, {
          file,
          field: name,
          expected: `"${other}" of the same rank`,
          actual:
            partner === undefined ? 'nothing' : `${JSON.stringify(shape)} beside ${JSON.stringify(partner.shape)}`,
        }),
      );
    }
  }
  return E.right(undefined);
};

/** An adapter directory as it was read. */
export interface AdapterFiles extends ReadConfig {
  /** By PEFT's names without its prefix: `model.layers.0.self_attn.q_proj.lora_A.weight`. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

const noAdapter = async (dir: string): Promise<FatalError> => {
  const found = await readdir(dir).catch((error: unknown) => {
    throw fileError(dir, error);
  });
  return fatal('E_NO_ADAPTER', `${dir} holds no adapter`, {
    file: dir,
    expected: `${adapterConfigFile} and ${adapterWeightsFile} (or ${pickledAdapterFile})`,
    actual: found.length === 0 ? 'an empty directory' : found.slice(0, 12).join(', '),
  });
};

/**
 * A PEFT adapter directory: configuration, and tensors to be read when wanted. `E_NO_ADAPTER`, `E_ADAPTER_CONFIG`, `E_ADAPTER_TYPE` and
 * `E_ADAPTER_UNSUPPORTED` for what is no LoRA of these options, `E_ADAPTER_WEIGHTS`.
 */
export const readAdapter = (dir: string): TaskEither<FatalError, AdapterFiles> => {
  const configPath = join(dir, adapterConfigFile);
  return pipe(
    TE.tryCatch(
      async () => {
        const paths = [configPath, join(dir, adapterWeightsFile), join(dir, pickledAdapterFile)];
        const [config, ...weights] = await Promise.all(
          paths.map((path) =>
            stat(path).then(
              () => path,
              () => undefined,
            ),
          ),
        );
        const found = weights.find((path) => path !== undefined);
        if (config === undefined || found === undefined) throw await noAdapter(dir);
        return found;
      },
      (error) => fileError(dir, error),
    ),
    TE.bindTo('weightsPath'),
    TE.bind('read', () =>
      pipe(
        readJson(configPath),
        TE.flatMapEither((value) => decodeAdapterConfig(value, configPath)),
      ),
    ),
    TE.flatMap(({ weightsPath, read: { config, warnings } }) =>
      pipe(
        readTensorFile(weightsPath),
        TE.map(
          ({ tensors }) => new Map(Array.from(tensors, ([key, stored]) => [nameOfAdapterKey(key), stored] as const)),
        ),
        TE.flatMapEither((tensors) => E.map(() => ({ config, warnings, tensors }))(checkedPairs(weightsPath, tensors))),
      ),
    ),
  );
};

/**
 * Writes adapter_config.json and adapter_model.safetensors into `dir`; names of `tensors` lack PEFT's prefix `base_model.model.`,
 * which is put back.
 */
export const writeAdapter = (
  dir: string,
  config: AdapterConfig,
  tensors: Iterable<TensorToWrite>,
): TaskEither<FatalError, void> => {
  const all = [...tensors];
  const adapted = adaptedModules(all);
  return pipe(
    writeSafetensors(
      join(dir, adapterWeightsFile),
      all.map((tensor) => ({ ...tensor, name: adapterKey(tensor.name, adapted) })),
    ),
    TE.flatMap(() =>
      // As Python's json.dumps(indent=2, sort_keys=True) ends it: without a line feed.
      writeTextAtomically(
        join(dir, adapterConfigFile),
        jsonText(encodeAdapterConfig(config), { sortKeys: true }).trimEnd(),
      ),
    ),
  );
};
