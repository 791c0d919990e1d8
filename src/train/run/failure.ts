/** `error.json`: why the run that wrote into a directory failed, for those who were not there to read the terminal. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isFatal, render, withoutSecrets } from '../../errors.js';
import { writeTextAtomically } from '../../formats/files/atomicFile.js';

export const failureFile = 'error.json';

const fileIn = (outputDir: string): string => join(outputDir, failureFile);

/** What of an error goes to disk. `step`: updates done. */
const told = (error: unknown, step: number): Readonly<Record<string, unknown>> =>
  isFatal(error)
    ? { code: error.code, step, message: render(error) }
    : { code: 'E_BUG', step, message: withoutSecrets(error instanceof Error ? error.message : String(error)) };

/**
 * Leaves the error in the output directory. Where that cannot be written nothing is said of it: the error itself is on its way to
 * whoever called.
 */
export const leaveFailure = async (outputDir: string | undefined, error: unknown, step = 0): Promise<void> => {
  if (outputDir === undefined) return;
  await writeTextAtomically(fileIn(outputDir), `${JSON.stringify(told(error, step), null, 2)}\n`)();
};

/** Another run begins there: what the one before it failed of is over. */
export const forgetFailure = (outputDir: string): Promise<void> =>
  rm(fileIn(outputDir), { force: true }).catch(() => undefined);
