import { checked, unreadable } from '../../checked.js';
import { fatal } from '../../errors.js';
import { readBytes } from '../files/byteSource.js';
import type { Bytes, ReadOptions } from '../files/byteSource.js';
import { notUtf8, strictUtf8 } from '../files/utf8.js';
import { parseJsonExactly } from '../json/writtenNumbers.js';
import { rowsOfFile } from './fileIdentity.js';
import { jsonElements } from './jsonElements.js';
import type { ElementBytes, ElementOptions, Layout } from './jsonElements.js';
import { jsonlFromBytes } from './jsonl.js';
import { invalidJson } from './jsonlRows.js';
import { withoutByteOrderMark } from './lineBlocks.js';
import type { LineOptions } from './lineBlocks.js';
import { sourced, sourcedError } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';

const row = (file: string, { line, bytes }: ElementBytes): Sourced => {
  const text = strictUtf8(bytes);
  if (text === undefined) return sourcedError(file, line, notUtf8(bytes, { file, line }));
  try {
    return sourced(file, line, parseJsonExactly(text));
  } catch {
    return sourcedError(file, line, invalidJson(text, file, line));
  }
};

/** The rows of a JSON array, or of JSON values end to end; `file` is for messages. */
export async function* jsonRowsFromBytes(
  file: string,
  bytes: Bytes,
  layout: Layout,
  options: ElementOptions = {},
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  for await (const elements of jsonElements(file, withoutByteOrderMark(file, bytes), layout, options)) {
    yield elements.map((element) => row(file, element));
  }
}

/** Keys under which people wrap a list of rows. */
const wrappers = [
  'data',
  'rows',
  'train',
  'examples',
  'instances',
  'dataset',
  'items',
  'samples',
  'test',
  'validation',
];

const wrapperOf = (value: unknown): string | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? wrappers.find((key) => Object.hasOwn(value, key) && Array.isArray(Reflect.get(value, key)))
    : undefined;

/** Refuses a file that is one object around a list; a row that merely has such a column passes when another row follows. */
async function* refusingWrapper(
  file: string,
  chunks: AsyncIterable<ReadonlyArray<Sourced>>,
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  let held: ReadonlyArray<Sourced> | undefined;
  let key: string | undefined;
  let first = true;
  for await (const chunk of chunks) {
    if (held !== undefined) {
      yield held;
      held = undefined;
    }
    const [only] = chunk;
    key = first && chunk.length === 1 && only !== undefined && 'value' in only ? wrapperOf(only.value) : undefined;
    first = false;
    if (key === undefined) yield chunk;
    else held = chunk;
  }
  if (held !== undefined && key !== undefined) {
    throw fatal('E_JSON_OBJECT', `${file} is one JSON object around a list of rows`, {
      file,
      field: key,
      expected: 'a list of rows, [{…}, …], or one row a line',
      actual: `{"${key}": […]}`,
      hint: `take the list out, for instance: jq -c '.${key}[]' ${file} > rows.jsonl`,
    });
  }
}

/** How much of a file is looked at to tell whether its first line is a row of its own. */
const longestFirstLine = 64 * 1024 * 1024;

interface Peeked {
  readonly layout: Layout | 'lines' | 'empty';
  /** The whole stream again, what was looked at included. */
  readonly bytes: Bytes;
}

async function* resumed(
  seen: ReadonlyArray<Uint8Array>,
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* seen;
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

const parses = (bytes: Uint8Array): boolean => {
  const text = strictUtf8(bytes);
  if (text === undefined) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

const isBlank = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);

/** A .json file holds a list, rows line by line (many tools write JSON Lines under that name), or pretty-printed rows. */
const peek = async (file: string, bytes: Bytes): Promise<Peeked> => {
  const source = bytes[Symbol.asyncIterator]();
  const seen: Array<Uint8Array> = [];
  let seenBytes = 0;
  /** What the file begins with, blanks left out. */
  let opening: number | undefined;
  const again = (layout: Peeked['layout']): Peeked => ({ layout, bytes: resumed(seen, source) });
  const refused = async (actual: string): Promise<never> => {
    await source.return?.();
    throw fatal('E_JSON_TOP_LEVEL', `${file} is no JSON data set`, {
      file,
      expected: 'a list of rows, [{…}, …], or one row a line',
      actual,
    });
  };
  for (;;) {
    const next = await source.next();
    if (next.done === true) return again(opening === undefined ? 'empty' : 'values');
    const chunk = Uint8Array.from(next.value);
    seen.push(chunk);
    seenBytes += chunk.length;
    let from = 0;
    if (opening === undefined) {
      const first = chunk.findIndex((byte) => !isBlank(byte));
      if (first === -1) {
        if (seenBytes > longestFirstLine) await refused(`${seenBytes} bytes of blanks`);
        continue;
      }
      opening = chunk[first] ?? 0;
      if (opening === 0x5b) return again('array');
      if (opening !== 0x7b) await refused(`a file that begins with ${JSON.stringify(String.fromCharCode(opening))}`);
      from = first;
    }
    const lineEnd = chunk.indexOf(0x0a, from);
    if (lineEnd !== -1) {
      const firstLine = Buffer.concat([...seen.slice(0, -1), chunk.subarray(0, lineEnd)]);
      return again(parses(firstLine) ? 'lines' : 'values');
    }
    if (seenBytes > longestFirstLine) return again('values');
  }
};

async function* jsonFromBytes(
  file: string,
  bytes: Bytes,
  options: ElementOptions & LineOptions,
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  const { layout, bytes: all } = await peek(file, withoutByteOrderMark(file, bytes));
  switch (layout) {
    case 'array':
      yield* jsonRowsFromBytes(file, all, 'array', options);
      return;
    case 'lines':
      yield* refusingWrapper(file, jsonlFromBytes(file, all, options));
      return;
    case 'values':
      yield* refusingWrapper(file, jsonRowsFromBytes(file, all, 'values', options));
      return;
    case 'empty':
      // Read to the end, so that the file is closed.
      for await (const _chunk of all);
  }
}

/**
 * A .json file (or .gz, .zst of one), a chunk of rows at a time: a list of rows, cut element by element in bounded memory, or
 * rows one after the other. `{"data": […]}` is refused with a hint (`E_JSON_OBJECT`).
 */
export const jsonArrayChunks = (file: string, options: ReadOptions & ElementOptions & LineOptions = {}): Chunks => ({
  [Symbol.asyncIterator]: () => jsonFromBytes(file, readBytes(file, options), options),
});

/**
 * The rows of a .json file one by one, each with its line, in memory that does not grow with the file: of a list `[{…}, …]`, of values
 * end to end, or one a line; `.gz` and `.zst` are unpacked. `E_JSON_TOP_LEVEL` for a file that holds anything else.
 */
export const jsonArray = checked(
  'jsonArray',
  unreadable,
  { 1: { chunkBytes: 'optional', raw: 'optional', maxElementBytes: 'optional', maxLineBytes: 'optional' } },
  (file: string, options: ReadOptions & ElementOptions & LineOptions = {}): AsyncIterable<Sourced> =>
    rowsOfFile(jsonArrayChunks(file, options), file, 'json', options),
);
