/** Logs cut back to the step of a checkpoint. */
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../errors.js';
import type { FatalError } from '../errors.js';

const failed =
  (file: string) =>
  (cause: unknown): FatalError =>
    fatal('E_LOG_WRITE', `${file} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`, {
      file,
      cause,
    });

const stepOf = (line: string): number | undefined => {
  try {
    const row: unknown = JSON.parse(line);
    if (typeof row === 'object' && row !== null && 'step' in row && typeof row.step === 'number') return row.step;
  } catch {
    // A line that a crash cut short is no row.
  }
  return undefined;
};

/**
 * Keeps the lines of steps up to `step` and drops the rest, among them a last line that was cut short. 0 empties the file; a file
 * that is not there stays away.
 */
export const truncateLog =
  (file: string, step: number): TaskEither<FatalError, void> =>
  async () => {
    try {
      const lines = (await readFile(file, 'utf8')).split('\n');
      const kept = lines.filter((line) => {
        const at = stepOf(line);
        return at !== undefined && at <= step;
      });
      if (kept.length === 0) {
        await rm(file);
        return E.right(undefined);
      }
      const temporary = `${file}.tmp`;
      await writeFile(temporary, kept.map((line) => `${line}\n`).join(''));
      await rename(temporary, file);
      return E.right(undefined);
    } catch (cause) {
      const absent = typeof cause === 'object' && cause !== null && 'code' in cause && cause.code === 'ENOENT';
      return absent ? E.right(undefined) : E.left(failed(file)(cause));
    }
  };
