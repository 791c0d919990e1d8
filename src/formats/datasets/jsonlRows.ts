/** Lines of JSON → rows, each with its place. */
import { dataError } from '../../errors.js';
import type { DataError } from '../../errors.js';
import { notUtf8, strictUtf8 } from '../files/utf8.js';
import { excerptAt, jsonFault } from '../json/jsonFault.js';
import { mayLoseNumbers, parseJsonExactly } from '../json/writtenNumbers.js';
import { linesOfBlock } from './lineBlocks.js';
import type { LineBlock } from './lineBlocks.js';
import type { RowBlock } from './rowBlocks.js';
import { sourced, sourcedError } from './sourced.js';
import type { Sourced } from './sourced.js';

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

/** `exact`: the text may hold numbers that JSON.parse alone would lose. */
const parsed = (file: string, line: number, text: string, rows: Array<Sourced>, exact = true): void => {
  let value: unknown;
  try {
    value = exact ? parseJsonExactly(text) : JSON.parse(text);
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
    // One look at the block is cheaper than one at each line.
    const exact = mayLoseNumbers(text);
    let line = firstLine;
    for (const one of text.split('\n')) {
      if (one !== '' && one !== '\r') parsed(file, line, one, rows, exact);
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
