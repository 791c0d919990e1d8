/** Rows prepared before, taken from disk where data, tokenizer, options and code are the same; else prepared, and kept. */
import { rm, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import { warning } from '../../../errors.js';
import type { Warning } from '../../../errors.js';
import { beginFile } from '../../../formats/files/atomicFile.js';
import type { Draft } from '../../../formats/files/atomicFile.js';
import { codeOf, saidBySystem } from '../../../formats/files/byteSource.js';
import { makeDirectory } from '../../../formats/files/makeDirectory.js';
import type { Labelled } from '../../../records.js';
import type { Rejects } from '../../../streams/rejects.js';
import type { Dataset } from '../../run/run.js';
import { refusals } from '../prepare.js';
import type { PrepareConfig, PrepareSetup, PrepareSummary } from '../prepare.js';
import type { Names } from '../rowNames.js';
import { entryPath, makeRoom, preparedDirectory } from './directory.js';
import { entryWriter, openEntry } from './entry.js';
import type { Entry, EntryWriter } from './entry.js';
import { listening, retold } from './happenings.js';
import { keyOf } from './key.js';
import type { Key } from './key.js';

export interface CacheSetup extends Pick<PrepareSetup, 'tokenizer' | 'formattingFunc' | 'names' | 'warn'> {
  readonly rejects: Rejects;
  /** Default: the machine's. */
  readonly clock?: (() => Date) | undefined;
}

export type CacheConfig = PrepareConfig & {
  readonly preparedCache: boolean;
  /** GiB. */
  readonly preparedCacheSize: number;
};

type Deliver = (rows: ReadonlyArray<Labelled>) => Promise<void>;

export interface Outcome {
  readonly summary: PrepareSummary;
  /** They were there already. */
  readonly fromCache: boolean;
}

const namesOf = ({ nameOf }: Names): ReadonlyArray<string> => {
  const names: Array<string> = [];
  for (let name = nameOf(1); name !== undefined; name = nameOf(names.length + 1)) names.push(name);
  return names;
};

const unkept = (message: string, file: string, hint?: string): Warning =>
  warning('W_PREPARED_CACHE', message, { file, ...(hint === undefined ? {} : { hint }) });

/** The entry of a key; undefined where there is none that is whole. A damaged one is removed, saying so. */
const found = async (path: string, warn: (warning: Warning) => void, clock: () => Date): Promise<Entry | undefined> => {
  try {
    const entry = await openEntry(path);
    const now = clock();
    // What was used last is removed last.
    await utimes(path, now, now).catch(() => undefined);
    return entry;
  } catch (error) {
    // Nothing there, or no directory where it would be.
    if (/^(ENOENT|ENOTDIR)$/.test(codeOf(error))) return undefined;
    warn(unkept(`rows prepared before cannot be used and are made anew: ${saidBySystem(error)}`, path));
    await rm(path, { force: true }).catch(() => undefined);
    return undefined;
  }
};

const delivered = async (entry: Entry, setup: CacheSetup, deliver: Deliver): Promise<PrepareSummary> => {
  const { summary, happenings, roles, files } = entry.remains;
  try {
    retold(happenings, { rejects: setup.rejects, warn: (told) => setup.warn?.(told) });
    for (const name of roles) setup.names?.roles.numberOf(name);
    for (const name of files) setup.names?.files.numberOf(name);
    for await (const rows of entry.rows()) await deliver(rows);
  } finally {
    await entry.close();
  }
  return { ...summary, ...refusals(setup.rejects) };
};

/** A file of the cache in the making. Nothing that goes wrong with it stops the run: it is told once, and the file given up. */
const keeper = async (path: string, limit: number, warn: (warning: Warning) => void) => {
  let draft: Draft | undefined;
  let writer: EntryWriter | undefined;
  const giveUp = async (told?: Warning): Promise<void> => {
    if (told !== undefined) warn(told);
    const begun = draft;
    draft = undefined;
    await begun?.discard().catch(() => undefined);
  };
  const attempt = async (act: (writer: EntryWriter, draft: Draft) => Promise<void>): Promise<void> => {
    if (draft === undefined || writer === undefined) return;
    try {
      await act(writer, draft);
    } catch (error) {
      await giveUp(unkept(`prepared rows cannot be kept: ${saidBySystem(error)}`, path));
    }
  };
  try {
    // Who can read the rows can read the data.
    await makeDirectory(dirname(path), 0o700);
    draft = await beginFile(path);
    writer = entryWriter(draft.handle);
  } catch (error) {
    await giveUp(
      unkept(`prepared rows cannot be kept: ${saidBySystem(error)}`, dirname(path), 'preparedCache: false keeps none'),
    );
  }
  const checkSize = async (): Promise<void> => {
    if (draft === undefined || writer === undefined || writer.bytes() <= limit) return;
    await giveUp(unkept('prepared rows take more room than preparedCacheSize and are not kept', path));
  };
  return {
    add: async (rows: ReadonlyArray<Labelled>): Promise<void> => {
      await attempt((to) => to.add(rows));
      await checkSize();
    },
    finish: async (remains: Parameters<EntryWriter['finish']>[0]): Promise<void> => {
      await attempt((to) => to.finish(remains));
      await checkSize();
      await attempt(async (_, begun) => {
        await begun.publish();
        await makeRoom(dirname(path), limit);
      });
    },
    giveUp,
  };
};

const made = async (
  key: Key,
  path: string,
  setup: CacheSetup,
  limit: number,
  deliver: Deliver,
  make: (setup: CacheSetup, deliver: Deliver) => Promise<PrepareSummary>,
): Promise<PrepareSummary> => {
  const warn = (told: Warning): void => setup.warn?.(told);
  const { ears, happenings } = listening({ rejects: setup.rejects, warn });
  const keep = await keeper(path, limit, warn);
  let summary: PrepareSummary;
  try {
    summary = await make({ ...setup, ...ears }, async (rows) => {
      await keep.add(rows);
      await deliver(rows);
    });
  } catch (error) {
    await keep.giveUp();
    throw error;
  }
  const heard = happenings();
  if (summary.rows === 0) await keep.giveUp();
  else if (heard === undefined) {
    await keep.giveUp(unkept('so much was refused or warned of that the prepared rows are not kept', path));
  } else if (!(await key.holds().catch(() => false))) {
    await keep.giveUp(unkept('the data changed while it was read, and its prepared rows are not kept', path));
  } else {
    const { names } = setup;
    await keep.finish({
      summary,
      happenings: heard,
      roles: names === undefined ? [] : namesOf(names.roles),
      files: names === undefined ? [] : namesOf(names.files),
    });
  }
  return summary;
};

/**
 * Delivers a data set's rows, in order and before it resolves: those prepared before where they are there, else those that `make`
 * delivers, which are then kept. Warnings and refusals are told either way, and counted alike. Where the key cannot see everything
 * (see `keyOf`), or `preparedCache` is off, `make` is all there is.
 */
export const throughCache = async (
  dataset: Dataset,
  setup: CacheSetup,
  config: CacheConfig,
  deliver: Deliver,
  make: (setup: CacheSetup, deliver: Deliver) => Promise<PrepareSummary>,
  directory: string = preparedDirectory(process.env),
): Promise<Outcome> => {
  // What cannot be read is told by `make`, which reads it too.
  const key = config.preparedCache ? await keyOf(dataset, setup, config).catch(() => undefined) : undefined;
  if (key === undefined) return { summary: await make(setup, deliver), fromCache: false };
  const path = entryPath(directory, key.hash);
  const entry = await found(path, (told) => setup.warn?.(told), setup.clock ?? (() => new Date()));
  if (entry !== undefined) return { summary: await delivered(entry, setup, deliver), fromCache: true };
  const limit = config.preparedCacheSize * 2 ** 30;
  return { summary: await made(key, path, setup, limit, deliver, make), fromCache: false };
};
