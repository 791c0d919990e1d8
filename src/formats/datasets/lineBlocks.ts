import { fatal } from '../../errors.js';
import type { Bytes } from '../files/byteSource.js';

/** Whole lines, end to end: the last line feed is left off, a carriage return before a line feed is not. */
export interface LineBlock {
  /** 1-based number of the first line. */
  readonly firstLine: number;
  readonly bytes: Uint8Array;
}

/** How lines are read. */
export interface LineOptions {
  /** A line longer than this ends the run (`E_LINE_TOO_LONG`): no bound on memory holds without it. 256 MiB by default. */
  readonly maxLineBytes?: number | undefined;
}

export const defaultMaxLineBytes = 256 * 1024 * 1024;
const lineFeed = 0x0a;

const countLineFeeds = (bytes: Uint8Array): number => {
  let count = 0;
  for (let at = bytes.indexOf(lineFeed); at !== -1; at = bytes.indexOf(lineFeed, at + 1)) count++;
  return count;
};

const startsWith = (bytes: Uint8Array, ...prefix: ReadonlyArray<number>): boolean =>
  prefix.every((byte, i) => bytes[i] === byte);

/** The bytes without a UTF-8 byte-order mark in front; UTF-16 is refused (`E_UTF16`), as every line of it would be noise. */
export async function* withoutByteOrderMark(file: string, bytes: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
  let head: Uint8Array | undefined = new Uint8Array(0);
  for await (const chunk of bytes) {
    if (head === undefined) {
      yield chunk;
      continue;
    }
    head = Buffer.concat([head, chunk]);
    if (head.length < 3) continue;
    yield checkedHead(file, head);
    head = undefined;
  }
  if (head !== undefined && head.length > 0) yield checkedHead(file, head);
}

const checkedHead = (file: string, head: Uint8Array): Uint8Array => {
  if (startsWith(head, 0xff, 0xfe) || startsWith(head, 0xfe, 0xff)) {
    throw fatal('E_UTF16', `${file} is UTF-16`, {
      file,
      expected: 'UTF-8',
      hint: `convert it: iconv -f UTF-16 -t UTF-8 ${file}`,
    });
  }
  return startsWith(head, 0xef, 0xbb, 0xbf) ? head.subarray(3) : head;
};

/**
 * Cuts bytes at line feeds, and nowhere else: U+2028, U+0085 or a lone carriage return are characters of a line. The lines do
 * not depend on where chunks end. A last line without line feed counts; nothing after the last line feed is no line.
 */
export async function* lineBlocks(
  file: string,
  bytes: Bytes,
  { maxLineBytes = defaultMaxLineBytes }: LineOptions = {},
): AsyncGenerator<LineBlock, void, undefined> {
  let firstLine = 1;
  let carried: Array<Uint8Array> = [];
  let carriedBytes = 0;
  for await (const chunk of withoutByteOrderMark(file, bytes)) {
    const end = chunk.lastIndexOf(lineFeed);
    if (end !== -1) {
      const block = Buffer.concat([...carried, chunk.subarray(0, end)]);
      yield { firstLine, bytes: block };
      firstLine += countLineFeeds(block) + 1;
      carried = [];
      carriedBytes = 0;
    }
    const rest = chunk.subarray(end + 1);
    if (rest.length === 0) continue;
    carried.push(Uint8Array.from(rest));
    carriedBytes += rest.length;
    if (carriedBytes > maxLineBytes) {
      throw fatal('E_LINE_TOO_LONG', `${file}:${firstLine}: the line is longer than ${maxLineBytes} bytes`, {
        file,
        line: firstLine,
        hint: 'is this a JSON array or a binary file under a wrong name?',
      });
    }
  }
  if (carriedBytes > 0) yield { firstLine, bytes: Buffer.concat(carried) };
}

/** The lines of a block as bytes, without line feeds. */
export const linesOfBlock = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  const lines: Array<Uint8Array> = [];
  let start = 0;
  for (let at = bytes.indexOf(lineFeed); at !== -1; at = bytes.indexOf(lineFeed, start)) {
    lines.push(bytes.subarray(start, at));
    start = at + 1;
  }
  lines.push(bytes.subarray(start));
  return lines;
};
