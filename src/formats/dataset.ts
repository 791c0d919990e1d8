import { fatal } from '../errors.js';
import type { ReadOptions } from './byteSource.js';
import { csvChunks } from './csv.js';
import type { CsvOptions } from './csv.js';
import { expandPattern } from './glob.js';
import { jsonArrayChunks } from './jsonArray.js';
import type { ElementOptions } from './jsonElements.js';
import { jsonlChunks } from './jsonl.js';
import { parquetChunks } from './parquet.js';
import type { ParquetOptions } from './parquet.js';
import { flattened } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';
import { textFileChunks } from './textFile.js';
import type { TextOptions } from './textFile.js';

export type DatasetFormat = 'jsonl' | 'json' | 'text' | 'csv' | 'tsv' | 'parquet';

export interface DatasetOptions extends ReadOptions, ElementOptions, TextOptions, CsvOptions, ParquetOptions {
  /** How to read the files, whatever they are called. By default the extension tells. */
  readonly format?: DatasetFormat;
}

const extensions: Readonly<Record<string, DatasetFormat>> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  json: 'json',
  txt: 'text',
  text: 'text',
  csv: 'csv',
  tsv: 'tsv',
  parquet: 'parquet',
};

const formatOf = (file: string): DatasetFormat => {
  const [, extension = '', packing = ''] = /\.([^./]*?)(\.(?:gz|zst))?$/.exec(file) ?? [];
  const format = Object.hasOwn(extensions, extension.toLowerCase()) ? extensions[extension.toLowerCase()] : undefined;
  if (format === undefined || (format === 'parquet' && packing !== '')) {
    throw fatal('E_UNKNOWN_FORMAT', `${file}: this kind of file cannot be read as a data set`, {
      file,
      kind: 'usage',
      expected: '.jsonl, .ndjson, .json, .txt, .csv, .tsv (each also .gz or .zst) or .parquet',
      actual: extension === '' ? 'no extension' : `.${extension}${packing}`,
    });
  }
  return format;
};

const chunksOf = (file: string, options: DatasetOptions): Chunks => {
  const format = options.format ?? formatOf(file);
  switch (format) {
    case 'jsonl':
      return jsonlChunks(file, options);
    case 'json':
      return jsonArrayChunks(file, options);
    case 'text':
      return textFileChunks(file, options);
    case 'csv':
      return csvChunks(file, options);
    case 'tsv':
      return csvChunks(file, { delimiter: '\t', ...options });
    case 'parquet':
      return parquetChunks(file, options);
  }
};

async function* filesInTurn(
  patterns: ReadonlyArray<string>,
  options: DatasetOptions,
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  const files: Array<string> = [];
  for (const pattern of patterns) files.push(...(await expandPattern(pattern)));
  // Every name is judged before any file is read.
  const all = files.map((file) => chunksOf(file, options));
  for (const chunks of all) yield* chunks;
}

/**
 * The rows of one or more data files, a chunk (an array of rows) at a time, in the order given. Each path may be a pattern
 * (see `expandPattern`). Rows that cannot be read come as errors with their place; a file that cannot be read at all ends
 * the iteration with a `FatalError`. Each loop over the result reads the files anew.
 */
export const openDatasetChunks = (path: string | ReadonlyArray<string>, options: DatasetOptions = {}): Chunks => {
  const patterns = typeof path === 'string' ? [path] : path;
  return { [Symbol.asyncIterator]: () => filesInTurn(patterns, options) };
};

/** The rows of one or more data files one by one: see `openDatasetChunks`. */
export const openDataset = (
  path: string | ReadonlyArray<string>,
  options: DatasetOptions = {},
): AsyncIterable<Sourced> => flattened(openDatasetChunks(path, options));
