/** The directory of a LoRA adapter as PEFT keeps it: `adapter_config.json` and `adapter_model.safetensors`, read and written. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { pipe } from 'fp-ts/lib/function.js';
import { checked } from '../../checked.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { writeTextAtomically } from '../files/atomicFile.js';
import { fileError } from '../files/byteSource.js';
import { jsonText, readJson } from '../json/json.js';
import { writeSafetensors } from '../tensors/safetensors.js';
import type { StoredTensor, TensorToWrite } from '../tensors/safetensors.js';
import { readTensorFile } from '../tensors/tensorFile.js';
import { adapterConfigFile, decodeAdapterConfig, encodeAdapterConfig } from './adapterConfig.js';
import type { AdapterConfig, AdapterConfigRead } from './adapterConfig.js';
import { adapterKey, nameOfAdapterKey } from './adapterKeys.js';

export const adapterWeightsFile = 'adapter_model.safetensors';
/** What older releases of PEFT wrote: read, without running it, where the other is not there. */
export const pickledAdapterFile = 'adapter_model.bin';

const adaptedModules = (tensors: ReadonlyArray<TensorToWrite>): ReadonlySet<string> =>
  new Set(
    tensors.flatMap(({ name }) => {
      const at = name.search(/\.lora_(?:embedding_)?A(?:\.|$)/);
      return at === -1 ? [] : [name.slice(0, at)];
    }),
  );

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
export interface AdapterFiles extends AdapterConfigRead {
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

/** An adapter to be written. */
export interface AdapterToWrite {
  readonly config: AdapterConfig;
  /** Names lack PEFT's prefix `base_model.model.`. */
  readonly tensors: Iterable<TensorToWrite>;
}

/**
 * Writes adapter_config.json and adapter_model.safetensors into `dir`; names of `tensors` lack PEFT's prefix `base_model.model.`,
 * which is put back.
 */
export const writeAdapter = checked(
  'writeAdapter',
  TE.left,
  { 1: { config: 'required', tensors: 'required', warnings: 'beside' } },
  (dir: string, { config, tensors }: AdapterToWrite): TaskEither<FatalError, void> => {
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
  },
);
