/** A model's tensors in one file or several, with their index: safetensors, or what torch.save has left. */
import { readdir, realpath, rm, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import * as t from 'io-ts';
import { checked } from '../../checked.js';
import { fatal, orThrow } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { fileError } from '../files/byteSource.js';
import { decodeFrom, readJson, writeJson } from '../json/json.js';
import { byteLengthOf, writeSafetensors } from './safetensors.js';
import type { SafetensorsOptions, StoredTensor, StoredTensors, TensorToWrite } from './safetensors.js';
import { readTensorFile } from './tensorFile.js';

const singleFile = 'model.safetensors';
const indexFile = 'model.safetensors.index.json';

/** In the order in which transformers looks for them: safetensors before pickles, one file before several. */
export const weightFiles = [singleFile, indexFile, 'pytorch_model.bin', 'pytorch_model.bin.index.json'] as const;

const Index = t.type(
  { weight_map: t.record(t.string, t.string, 'a record of tensor name → file name') },
  'an index of shards',
);

/** The tensors of a checkpoint, whatever files they lie in. */
export interface CheckpointTensors extends StoredTensors {
  /** The files they lie in. */
  readonly files: ReadonlyArray<string>;
}

const exists = async (path: string): Promise<boolean> =>
  await stat(path).then(
    () => true,
    () => false,
  );

/** The shard's path, or undefined when its name leads out of the directory. */
const shardPath = (dir: string, name: string): string | undefined => {
  const path = resolve(dir, name);
  const inside = relative(resolve(dir), path);
  return name === '' || /[\\\0]/.test(name) || isAbsolute(name) || inside === '' || inside.startsWith('..')
    ? undefined
    : path;
};

/** Where files of a directory may truly lie: below it, or, for a snapshot of a Hub cache, beside it among the blobs. */
const homesOf = async (dir: string): Promise<ReadonlyArray<string>> => {
  const real = await realpath(dir);
  return basename(dirname(real)) === 'snapshots' ? [real, join(dirname(dirname(real)), 'blobs')] : [real];
};

/** A name whose file truly lies elsewhere; files that are not there lie nowhere. */
const linkOutside = async (dir: string, paths: ReadonlyMap<string, string>): Promise<string | undefined> => {
  const homes = await homesOf(dir);
  for (const [name, path] of paths) {
    const real = await realpath(path).catch(() => undefined);
    if (real !== undefined && !homes.some((home) => real.startsWith(`${home}${sep}`))) return name;
  }
  return undefined;
};

const edge = <A>(file: string, run: () => Promise<A>): TaskEither<FatalError, A> =>
  TE.tryCatch(run, (error) => fileError(file, error));

const readShards = (dir: string, index: string): TaskEither<FatalError, CheckpointTensors> =>
  edge(index, async () => {
    const { weight_map: map } = await orThrow(
      pipe(readJson(index), TE.flatMapEither(decodeFrom(Index, index, 'E_SHARD_INDEX'))),
    );
    const names = [...new Set(Object.values(map))].toSorted();
    const paths = new Map<string, string>();
    for (const name of names) {
      const path = shardPath(dir, name);
      if (path === undefined) {
        throw fatal('E_SHARD_PATH', `${index} names a file outside its directory`, {
          file: index,
          expected: 'plain file names',
          actual: JSON.stringify(name),
        });
      }
      paths.set(name, path);
    }
    const strayed = await linkOutside(dir, paths);
    if (strayed !== undefined) {
      throw fatal('E_SHARD_PATH', `${index} names ${strayed}, a link that leads out of its directory`, {
        file: index,
        expected: 'files that lie in the directory, or in the blobs folder of a Hub cache',
        actual: await realpath(join(dir, strayed)),
        hint: 'if the link is your own, put the file itself there',
      });
    }
    const missing: Array<string> = [];
    for (const [name, path] of paths) if (!(await exists(path))) missing.push(name);
    if (missing.length > 0) {
      throw fatal('E_MISSING_SHARD', `${dir}: ${missing.length} of ${names.length} weight files are missing`, {
        file: index,
        expected: names.join(', '),
        actual: `without ${missing.join(', ')}`,
        hint: 'copy or download the missing files',
      });
    }
    const tensors = new Map<string, StoredTensor>();
    const home = new Map<string, string>();
    for (const [name, path] of paths) {
      const shard = await orThrow(readTensorFile(path));
      for (const [tensor, stored] of shard.tensors) {
        const other = home.get(tensor);
        if (other !== undefined) {
          throw fatal('E_DUPLICATE_TENSOR', `${dir}: tensor "${tensor}" is in ${other} and in ${name}`, {
            file: path,
            field: tensor,
          });
        }
        home.set(tensor, name);
        if (Object.hasOwn(map, tensor) && map[tensor] === name) tensors.set(tensor, stored);
      }
    }
    const absent = Object.keys(map).find((tensor) => !tensors.has(tensor));
    if (absent !== undefined) {
      throw fatal('E_MISSING_TENSOR', `${dir}: tensor "${absent}" is not in the file that the index names`, {
        file: index,
        field: absent,
        expected: `in ${map[absent] ?? ''}`,
        actual: home.get(absent) ?? 'in none of the files',
      });
    }
    return { tensors, metadata: {}, files: [...paths.values()] };
  });

/** `E_PICKLE_ONLY` when only pickled weights under other names are there, else `E_NO_WEIGHTS`. */
const noWeights = async (dir: string): Promise<FatalError> => {
  const names = await readdir(dir).catch((error: unknown) => {
    throw fileError(dir, error);
  });
  const pickled = names.find((name) => /^pytorch_model.*\.bin$|\.(pt|pth|ckpt)$/.test(name));
  return pickled === undefined
    ? fatal('E_NO_WEIGHTS', `${dir} holds no weights`, {
        file: dir,
        expected: `${singleFile}, or ${indexFile} and its files`,
        actual: names.length === 0 ? 'an empty directory' : names.slice(0, 12).join(', '),
      })
    : fatal('E_PICKLE_ONLY', `${dir} holds only pickled weights (${pickled}), which can run code when they are read`, {
        file: join(dir, pickled),
        expected: `${singleFile}, or pytorch_model.bin, which is read without running it`,
        hint:
          `convert them once, with Python: from transformers import AutoModelForCausalLM as M; ` +
          `M.from_pretrained("${dir}").save_pretrained("${dir}", safe_serialization=True)`,
      });
};

/**
 * The tensors of a model directory (one file or shards; safetensors before `pytorch_model.bin`, as in transformers), or of one file.
 * Headers are read, data is not. `E_NO_WEIGHTS`, `E_MISSING_SHARD`, `E_MISSING_TENSOR`; of a pickle nothing is run, and what is more than
 * tensors is refused (E_PICKLE_…).
 */
export const readCheckpointTensors = (path: string): TaskEither<FatalError, CheckpointTensors> =>
  edge(path, async () => {
    const single = async (file: string): Promise<CheckpointTensors> => ({
      ...(await orThrow(readTensorFile(file))),
      files: [file],
    });
    if ((await stat(path)).isFile()) return await single(path);
    for (const name of weightFiles) {
      const file = join(path, name);
      if (!(await exists(file))) continue;
      return await (name.endsWith('.json') ? orThrow(readShards(path, file)) : single(file));
    }
    throw await noWeights(path);
  });

/** How weights are cut into files. */
export interface ShardOptions extends SafetensorsOptions {
  /** No file gets larger than this, unless one tensor alone is. 5 GB by default, as in transformers. */
  readonly maxShardBytes?: number | undefined;
}

const isWeightFile = (name: string): boolean =>
  name === singleFile || name === indexFile || /^model-\d{5}-of-\d{5}\.safetensors$/.test(name);

/**
 * Writes a model's weights into `dir`: one `model.safetensors`, or shards and their index when they are larger than
 * `maxShardBytes`. Weight files of an earlier save that are no longer part of it are removed last. Resolves to the names written.
 */
export const writeCheckpointTensors = checked(
  'writeCheckpointTensors',
  TE.left,
  { 2: { maxShardBytes: 'optional', metadata: 'optional' } },
  (
    dir: string,
    tensors: Iterable<TensorToWrite>,
    { maxShardBytes = 5_000_000_000, metadata }: ShardOptions = {},
  ): TaskEither<FatalError, ReadonlyArray<string>> =>
    edge(dir, async () => {
      const shards: Array<Array<TensorToWrite>> = [];
      let bytes = 0;
      let total = 0;
      for (const tensor of tensors) {
        const size = byteLengthOf(tensor);
        const last = shards[shards.length - 1];
        if (last === undefined || (bytes + size > maxShardBytes && last.length > 0)) {
          shards.push([tensor]);
          bytes = size;
        } else {
          last.push(tensor);
          bytes += size;
        }
        total += size;
      }
      const written: Array<string> = [];
      const map = new Map<string, string>();
      const digits = (n: number): string => n.toString().padStart(5, '0');
      const parts = shards.length === 0 ? [[]] : shards;
      for (const [i, shard] of parts.entries()) {
        const name = parts.length === 1 ? singleFile : `model-${digits(i + 1)}-of-${digits(parts.length)}.safetensors`;
        await orThrow(writeSafetensors(join(dir, name), shard, { metadata }));
        written.push(name);
        for (const tensor of shard) map.set(tensor.name, name);
      }
      if (parts.length > 1) {
        await orThrow(
          writeJson(
            join(dir, indexFile),
            { metadata: { total_size: total }, weight_map: Object.fromEntries(map) },
            { sortKeys: true },
          ),
        );
        written.push(indexFile);
      }
      for (const name of await readdir(dir)) {
        if (isWeightFile(name) && !written.includes(name)) await rm(join(dir, name), { force: true });
      }
      return written;
    }),
);
