/** Where prepared rows are kept, and how much of them. */
import { readdir, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { removeLeftovers } from '../../../formats/files/directory.js';

type Environment = Readonly<Record<string, string | undefined>>;

const extension = '.rows';

/** RXTUNE_CACHE, else rxtune in XDG_CACHE_HOME, else ~/.cache/rxtune; below it, a directory of their own. */
export const preparedDirectory = (env: Environment, home: string = homedir()): string => {
  const own = env['RXTUNE_CACHE'] ?? '';
  const xdg = env['XDG_CACHE_HOME'] ?? '';
  // The specification has relative paths ignored.
  const base =
    own !== '' ? own.replace(/^~(?=\/|$)/, home) : join(isAbsolute(xdg) ? xdg : join(home, '.cache'), 'rxtune');
  return join(base, 'prepared');
};

export const entryPath = (directory: string, hash: string): string => join(directory, `${hash}${extension}`);

/**
 * Removes the entries that were longest not used until all together take at most `limit` bytes, and what killed runs have left half
 * written. Another run may do the same at the same time: a file that is gone already is as good as removed.
 */
export const makeRoom = async (directory: string, limit: number): Promise<void> => {
  await removeLeftovers(directory)();
  const names = (await readdir(directory)).filter((name) => name.endsWith(extension) && !name.startsWith('.'));
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name);
      const at = await stat(path).catch(() => undefined);
      return at === undefined ? [] : [{ path, size: at.size, used: at.mtimeMs }];
    }),
  );
  const entries = found.flat().toSorted((a, b) => a.used - b.used);
  let total = entries.reduce((sum, { size }) => sum + size, 0);
  for (const { path, size } of entries) {
    if (total <= limit) return;
    await rm(path, { force: true }).catch(() => undefined);
    total -= size;
  }
};
