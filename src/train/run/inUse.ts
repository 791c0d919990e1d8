/** A mark in the output directory of a run that is under way, by which runs that would write over each other are told of it. */
import { rmSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { warning } from '../../errors.js';
import type { Warning } from '../../errors.js';
import { temporaryBeside, temporaryOf } from '../../formats/files/atomicFile.js';

const markName = 'run';

export interface Mark {
  /** Told where another run is under way there. */
  readonly warnings: ReadonlyArray<Warning>;
  readonly remove: () => void;
}

/**
 * Marks the directory, from which what ended runs left has been removed: the mark is a temporary file, so that of a run that was killed it
 * goes with its other leftovers. A warning, no error: a process number may have come to mean another process.
 */
export const markInUse = async (outputDir: string): Promise<Mark> => {
  const others = (await readdir(outputDir).catch(() => [])).flatMap((entry) => {
    const found = temporaryOf(entry);
    return found?.name === markName ? [{ entry, pid: found.pid }] : [];
  });
  const mark = temporaryBeside(join(outputDir, markName));
  // Where nothing can be written the run will say so itself.
  await writeFile(mark, '').catch(() => undefined);
  return {
    warnings: others.map(({ entry, pid }) =>
      warning(
        'W_OUTPUT_DIR_IN_USE',
        'another run seems to be writing there: each will write over what the other writes',
        {
          file: outputDir,
          actual: `process ${pid} (${entry})`,
          hint: 'give each run an output directory of its own',
        },
      ),
    ),
    remove: () => rmSync(mark, { force: true }),
  };
};
