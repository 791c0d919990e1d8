/** Directories that are there whole or not at all, with a list of what they must hold. */
import { createHash } from 'node:crypto';
import { lstat, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import * as t from 'io-ts';
import { fatal, isFatal, orThrow } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { decodeFrom, jsonText, parseJson, readText, writeJson } from '../json/json.js';
import { removeTemporary, syncDirectory, temporaryBeside, temporaryOf } from './atomicFile.js';
import type { Temporary } from './atomicFile.js';
import { codeOf, fileError, readBytes } from './byteSource.js';
import { makeDirectory } from './makeDirectory.js';

/** Sizes and SHA-256 of every other file of the directory, by relative path. */
export const manifestFile = 'rxtune_manifest.json';

const Manifest = t.type(
  { files: t.record(t.string, t.type({ bytes: t.number, sha256: t.string }), 'a record of files') },
  'a manifest',
);
export type Manifest = t.TypeOf<typeof Manifest>;

const edge = <A>(path: string, run: () => Promise<A>): TaskEither<FatalError, A> =>
  TE.tryCatch(run, (error) => fileError(path, error));

/** Files below a directory, as paths relative to it, and the directories on the way; sorted. */
const contents = async (
  dir: string,
): Promise<{ readonly files: ReadonlyArray<string>; readonly directories: ReadonlyArray<string> }> => {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true });
  const pathOf = (entry: { readonly parentPath?: string; readonly path?: string; readonly name: string }): string =>
    // Node.js 20.0 to 20.11 know only `path`.
    relative(dir, join(entry.parentPath ?? entry.path ?? dir, entry.name))
      .split(sep)
      .join('/');
  return {
    files: entries
      .filter((entry) => !entry.isDirectory())
      .map(pathOf)
      .toSorted(),
    directories: entries
      .filter((entry) => entry.isDirectory())
      .map(pathOf)
      .toSorted(),
  };
};

/** Files below a directory, as paths relative to it, with `/` between their parts; sorted. */
export const filesBelow = (dir: string): TaskEither<FatalError, ReadonlyArray<string>> =>
  edge(dir, async () => (await contents(dir)).files);

const digest = async (file: string): Promise<{ readonly bytes: number; readonly sha256: string }> => {
  const hash = createHash('sha256');
  let bytes = 0;
  // Not unpacked, whatever the name: the check is on the bytes as they lie there.
  for await (const chunk of readBytes(file, { chunkBytes: 1 << 20, raw: true })) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest('hex') };
};

const syncFile = async (file: string): Promise<void> => {
  const handle = await open(file, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/** Makes everything below `dir` durable, its manifest included. */
const seal = async (dir: string): Promise<void> => {
  const { files, directories } = await contents(dir);
  const manifest: Record<string, unknown> = {};
  for (const file of files) {
    if (file === manifestFile) continue;
    manifest[file] = await digest(join(dir, file));
    await syncFile(join(dir, file));
  }
  await orThrow(writeJson(join(dir, manifestFile), { files: manifest }));
  for (const directory of directories) await syncDirectory(join(dir, directory));
  await syncDirectory(dir);
};

/** An error of what is written beside its place, which nobody finds there afterwards: told of the place. */
const atPlace = (temporary: string, dir: string, error: unknown): unknown => {
  if (!isFatal(error)) return error;
  const { code, message, details, kind, cause } = error;
  const placed = (text: string): string => text.replaceAll(temporary, dir);
  const file = details.file === undefined ? {} : { file: placed(details.file) };
  return fatal(code, placed(message), { ...details, ...file, kind, cause });
};

/**
 * Lets `write` fill a directory beside `dir`, adds the manifest, makes all of it durable and moves it to its place. A failure
 * leaves `dir` as it was; a directory that stood there is replaced. So does a crash, but for the instant between two renames, in
 * which the old directory lies beside its place: `removeLeftovers` puts it back.
 */
export const writeDirectoryAtomically = (
  dir: string,
  write: (temporary: string) => TaskEither<FatalError, unknown>,
): TaskEither<FatalError, void> =>
  edge(dir, async () => {
    const temporary = temporaryBeside(dir);
    await makeDirectory(dirname(dir));
    await mkdir(temporary);
    try {
      await orThrow(write(temporary));
      await seal(temporary);
      const old = temporaryBeside(dir, 'replaced');
      const replaced = await rename(dir, old).then(
        () => true,
        () => false,
      );
      try {
        await rename(temporary, dir);
      } catch (error) {
        if (replaced) await rename(old, dir);
        throw error;
      }
      if (replaced) await removeTemporary(old);
    } catch (error) {
      await removeTemporary(temporary);
      throw atPlace(temporary, dir, error);
    }
    await syncDirectory(dirname(dir));
  });

/** A directory's manifest, after every file was found as it says; `E_DIRECTORY_INCOMPLETE` or `E_DIRECTORY_CORRUPT` otherwise. */
export const verifyDirectory = (dir: string): TaskEither<FatalError, Manifest> => {
  const path = join(dir, manifestFile);
  return edge(dir, async () => {
    const { files } = await contents(dir);
    if (!files.includes(manifestFile)) {
      throw fatal('E_DIRECTORY_INCOMPLETE', `${dir} has no manifest: it was not written to its end, or not by rxtune`, {
        file: dir,
        expected: manifestFile,
        actual: files.length === 0 ? 'an empty directory' : files.slice(0, 12).join(', '),
      });
    }
    const text = await orThrow(readText(path));
    const manifest = await orThrow(
      TE.fromEither(pipe(parseJson(text, path), E.flatMap(decodeFrom(Manifest, path, 'E_DIRECTORY_CORRUPT')))),
    );
    // It has no checksum of its own: any other spelling than the one written is damage.
    if (text !== jsonText({ files: manifest.files })) {
      throw fatal('E_DIRECTORY_CORRUPT', `${dir}: ${manifestFile} is not as it was written`, { file: path });
    }
    for (const [file, { bytes, sha256 }] of Object.entries(manifest.files)) {
      if (!files.includes(file)) {
        throw fatal('E_DIRECTORY_INCOMPLETE', `${dir}: ${file} is missing`, { file: join(dir, file) });
      }
      const found = await digest(join(dir, file));
      if (found.bytes !== bytes || found.sha256 !== sha256) {
        throw fatal('E_DIRECTORY_CORRUPT', `${dir}: ${file} is not as it was written`, {
          file: join(dir, file),
          expected: `${bytes} bytes, sha256 ${sha256}`,
          actual: `${found.bytes} bytes, sha256 ${found.sha256}`,
        });
      }
    }
    return manifest;
  });
};

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process is one, too.
    return codeOf(error) === 'EPERM';
  }
};

/** Whether the process that made a temporary name may still be at work on it. */
const isInUse = ({ pid, own }: Temporary): boolean => own || (pid !== process.pid && isRunning(pid));

const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

/**
 * Removes what runs that were killed have left half-written in `dir`, and puts back what they had moved aside to replace and did
 * not replace. Resolves to the names removed or moved.
 */
export const removeLeftovers = (dir: string): TaskEither<FatalError, ReadonlyArray<string>> =>
  edge(dir, async () => {
    const removed: Array<string> = [];
    for (const entry of await readdir(dir)) {
      const found = temporaryOf(entry);
      if (found === undefined || isInUse(found)) continue;
      const path = join(dir, entry);
      const place = join(dir, found.name);
      if (found.kind === 'replaced' && !(await exists(place))) await rename(path, place);
      else await rm(path, { recursive: true, force: true });
      removed.push(entry);
    }
    return removed;
  });

/** Removes a directory so that no half of it is ever seen under its name. */
export const removeDirectoryAtomically = (dir: string): TaskEither<FatalError, void> =>
  edge(dir, async () => {
    const doomed = temporaryBeside(dir);
    await rename(dir, doomed);
    await removeTemporary(doomed);
  });

/**
 * Lets `write` fill a directory of its own inside `dir` and then moves its files up, one by one, in the order of their names:
 * `dir` itself cannot be swapped when it holds other things, but each file in it is whole, and a failure of `write` changes
 * nothing. Resolves to the names of the files.
 */
export const writeInto = (
  dir: string,
  write: (temporary: string) => TaskEither<FatalError, unknown>,
): TaskEither<FatalError, ReadonlyArray<string>> =>
  edge(dir, async () => {
    await makeDirectory(dir);
    const temporary = temporaryBeside(join(dir, basename(dir)));
    await mkdir(temporary);
    try {
      await orThrow(write(temporary));
      const { files } = await contents(temporary);
      for (const file of files) await syncFile(join(temporary, file));
      for (const file of files) {
        await makeDirectory(dirname(join(dir, file)));
        await rename(join(temporary, file), join(dir, file));
      }
      await syncDirectory(dir);
      return files;
    } catch (error) {
      throw atPlace(temporary, dir, error);
    } finally {
      await removeTemporary(temporary);
    }
  });

/** True when there is a directory at `path`. */
export const isDirectory = async (path: string): Promise<boolean> =>
  await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
