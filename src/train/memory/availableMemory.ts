/** How much memory a process may still take: what the machine has free, and what its container allows. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { dirname, join } from 'node:path';

export interface AvailableMemory {
  readonly bytes: number;
  /** What sets the limit, for people. */
  readonly source: string;
  /** It is a card's own. */
  readonly onCard?: boolean;
}

/** The text of a file, or undefined where it cannot be read. */
export type ReadText = (path: string) => string | undefined;

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/** What macOS' vm_stat prints; undefined elsewhere. */
const readVmStat = (): string | undefined => {
  if (process.platform !== 'darwin') return undefined;
  try {
    return execFileSync('/usr/bin/vm_stat', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return undefined;
  }
};

/**
 * Bytes that macOS can hand out at once, as psutil counts them: pages that are free, read ahead or inactive. What Node calls free there
 * is the first part alone, which is always little.
 */
export const freeOfVmStat = (text: string): number | undefined => {
  const pageSize = numberIn(/page size of (\d+) bytes/.exec(text)?.[1]);
  const pages = ['free', 'speculative', 'inactive'].map((kind) =>
    numberIn(new RegExp(`^Pages ${kind}:\\s+(\\d+)`, 'm').exec(text)?.[1]),
  );
  return pages.reduce<number | undefined>(
    (sum, count) =>
      sum === undefined || count === undefined || pageSize === undefined ? undefined : sum + count * pageSize,
    0,
  );
};

const numberIn = (text: string | undefined): number | undefined => {
  const digits = /^\d+/.exec((text ?? '').trim())?.[0];
  return digits === undefined ? undefined : Number(digits);
};

/** The value after a key, as /proc/meminfo and memory.stat have it. */
const field = (text: string | undefined, key: string): number | undefined =>
  numberIn(new RegExp(`^${key}:?\\s+(\\d+)`, 'm').exec(text ?? '')?.[1]);

/** Directories from one of a cgroup up to its root. */
const upwards = (root: string, path: string): ReadonlyArray<string> => {
  const dirs: Array<string> = [];
  for (let at = path; ; at = dirname(at)) {
    dirs.push(join(root, at));
    if (at === '/' || at === '.') return dirs;
  }
};

/** Limits far beyond any machine stand for none. */
const noLimit = 2 ** 60;

/**
 * What a cgroup still allows: its limit less what it uses. Files that the system holds in memory only because they were read count
 * as free, since they go when memory is asked for.
 */
const headroom = (
  read: ReadText,
  dir: string,
  names: { readonly limit: string; readonly used: string; readonly cached: string },
): number | undefined => {
  const limit = numberIn(read(join(dir, names.limit)));
  const used = numberIn(read(join(dir, names.used)));
  if (limit === undefined || used === undefined || limit >= noLimit) return undefined;
  const cached = field(read(join(dir, 'memory.stat')), names.cached) ?? 0;
  return Math.max(0, limit - Math.max(0, used - cached));
};

/** What the machine can hand out, as its system tells; Node's own number where it tells nothing. */
const machineMemory = (read: ReadText, vmStat: string | undefined): number => {
  const kibibytes = field(read('/proc/meminfo'), 'MemAvailable');
  const told = vmStat === undefined ? kibibytes && kibibytes * 1024 : freeOfVmStat(vmStat);
  return told ?? freemem();
};

/**
 * Free memory of the machine and of every cgroup around this process (versions 1 and 2); the least of them. `vmStat`: what macOS says of
 * its memory.
 */
export const availableMemory = (
  read: ReadText = readText,
  vmStat: () => string | undefined = readVmStat,
): AvailableMemory => {
  const machine = machineMemory(read, vmStat());
  const groups = (read('/proc/self/cgroup') ?? '').split('\n');
  const pathOf = (pattern: RegExp): string => groups.flatMap((line) => pattern.exec(line)?.[1] ?? [])[0] ?? '/';
  const rooms = [
    ...upwards('/sys/fs/cgroup', pathOf(/^0::(.*)$/)).map((dir) =>
      headroom(read, dir, { limit: 'memory.max', used: 'memory.current', cached: 'inactive_file' }),
    ),
    ...upwards('/sys/fs/cgroup/memory', pathOf(/^\d+:[^:]*\bmemory\b[^:]*:(.*)$/)).map((dir) =>
      headroom(read, dir, {
        limit: 'memory.limit_in_bytes',
        used: 'memory.usage_in_bytes',
        cached: 'total_inactive_file',
      }),
    ),
  ].filter((bytes) => bytes !== undefined);
  const container = Math.min(Infinity, ...rooms);
  return container < machine
    ? { bytes: container, source: 'left of what the container may use' }
    : { bytes: machine, source: 'free on this machine' };
};
