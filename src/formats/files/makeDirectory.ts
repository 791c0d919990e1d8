/** Directories made with those above them. */
import { access, constants, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf } from './byteSource.js';

/**
 * Makes a directory and those above it; one that is there is left as it is. Throws what the file system says. Node's own
 * recursive mkdir never returns where a file system takes no directories and says that there is no such path, as /proc does.
 * `mode` is what the umask takes from, for those that are made.
 */
export const makeDirectory = async (path: string, mode = 0o777): Promise<void> => {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && (await stat(path)).isDirectory()) return;
    const above = dirname(path);
    if (codeOf(error) !== 'ENOENT' || above === path) throw error;
    await makeDirectory(above, mode);
    // Another process may have made it meanwhile.
    await mkdir(path, { mode }).catch((again: unknown) => {
      if (codeOf(again) !== 'EEXIST') throw again;
    });
  }
};

/** The same, and throws where nothing can be written into it. */
export const makeWritableDirectory = async (path: string): Promise<void> => {
  await makeDirectory(path);
  await access(path, constants.W_OK);
};
