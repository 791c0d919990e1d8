/** Writers of JSON Lines: a whole file at once, or a log that grows. */
import { open } from 'node:fs/promises';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { writeFileAtomically, writeFully } from '../files/atomicFile.js';
import { fileError } from '../files/byteSource.js';

/** Written at a time. */
const blockCharacters = 256 * 1024;

const lineOf = (value: unknown): string => {
  // JSON.stringify gives undefined for undefined and functions, whatever its type says.
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw fatal('E_NOT_JSON', 'a row is undefined, which JSON has no word for');
  return `${text}\n`;
};

/** Writes one value a line, whole or not at all: a failing source leaves no file. Resolves to the number of lines. */
export const writeJsonLines = (
  file: string,
  values: AsyncIterable<unknown> | Iterable<unknown>,
): TaskEither<FatalError, number> => {
  let count = 0;
  return TE.map(() => count)(
    writeFileAtomically(file, async (handle) => {
      count = 0;
      let block = '';
      for await (const value of values) {
        block += lineOf(value);
        count++;
        if (block.length < blockCharacters) continue;
        await writeFully(handle, new TextEncoder().encode(block));
        block = '';
      }
      if (block !== '') await writeFully(handle, new TextEncoder().encode(block));
    }),
  );
};

/** A log that lines are added to, each with one write: a crash can cut no more than the last line, and a disk that fails none. */
export interface JsonLog {
  readonly append: (value: unknown) => TaskEither<FatalError, void>;
  /** Makes the lines so far survive a power cut. */
  readonly sync: () => TaskEither<FatalError, void>;
  readonly close: () => TaskEither<FatalError, void>;
}

/** Opens a log; lines go after those that are there. A last line that an earlier crash has cut is ended first. */
export const openJsonLog = (file: string): TaskEither<FatalError, JsonLog> =>
  TE.tryCatch(
    async () => {
      const handle = await open(file, 'a+');
      let whole: number;
      try {
        const { size } = await handle.stat();
        const last = new Uint8Array(1);
        if (size > 0) await handle.read(last, 0, 1, size - 1);
        const isCut = size > 0 && last[0] !== 0x0a;
        if (isCut) await writeFully(handle, Uint8Array.of(0x0a));
        whole = size + Number(isCut);
      } catch (error) {
        await handle.close();
        throw error;
      }
      const wrong = (error: unknown): FatalError => fileError(file, error);
      /** A line of which a full disk took a part is taken out again; not so where others have written to the file since. */
      const add = async (line: Uint8Array): Promise<void> => {
        try {
          await writeFully(handle, line);
          whole += line.length;
        } catch (error) {
          const size = await handle.stat().then(
            (found) => found.size,
            () => whole,
          );
          if (size > whole && size < whole + line.length) await handle.truncate(whole).catch(() => undefined);
          throw error;
        }
      };
      return {
        append: (value) => TE.tryCatch(() => add(new TextEncoder().encode(lineOf(value))), wrong),
        sync: () => TE.tryCatch(() => handle.sync(), wrong),
        close: () => TE.tryCatch(() => handle.close(), wrong),
      };
    },
    (error) => fileError(file, error),
  );
