/** A disk that fails when a test says so: node:fs/promises of which one call, or all from one on, end with an error of the system. */
import { createRequire } from 'node:module';
import type { FileHandle } from 'node:fs/promises';

/** What of a disk fails. */
export interface Fault {
  /** Number of the call, from 0. */
  readonly at: number;
  /** Its error, such as ENOSPC. */
  readonly code: string;
  /** Every later call that takes room fails too, as on a disk that stays full. */
  readonly lasting?: boolean;
}

const [open, names] = [
  'open',
  'access,copyFile,lstat,mkdir,readFile,readdir,realpath,rename,rm,stat,symlink,utimes,writeFile'.split(','),
];
const ofHandles = ['read', 'write', 'sync', 'stat', 'close'] as const;

/** Calls that take room on the disk. */
const taking = /^(open w|mkdir|rename|copyFile|writeFile|symlink|write|sync)/;

type Call = (...args: ReadonlyArray<unknown>) => Promise<unknown>;
type Calls = Record<string, Call>;

const real = createRequire(import.meta.url)('node:fs/promises') as Readonly<Calls>;

export interface Disk {
  /** What node:fs/promises exports, to put in its place. */
  readonly exports: Readonly<Record<string, unknown>>;
  /** Begins to count anew, with a fault or none. */
  readonly reset: (fault?: Fault) => void;
  /** The calls since then, with the paths that they were of. */
  readonly calls: () => ReadonlyArray<string>;
  /** Files that were opened and not closed. */
  readonly open: () => ReadonlyArray<string>;
}

export const failingDisk = (): Disk => {
  let calls: Array<string> = [];
  let fault: Fault | undefined;
  const opened = new Map<object, string>();

  const errorOf = (code: string, call: string, path: unknown): Error =>
    Object.assign(new Error(`${code}: the disk fails, ${call}${typeof path === 'string' ? ` '${path}'` : ''}`), {
      code,
      errno: -1,
      syscall: call,
      ...(typeof path === 'string' ? { path } : {}),
    });

  /** The error that this call is to end with, if any. */
  const failing = (call: string, path: string, own: boolean): Error | undefined => {
    const number = calls.length;
    calls.push(`${call} ${path}`);
    if (fault === undefined || number < fault.at) return undefined;
    if (number > fault.at && !(fault.lasting === true && taking.test(call))) return undefined;
    return errorOf(fault.code, call.split(' ')[0] ?? '', own ? path : undefined);
  };

  const watched = (handle: FileHandle, path: string): FileHandle => {
    const own = handle as unknown as Calls;
    for (const name of ofHandles) {
      const call = own[name]?.bind(handle);
      if (call === undefined) continue;
      own[name] = async (...args) => {
        const error = failing(name, path, false);
        if (error === undefined) {
          if (name === 'close') opened.delete(handle);
          return await call(...args);
        }
        if (name === 'close') {
          opened.delete(handle);
          await call();
        }
        // Half of it has room.
        const [bytes, from, length] = args;
        if (name === 'write' && typeof from === 'number' && typeof length === 'number')
          await call(bytes, from, Math.floor(length / 2), args[3]);
        throw error;
      };
    }
    return handle;
  };

  const replaced: Calls = Object.fromEntries(
    names.map((name): [string, Call] => [
      name,
      async (...args) => {
        const error = failing(name, String(args[0]), true);
        if (error !== undefined) throw error;
        return await real[name]?.(...args);
      },
    ]),
  );
  replaced[open] = async (...args) => {
    const flags = typeof args[1] === 'string' ? args[1] : 'r';
    const error = failing(`open ${flags === 'r' ? 'r' : 'w'}`, String(args[0]), true);
    if (error !== undefined) throw error;
    const handle = (await real[open]?.(...args)) as FileHandle;
    opened.set(handle, String(args[0]));
    return watched(handle, String(args[0]));
  };
  const exports = { ...real, ...replaced };
  return {
    exports: { ...exports, default: exports },
    reset: (next) => {
      calls = [];
      fault = next;
    },
    calls: () => calls,
    open: () => [...opened.values()],
  };
};
