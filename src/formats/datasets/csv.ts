import type { Options } from 'csv-parse/sync';
import { dataError, fatal, fatalFromData } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { codeOf, readBytes } from '../files/byteSource.js';
import type { Bytes, ReadOptions } from '../files/byteSource.js';
import { bufferOver, invalidUtf8At, notUtf8 } from '../files/utf8.js';
import { rowsOfFile } from './fileIdentity.js';
import { withoutByteOrderMark } from './lineBlocks.js';
import type { LineOptions } from './lineBlocks.js';
import { sourced, sourcedError } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';
import { counted } from '../counted.js';

/** How a CSV file is read. Its first row names the columns. */
export interface CsvOptions extends LineOptions {
  /** What stands between two cells. Default `,`; of a .tsv file a tab. */
  readonly delimiter?: string | undefined;
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
    let isTooLong = false;
    for (let at = 0; at < chunk.length && !isTooLong; at++) {
      const byte = chunk[at];
      // A doubled quote inside quotes leaves and enters again: counting parity is enough.
      if (byte === quote) quoted = !quoted;
      else if (byte === lineFeed) {
        linesSeen++;
        if (quoted) continue;
        // A row that ends here is measured as one that does not end yet: what is refused must not depend on where chunks end.
        isTooLong = at - cut - 1 + (cut === -1 ? carriedBytes : 0) > maxLineBytes;
        if (isTooLong) continue;
        cut = at;
        linesAtCut = linesSeen;
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

/** csv-parse's complaints in plain words: its own speak of options that nobody sets here. */
const complaints: Readonly<Record<string, string>> = {
  CSV_INVALID_CLOSING_QUOTE: 'a cell goes on behind its closing quote',
  INVALID_OPENING_QUOTE: 'a quote stands in a cell that does not begin with one',
  CSV_QUOTE_NOT_CLOSED: 'a quote is never closed',
};

/** What else parts the cells of a header that is one cell. */
const otherDelimiter = (header: ReadonlyArray<string> | undefined, delimiter: string): string | undefined =>
  header?.length === 1 ? [';', '\t', '|', ','].find((one) => one !== delimiter && header[0]?.includes(one)) : undefined;

const csvError = (
  file: string,
  line: number,
  error: unknown,
  header: ReadonlyArray<string> | undefined,
  delimiter: string,
): FatalError => {
  const said =
    typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
  // csv-parse counts lines from where it began to read.
  const what = complaints[codeOf(error)] ?? said.replace(/ at line \d+/, '');
  const other = otherDelimiter(header, delimiter);
  return fatal('E_CSV', `${file}:${line}: not CSV: ${what}`, {
    file,
    line,
    cause: error,
    hint:
      other === undefined
        ? 'a cell with a quote in it stands in quotes, and its own quotes are doubled: "5"" pipe"'
        : `${JSON.stringify(other)} seems to part the cells: convert the file, or in code openDataset(file, { delimiter: ${JSON.stringify(other)} })`,
  });
};

interface Parsed {
  readonly record: ReadonlyArray<string>;
  /** Bytes of the block up to the end of the row. */
  readonly end: number;
}

/** The rows of a block up to its end, or up to the first that is broken. */
interface ParsedBlock {
  readonly rows: ReadonlyArray<Parsed>;
  /** Given the line of the broken row, and the names of the columns where they have been read. */
  readonly failure: ((line: number, header: ReadonlyArray<string> | undefined) => FatalError) | undefined;
}

/** What is in front of the row that holds byte `at`: a block begins outside quotes. */
const rowsBefore = (bytes: Uint8Array, at: number): Uint8Array => {
  let cut = 0;
  let quoted = false;
  for (let i = 0; i < at; i++) {
    if (bytes[i] === quote) quoted = !quoted;
    else if (bytes[i] === lineFeed && !quoted) cut = i + 1;
  }
  return bytes.subarray(0, cut);
};

/** `E_NOT_UTF8` for byte `at` of a row that starts on `line`, told by the line within the row that holds it. */
const badByte = (file: string, line: number, row: Uint8Array, at: number): FatalError => {
  const start = row.lastIndexOf(lineFeed, at) + 1;
  const linesBefore = row.subarray(0, start).filter((byte) => byte === lineFeed).length;
  return fatalFromData(notUtf8(row.subarray(start), { file, line: line + linesBefore }));
};

const parseBlock = (
  parse: (text: string, options: Options) => unknown,
  file: string,
  bytes: Uint8Array,
  delimiter: string,
): ParsedBlock => {
  const at = invalidUtf8At(bytes);
  // One bad byte may hide a quote: from its row on, rows cannot be told apart with certainty, and the file is refused.
  const whole = at === -1 ? bytes : rowsBefore(bytes, at);
  const rows: Array<Parsed> = [];
  try {
    parse(bufferOver(whole).toString('utf8'), {
      delimiter,
      record_delimiter: ['\r\n', '\n'],
      relax_column_count: true,
      skip_empty_lines: true,
      // Rows in front of a broken one are kept: what is told first must not depend on where chunks end.
      on_record: (record: ReadonlyArray<string>, { bytes: end }) => {
        rows.push({ record, end });
        return undefined;
      },
    });
  } catch (error) {
    return { rows, failure: (line, header) => csvError(file, line, error, header, delimiter) };
  }
  return {
    rows,
    failure: at === -1 ? undefined : (line) => badByte(file, line, bytes.subarray(whole.length), at - whole.length),
  };
};

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
    const parsed = parseBlock(parse, file, block.bytes, options.delimiter ?? ',');
    const rows: Array<Sourced> = [];
    const starts = lineStarts(block.bytes, block.firstLine);
    for (const { record, end } of parsed.rows) {
      const line = starts.next(end);
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
                expected: `${counted(header.length, 'column')} (${header.join(', ')})`,
                actual: `${record.length}`,
              }),
            ),
      );
    }
    if (rows.length > 0) yield rows;
    if (parsed.failure !== undefined) throw parsed.failure(starts.next(0), header);
  }
}

/** A CSV file (or .gz, .zst of one) with a header row, a chunk of rows at a time. Every cell is a string. */
export const csvChunks = (file: string, options: ReadOptions & CsvOptions = {}): Chunks => ({
  [Symbol.asyncIterator]: () => csvFromBytes(file, readBytes(file, options), options),
});

/** The rows of a CSV file one by one. */
export const csv = (file: string, options: ReadOptions & CsvOptions = {}): AsyncIterable<Sourced> =>
  rowsOfFile(csvChunks(file, options), file, 'csv', options);
