import { stat } from 'node:fs/promises';
import { dataError } from '../errors.js';
import type { DataError } from '../errors.js';
import { readBytes } from './byteSource.js';
import type { Bytes, ReadOptions } from './byteSource.js';
import { rowsOfFile } from './fileIdentity.js';
import { excerptAt, jsonFault } from './jsonFault.js';
import { lineBlocks, linesOfBlock } from './lineBlocks.js';
import type { LineBlock, LineOptions } from './lineBlocks.js';
import { withBlocks } from './rowBlocks.js';
import type { RowBlock } from './rowBlocks.js';
import { sourced, sourcedError } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';
import { notUtf8, strictUtf8 } from './utf8.js';

/** `E_INVALID_JSON`: what is wrong with the text, and in which column. */
export const invalidJson = (text: string, file: string, line: number): DataError => {
  const { position, message, truncated } = jsonFault(text) ?? { position: 0, message: 'not JSON', truncated: false };
  const list = line === 1 && text.trimStart().startsWith('[');
  const hint = list
    ? 'a list of rows over several lines is a .json file, not .jsonl'
    : truncated
      ? 'the row is cut off: was the file copied or written to its end?'
      : undefined;
  return dataError('E_INVALID_JSON', `not JSON: ${message} (column ${position + 1})`, {
    file,
    line,
    expected: 'one JSON value a line',
    actual: excerptAt(text, position),
    ...(hint === undefined ? {} : { hint }),
  });
};

const parsed = (file: string, line: number, text: string, rows: Array<Sourced>): void => {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    if (text.trim() !== '') rows.push(sourcedError(file, line, invalidJson(text, file, line)));
    return;
  }
  rows.push(sourced(file, line, value));
};

/** The rows of a block of lines; blank lines are none. A line that is not JSON, or not UTF-8, gives a row that is an error. */
export const jsonlRows = (file: string, { firstLine, bytes }: LineBlock): ReadonlyArray<Sourced> => {
  const rows: Array<Sourced> = [];
  const text = strictUtf8(bytes);
  if (text !== undefined) {
    let line = firstLine;
    for (const one of text.split('\n')) {
      if (one !== '' && one !== '\r') parsed(file, line, one, rows);
      line++;
    }
    return rows;
  }
  linesOfBlock(bytes).forEach((one, i) => {
    const line = firstLine + i;
    const readable = strictUtf8(one);
    if (readable === undefined) rows.push(sourcedError(file, line, notUtf8(one, { file, line })));
    else if (readable !== '') parsed(file, line, readable, rows);
  });
  return rows;
};

/** The rows of a block, parsed where that was still to do. */
export const rowsOfBlock = (block: RowBlock): ReadonlyArray<unknown> =>
  block.kind === 'rows' ? block.rows : jsonlRows(block.file, block.lines);

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

/** A JSON Lines file, row by row, in memory that does not grow with the file. */
export const jsonl = (file: string, options: ReadOptions & LineOptions = {}): AsyncIterable<Sourced> =>
  withBlocks(rowsOfFile(jsonlChunks(file, options), file, 'jsonl', options), jsonlBlocks(file, options));
