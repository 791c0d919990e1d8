import { isUtf8 } from 'node:buffer';
import { checked, unreadable } from '../../checked.js';
import { fatal, fatalFromData } from '../../errors.js';
import { readBytes } from '../files/byteSource.js';
import type { Bytes, ReadOptions } from '../files/byteSource.js';
import { bufferOver, notUtf8, strictUtf8 } from '../files/utf8.js';
import { rowsOfFile } from './fileIdentity.js';
import { defaultMaxLineBytes, lineBlocks, linesOfBlock, withoutByteOrderMark } from './lineBlocks.js';
import type { LineOptions } from './lineBlocks.js';
import { sourced, sourcedError } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';

/** How a plain text file becomes rows. */
export interface TextOptions extends LineOptions {
  /** `line` (default): a row a line; `file`: the whole file is one row. */
  readonly rowsAre?: 'line' | 'file' | undefined;
  /** Keep empty lines as rows of empty text; false by default, since such a row teaches nothing. */
  readonly keepEmptyLines?: boolean | undefined;
}

const carriageReturn = 0x0d;

const withoutReturn = (line: Uint8Array): Uint8Array =>
  line[line.length - 1] === carriageReturn ? line.subarray(0, -1) : line;

/** Rows `{ text }` from the bytes of a plain text file; `file` is for messages. */
export async function* textFromBytes(
  file: string,
  bytes: Bytes,
  options: TextOptions = {},
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  if (options.rowsAre === 'file') {
    const pieces: Array<Uint8Array> = [];
    const { maxLineBytes = defaultMaxLineBytes } = options;
    let size = 0;
    for await (const chunk of withoutByteOrderMark(file, bytes)) {
      size += chunk.length;
      if (size > maxLineBytes) {
        throw fatal('E_LINE_TOO_LONG', `${file}: as one row it is longer than ${maxLineBytes} bytes`, {
          file,
          hint: "rowsAre: 'line' reads it line by line",
        });
      }
      pieces.push(Uint8Array.from(chunk));
    }
    const whole = Buffer.concat(pieces);
    if (whole.length === 0) return;
    const text = strictUtf8(whole);
    if (text === undefined) throw fatalFromData(notUtf8(whole, { file }));
    yield [sourced(file, 1, { text })];
    return;
  }
  for await (const { firstLine, bytes: block } of lineBlocks(file, bytes, options)) {
    const valid = isUtf8(block);
    const rows: Array<Sourced> = [];
    linesOfBlock(block).forEach((raw, i) => {
      const line = withoutReturn(raw);
      if (line.length === 0 && options.keepEmptyLines !== true) return;
      // Decoded line by line: a slice of the block's text would keep the whole block alive for as long as the row lives.
      const text = valid ? bufferOver(line).toString('utf8') : strictUtf8(line);
      const at = firstLine + i;
      rows.push(
        text === undefined ? sourcedError(file, at, notUtf8(line, { file, line: at })) : sourced(file, at, { text }),
      );
    });
    if (rows.length > 0) yield rows;
  }
}

/** A plain text file (or .gz, .zst of one), a chunk of rows `{ text }` at a time. */
export const textFileChunks = (file: string, options: ReadOptions & TextOptions = {}): Chunks => ({
  [Symbol.asyncIterator]: () => textFromBytes(file, readBytes(file, options), options),
});

/** The rows `{ text }` of a plain text file one by one, each with its line: a row a line, or the file as one row. */
export const textFile = checked(
  'textFile',
  unreadable,
  {
    1: {
      chunkBytes: 'optional',
      raw: 'optional',
      rowsAre: 'optional',
      keepEmptyLines: 'optional',
      maxLineBytes: 'optional',
    },
  },
  (file: string, options: ReadOptions & TextOptions = {}): AsyncIterable<Sourced> =>
    rowsOfFile(textFileChunks(file, options), file, 'text', options),
);
