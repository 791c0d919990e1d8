/** The run's log rows, evaluations and answers as TensorBoard's event files, under the tags that transformers gives them. */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { writeFully } from '../../formats/files/atomicFile.js';
import { saidBySystem } from '../../formats/files/byteSource.js';
import { makeDirectory } from '../../formats/files/makeDirectory.js';
import { eventRecord } from '../../formats/tfEvents.js';
import type { TfEvent } from '../../formats/tfEvents.js';
import type { RunLogs } from './log.js';

type Row = Readonly<Record<string, unknown>>;

/** `eval_loss` is shown as `eval/loss`, everything else under `train/`. */
const tagOf = (name: string): string => (name.startsWith('eval_') ? `eval/${name.slice(5)}` : `train/${name}`);

/** Numbers of a row; of an evaluation only its own, because the log's row has the rest. */
const scalarsOf = (row: Row, isShown: (name: string) => boolean): Readonly<Record<string, number>> =>
  Object.fromEntries(
    Object.entries(row).flatMap(
      ([name, value]): Array<[string, number]> =>
        isShown(name) && typeof value === 'number' ? [[tagOf(name), value]] : [],
    ),
  );

/** As Markdown shows it letter by letter. */
const quoted = (value: unknown): string =>
  String(value)
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n');

const textsOf = (row: Row): Readonly<Record<string, string>> => {
  const set = typeof row['name'] === 'string' ? `${row['name']}/` : '';
  const shown = ['prompt', 'text', 'expected'].map((name) => `**${name}**\n\n${quoted(row[name])}`).join('\n\n');
  return { [`samples/${set}row ${String(row['row'])}`]: shown };
};

export interface TensorBoardOptions {
  /** Where the event file is made. */
  readonly dir: string;
  /** Milliseconds since 1970. Default: the system's clock. */
  readonly now?: () => number;
}

/** A log that writes `events.out.tfevents.…`, made when its first row comes. A resumed run goes on in a file of its own. */
export const tensorBoardLog = ({ dir, now = () => Date.now() }: TensorBoardOptions): RunLogs => {
  let file: Promise<FileHandle> | undefined;
  let resumedAt = 0;
  let isClosed = false;
  const opened = async (): Promise<FileHandle> => {
    await makeDirectory(dir);
    const stamp = String(Math.floor(now() / 1000)).padStart(10, '0');
    const handle = await open(
      join(dir, `events.out.tfevents.${stamp}.rxtune.${process.pid}.${Math.floor(now())}`),
      'a',
    );
    try {
      await writeFully(handle, eventRecord({ wallTime: now() / 1000, fileVersion: 'brain.Event:2' }));
      if (resumedAt > 0) {
        await writeFully(handle, eventRecord({ wallTime: now() / 1000, step: resumedAt + 1, restarts: true }));
      }
      return handle;
    } catch (cause) {
      await handle.close();
      throw cause;
    }
  };
  const failed = (cause: unknown): FatalError =>
    fatal('E_LOG_WRITE', `TensorBoard's events cannot be written: ${saidBySystem(cause)}`, {
      file: dir,
      cause,
    });
  const append = (event: Omit<TfEvent, 'wallTime'>): TaskEither<FatalError, void> =>
    TE.tryCatch(async () => {
      if (isClosed) return;
      file ??= opened();
      await writeFully(await file, eventRecord({ wallTime: now() / 1000, ...event }));
    }, failed);
  return {
    write: (kind, row) => {
      const step = typeof row['step'] === 'number' ? row['step'] : 0;
      return append(
        kind === 'samples'
          ? { step, texts: textsOf(row) }
          : { step, scalars: scalarsOf(row, (name) => (kind === 'log' ? name !== 'step' : name.startsWith('eval_'))) },
      );
    },
    sync: () => (file === undefined ? TE.right(undefined) : TE.tryCatch(async () => (await file)?.sync(), failed)),
    cut: (step) => {
      resumedAt = step;
      return TE.right(undefined);
    },
    close: async () => {
      isClosed = true;
      const handle = await file?.catch(() => undefined);
      file = undefined;
      await handle?.close().catch(() => undefined);
    },
  };
};
