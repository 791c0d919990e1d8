/** Files that are there whole or not at all. */
import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { usage, type FatalError } from '../../errors.js';
import { codeOf, fileError } from './byteSource.js';

let made = 0;

/** Process numbers come again, in containers at every start; this tells two processes of one number apart. */
const token = randomBytes(4).toString('hex');

const kinds = { written: 'tmp', replaced: 'old.tmp' } as const;

/** A name beside `path` that no other run and no other call takes. `replaced`: for what stood there, until its successor does. */
export const temporaryBeside = (path: string, kind: keyof typeof kinds = 'written'): string =>
  join(dirname(path), `.${basename(path)}.${process.pid}-${token}${made++}.${kinds[kind]}`);

/** Those of this process that it could not remove, and works on no more. */
const abandoned = new Set<string>();

/** Removes a temporary file or directory. What stays when that fails is nobody's: `removeLeftovers` takes it. */
export const removeTemporary = async (path: string): Promise<void> => {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    abandoned.add(basename(path));
    throw error;
  }
};

export interface Temporary {
  /** Of the file or directory it was made beside. */
  readonly name: string;
  readonly pid: number;
  /** Made by this very process, which may be at work on it. */
  readonly own: boolean;
  readonly kind: keyof typeof kinds;
}

/** What the name of a temporary file or directory says; undefined for any other name. */
export const temporaryOf = (entry: string): Temporary | undefined => {
  const [, name, pid, rest, old] = /^\.(.+)\.(\d+)-([0-9a-f]+)(\.old)?\.tmp$/.exec(entry) ?? [];
  if (name === undefined || pid === undefined || rest === undefined) return undefined;
  const own = Number(pid) === process.pid && rest.startsWith(token) && !abandoned.has(entry);
  return { name, pid: Number(pid), own, kind: old === undefined ? 'written' : 'replaced' };
};

/** A disk that fails, or is full. Anything else that a directory answers to `sync` means that its system has no such thing. */
const ofTheDisk = /^(EIO|ENOSPC|EDQUOT)$/;

const tolerated = (error: unknown): undefined => {
  if (ofTheDisk.test(codeOf(error))) throw error;
  return undefined;
};

/** Makes renames and new names in a directory survive a power cut. Where directories cannot be opened or synced, nothing is done. */
export const syncDirectory = async (dir: string): Promise<void> => {
  const handle = await open(dir, 'r').catch(tolerated);
  if (handle === undefined) return;
  try {
    await handle.sync().catch(tolerated);
  } finally {
    await handle.close();
  }
};

/** Writes all bytes, however many the system takes at a time: from position `at` of the file on, by default where it stands. */
export const writeFully = async (handle: FileHandle, bytes: Uint8Array, at?: number): Promise<void> => {
  // Some systems take no more than 2 GiB in one call.
  const most = 1 << 30;
  for (let done = 0; done < bytes.length; ) {
    const position = at === undefined ? null : at + done;
    const { bytesWritten } = await handle.write(bytes, done, Math.min(most, bytes.length - done), position);
    done += bytesWritten;
  }
};

/** A file that is being written beside its place. One of the two ends it. */
export interface Draft {
  readonly handle: FileHandle;
  /** Makes it durable and moves it to its place. When that fails nothing is left of it. */
  readonly publish: () => Promise<void>;
  /** Leaves nothing of it. */
  readonly discard: () => Promise<void>;
}

/** Begins a file. Throws what the file system says. */
export const beginFile = async (path: string): Promise<Draft> => {
  const temporary = temporaryBeside(path);
  const handle = await open(temporary, 'wx');
  const discard = async (): Promise<void> => {
    await handle.close().catch(() => undefined);
    await removeTemporary(temporary);
  };
  return {
    handle,
    discard,
    publish: async () => {
      try {
        try {
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(temporary, path);
      } catch (error) {
        await discard();
        throw error;
      }
      await syncDirectory(dirname(path));
    },
  };
};

/**
 * Writes a file beside its place, makes it durable, and moves it there: readers see the old file or the new one, never half
 * of one, and a failure leaves nothing behind.
 */
export const writeFileAtomically = (
  path: string,
  write: (handle: FileHandle) => Promise<void>,
): TaskEither<FatalError, void> =>
  TE.tryCatch(
    async () => {
      const draft = await beginFile(path);
      try {
        await write(draft.handle);
      } catch (error) {
        await draft.discard();
        throw error;
      }
      await draft.publish();
    },
    (error) => writeError(path, error),
  );

/** Of a file that is yet to be written the directory is what is missing. */
const writeError = (path: string, error: unknown): FatalError =>
  codeOf(error) === 'ENOENT'
    ? usage('E_NO_FILE', `${path} cannot be written: there is no directory ${dirname(path)} that takes it`, {
        file: path,
        cause: error,
      })
    : fileError(path, error);

/** The same for content that is in memory. */
export const writeTextAtomically = (path: string, content: string | Uint8Array): TaskEither<FatalError, void> =>
  writeFileAtomically(path, (handle) =>
    writeFully(handle, typeof content === 'string' ? new TextEncoder().encode(content) : content),
  );
