/** The logs of a run: lines that are added whole, and cut back to the step of a checkpoint when the run is resumed. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { writeTextAtomically } from '../../formats/files/atomicFile.js';
import { codeOf, saidBySystem } from '../../formats/files/byteSource.js';
import { openJsonLog } from '../../formats/json/jsonLines.js';
import type { JsonLog } from '../../formats/json/jsonLines.js';

const failed =
  (file: string) =>
  (cause: unknown): FatalError =>
    fatal('E_LOG_WRITE', `${file} cannot be written: ${saidBySystem(cause)}`, {
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
 * Keeps the lines of steps up to `step` and drops the rest, among them a last line that was cut short. A file of which nothing
 * stays goes; one that is not there stays away. -1 drops all, step 0 included, which an evaluation before the first update has.
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
      return await writeTextAtomically(file, kept.map((line) => `${line}\n`).join(''))();
    } catch (cause) {
      const absent = codeOf(cause) === 'ENOENT';
      return absent ? E.right(undefined) : E.left(failed(file)(cause));
    }
  };

/** Their names in the output directory. */
export const logFiles = { log: 'log.jsonl', evaluations: 'evaluations.jsonl', samples: 'samples.jsonl' } as const;

export interface RunLogs {
  /** Adds a line; does nothing where there is no output directory, nor after `close`. */
  readonly write: (file: keyof typeof logFiles, row: Readonly<Record<string, unknown>>) => TaskEither<FatalError, void>;
  /** Makes what was written durable: a checkpoint must not survive a power cut that its log lines do not. */
  readonly sync: () => TaskEither<FatalError, void>;
  /** Drops the lines of steps after `step`. */
  readonly cut: (step: number) => TaskEither<FatalError, void>;
  /** Never rejects: what was written is synced with each checkpoint. */
  readonly close: () => Promise<void>;
}

/** The logs in an output directory. Each is opened when its first line comes. */
export const runLogs = (outputDir: string | undefined): RunLogs => {
  if (outputDir === undefined) {
    const nothing = (): TaskEither<FatalError, void> => TE.right(undefined);
    return { write: nothing, sync: nothing, cut: nothing, close: () => Promise.resolve() };
  }
  const open = new Map<string, Promise<E.Either<FatalError, JsonLog>>>();
  // What a run that was left still had on its way is not to open a file again that nobody would close.
  let isClosed = false;
  const logOf =
    (file: string): TaskEither<FatalError, JsonLog> =>
    () => {
      const opening = open.get(file) ?? openJsonLog(join(outputDir, file))();
      open.set(file, opening);
      return opening;
    };
  return {
    write: (file, row) =>
      isClosed
        ? TE.right(undefined)
        : pipe(
            logOf(logFiles[file]),
            TE.flatMap(({ append }) => append(row)),
          ),
    sync: () =>
      pipe(
        [...open.keys()],
        TE.traverseSeqArray((file) =>
          pipe(
            logOf(file),
            TE.flatMap(({ sync }) => sync()),
          ),
        ),
        TE.map(() => undefined),
      ),
    cut: (step) =>
      pipe(
        Object.values(logFiles),
        TE.traverseSeqArray((file) => truncateLog(join(outputDir, file), step)),
        TE.map(() => undefined),
      ),
    close: async () => {
      isClosed = true;
      for (const opening of open.values()) {
        const log = await opening;
        if (E.isRight(log)) await log.right.close()();
      }
      open.clear();
    },
  };
};

/** Several logs as one: each is given every row, one after another. */
export const allLogs = (logs: ReadonlyArray<RunLogs>): RunLogs => {
  const each = (run: (log: RunLogs) => TaskEither<FatalError, void>): TaskEither<FatalError, void> =>
    pipe(
      logs,
      TE.traverseSeqArray(run),
      TE.map(() => undefined),
    );
  return {
    write: (file, row) => each((log) => log.write(file, row)),
    sync: () => each((log) => log.sync()),
    cut: (step) => each((log) => log.cut(step)),
    close: async () => {
      for (const log of logs) await log.close();
    },
  };
};
