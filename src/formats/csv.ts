import type { Info } from 'csv-parse/sync';
import { dataError, fatal, fatalFromData } from '../errors.js';
import type { FatalError } from '../errors.js';
import { readBytes } from './byteSource.js';
import type { Bytes, ReadOptions } from './byteSource.js';
import { rowsOfFile } from './fileIdentity.js';
import { withoutByteOrderMark } from './lineBlocks.js';
import type { LineOptions } from './lineBlocks.js';
import { sourced, sourcedError } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';
import { notUtf8, strictUtf8 } from './utf8.js';

export interface CsvOptions extends LineOptions {
  /** `,` by default. */
  readonly delimiter?: string;
}

const quote = 0x22;
const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const defaultMaxRecordBytes = 256 * 1024 * 1024;

interface RecordBlock {
  readonly firstLine: number;
  readonly bytes: Uint8Array;
}

/** Whole records end to end: cut at the last line feed of a chunk that stands outside quotes. */
async function* recordBlocks(
  file: string,
  bytes: Bytes,
  { maxLineBytes = defaultMaxRecordBytes }: LineOptions,
): AsyncGenerator<RecordBlock, void, undefined> {
  let firstLine = 1;
  let carried: Array<Uint8Array> = [];
  let carriedBytes = 0;
  let linesSeen = 0;
  let quoted = false;
  for await (const chunk of withoutByteOrderMark(file, bytes)) {
    let cut = -1;
    let linesAtCut = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at];
      // A doubled quote inside quotes leaves and enters again: counting parity is enough.
      if (byte === quote) quoted = !quoted;
      else if (byte === lineFeed) {
        linesSeen++;
        if (!quoted) {
          cut = at;
          linesAtCut = linesSeen;
        }
      }
    }
    if (cut !== -1) {
      yield { firstLine, bytes: Buffer.concat([...carried, chunk.subarray(0, cut + 1)]) };
      firstLine += linesAtCut;
      linesSeen -= linesAtCut;
      carried = [];
      carriedBytes = 0;
    }
    const rest = chunk.subarray(cut + 1);
    carried.push(Uint8Array.from(rest));
    carriedBytes += rest.length;
    if (carriedBytes > maxLineBytes) {
      throw fatal('E_LINE_TOO_LONG', `${file}:${firstLine}: the row is longer than ${maxLineBytes} bytes`, {
        file,
        line: firstLine,
        hint: 'is there a quote that is never closed?',
      });
    }
  }
  if (carriedBytes > 0) yield { firstLine, bytes: Buffer.concat(carried) };
}

const csvError = (file: string, { firstLine, bytes }: RecordBlock, error: unknown): FatalError => {
  // Bytes up to the end of the last good row.
  const read = typeof error === 'object' && error !== null && 'bytes' in error ? Number(error.bytes) : 0;
  const starts = lineStarts(bytes, firstLine);
  starts.next(read);
  const line = starts.next(read);
  const said =
    typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
  return fatal('E_CSV', `${file}:${line}: not CSV: ${said}`, { file, line, cause: error });
};

interface Parsed {
  readonly record: ReadonlyArray<string>;
  readonly info: Info;
}

/** Lines and rows are counted here: csv-parse takes a CRLF within quotes for two lines. */
const lineStarts = (bytes: Uint8Array, firstLine: number) => {
  let at = 0;
  let line = firstLine;
  const goTo = (end: number): void => {
    for (; at < end; at++) if (bytes[at] === lineFeed) line++;
  };
  return {
    /** The line of the next row that is not blank; the row ends at byte `end`. */
    next: (end: number): number => {
      while (bytes[at] === lineFeed || (bytes[at] === carriageReturn && bytes[at + 1] === lineFeed)) goTo(at + 1);
      const start = line;
      goTo(end);
      return start;
    },
  };
};

const checkedHeader = (file: string, line: number, header: ReadonlyArray<string>): ReadonlyArray<string> => {
  const twice = header.find((name, i) => header.indexOf(name) !== i);
  if (twice !== undefined) {
    throw fatal('E_CSV_HEADER', `${file}:${line}: the column "${twice}" is there twice`, { file, line, field: twice });
  }
  return header;
};

/** The rows of CSV bytes as records of strings, named by the first row; `file` is for messages. */
export async function* csvFromBytes(
  file: string,
  bytes: Bytes,
  options: CsvOptions = {},
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  const { parse } = await import('csv-parse/sync');
  let header: ReadonlyArray<string> | undefined;
  for await (const block of recordBlocks(file, bytes, options)) {
    const text = strictUtf8(block.bytes);
    // One bad byte may hide a quote, so rows cannot be told apart with certainty: the file is refused.
    if (text === undefined) throw fatalFromData(notUtf8(block.bytes, { file, line: block.firstLine }));
    let records: ReadonlyArray<Parsed>;
    try {
      records = parse(text, {
        delimiter: options.delimiter ?? ',',
        record_delimiter: ['\r\n', '\n'],
        relax_column_count: true,
        skip_empty_lines: true,
        info: true,
        // The declared type does not know what `info` does.
      }) as unknown as ReadonlyArray<Parsed>;
    } catch (error) {
      throw csvError(file, block, error);
    }
    const rows: Array<Sourced> = [];
    const starts = lineStarts(block.bytes, block.firstLine);
    for (const { record, info } of records) {
      const line = starts.next(info.bytes);
      if (header === undefined) {
        header = checkedHeader(file, line, record);
        continue;
      }
      rows.push(
        record.length === header.length
          ? sourced(file, line, Object.fromEntries(header.map((name, i) => [name, record[i] ?? ''])))
          : sourcedError(
              file,
              line,
              dataError('E_CSV_COLUMNS', 'the row has another number of columns than the header', {
                file,
                line,
                expected: `${header.length} columns (${header.join(', ')})`,
                actual: `${record.length}`,
              }),
            ),
      );
    }
    if (rows.length > 0) yield rows;
  }
}

/** A CSV file (or .gz, .zst of one) with a header row, a chunk of rows at a time. Every cell is a string. */
export const csvChunks = (file: string, options: ReadOptions & CsvOptions = {}): Chunks => ({
  [Symbol.asyncIterator]: () => csvFromBytes(file, readBytes(file, options), options),
});

/** The rows of a CSV file one by one. */
export const csv = (file: string, options: ReadOptions & CsvOptions = {}): AsyncIterable<Sourced> =>
  rowsOfFile(csvChunks(file, options), file, 'csv', options);
