import { stat } from 'node:fs/promises';
import { checked, unreadable } from '../../checked.js';
import { readBytes } from '../files/byteSource.js';
import type { Bytes, ReadOptions } from '../files/byteSource.js';
import { rowsOfFile } from './fileIdentity.js';
import { jsonlRows } from './jsonlRows.js';
import { lineBlocks } from './lineBlocks.js';
import type { LineOptions } from './lineBlocks.js';
import { withBlocks } from './rowBlocks.js';
import type { RowBlock } from './rowBlocks.js';
import type { Chunks, Sourced } from './sourced.js';

/** JSON Lines from bytes; `file` is for messages. */
export async function* jsonlFromBytes(
  file: string,
  bytes: Bytes,
  options: LineOptions = {},
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  for await (const block of lineBlocks(file, bytes, options)) {
    const rows = jsonlRows(file, block);
    if (rows.length > 0) yield rows;
  }
}

/** Bytes of a file that is read as it lies there; undefined where it is unpacked, or no file. */
const sizeOf = async (file: string, { raw = false }: ReadOptions): Promise<number | undefined> => {
  if (!raw && /\.(?:gz|zst)$/i.test(file)) return undefined;
  const found = await stat(file).catch(() => undefined);
  return found?.isFile() === true ? found.size : undefined;
};

async function* unparsed(file: string, options: ReadOptions & LineOptions): AsyncGenerator<RowBlock, void, undefined> {
  const size = await sizeOf(file, options);
  let read = 0;
  for await (const lines of lineBlocks(file, readBytes(file, options), options)) {
    read += lines.bytes.length;
    yield { kind: 'lines', file, lines, ...(size === undefined ? {} : { read: Math.min(1, read / size) }) };
  }
}

/** The lines of a JSON Lines file, unparsed. */
export const jsonlBlocks = (file: string, options: ReadOptions & LineOptions = {}): AsyncIterable<RowBlock> => ({
  [Symbol.asyncIterator]: () => unparsed(file, options),
});

/** A JSON Lines file (or .gz, .zst of one), a chunk of rows at a time. */
export const jsonlChunks = (file: string, options: ReadOptions & LineOptions = {}): Chunks => ({
  [Symbol.asyncIterator]: () => jsonlFromBytes(file, readBytes(file, options), options),
});

/**
 * The rows of a JSON Lines file one by one, each with its line, in memory that does not grow with the file; `.gz` and `.zst` are
 * unpacked. A line that is no JSON comes as an error (`E_INVALID_JSON`), to be refused by `decode`. Each loop reads the file anew.
 */
export const jsonl = checked(
  'jsonl',
  unreadable,
  { 1: { chunkBytes: 'optional', raw: 'optional', maxLineBytes: 'optional' } },
  (file: string, options: ReadOptions & LineOptions = {}): AsyncIterable<Sourced> =>
    withBlocks(rowsOfFile(jsonlChunks(file, options), file, 'jsonl', options), jsonlBlocks(file, options)),
);
