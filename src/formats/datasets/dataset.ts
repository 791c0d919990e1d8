import { stat } from 'node:fs/promises';
import { isLeft } from 'fp-ts/lib/Either.js';
import { checked, unreadable } from '../../checked.js';
import { usage } from '../../errors.js';
import type { ReadOptions } from '../files/byteSource.js';
import { isDirectory } from '../files/directory.js';
import { expandPattern } from '../files/glob.js';
import { folderFiles, hubFiles, namedSet } from '../hub/dataset.js';
import type { DataFile, NamedSet } from '../hub/dataset.js';
import type { DatasetChoice } from '../hub/datasetFiles.js';
import { hubSettings, hubSettingNames } from '../hub/settings.js';
import type { HubSettings } from '../hub/settings.js';
import { identified } from '../identity.js';
import { arrowChunks } from './arrow.js';
import { csvChunks } from './csv.js';
import type { CsvOptions } from './csv.js';
import { filesIdentity } from './fileIdentity.js';
import type { NamedFile } from './fileIdentity.js';
import { jsonArrayChunks } from './jsonArray.js';
import type { ElementOptions } from './jsonElements.js';
import { jsonlBlocks, jsonlChunks } from './jsonl.js';
import { parquetChunks } from './parquet.js';
import type { ParquetOptions } from './parquet.js';
import { findFile, lookedFor } from './presence.js';
import { withBlocks } from './rowBlocks.js';
import type { RowBlock } from './rowBlocks.js';
import { flattened } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';
import { textFileChunks } from './textFile.js';
import type { TextOptions } from './textFile.js';

/** What a data file holds; by default its extension tells. */
export type DatasetFormat = 'jsonl' | 'json' | 'text' | 'csv' | 'tsv' | 'parquet' | 'arrow';

/** How data files are found and read. */
export interface DatasetOptions
  extends ReadOptions,
    ElementOptions,
    TextOptions,
    CsvOptions,
    ParquetOptions,
    DatasetChoice {
  /** How to read the files, whatever they are called. By default the extension tells. */
  readonly format?: DatasetFormat | undefined;
  /** In place of what the environment says about the Hub. */
  readonly hub?: Partial<HubSettings> | undefined;
  /** Told which folder or commit a name stands for. */
  readonly onLocated?: ((told: string) => void) | undefined;
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
  arrow: 'arrow',
};

const formatOf = (file: string): DatasetFormat => {
  const [, extension = '', packing = ''] = /\.([^./]*?)(\.(?:gz|zst))?$/.exec(file) ?? [];
  const format = Object.hasOwn(extensions, extension.toLowerCase()) ? extensions[extension.toLowerCase()] : undefined;
  if (format === undefined || ((format === 'parquet' || format === 'arrow') && packing !== '')) {
    throw usage('E_UNKNOWN_FORMAT', `${file}: this kind of file cannot be read as a data set`, {
      file,
      expected: '.jsonl, .ndjson, .json, .txt, .csv, .tsv (each also .gz or .zst), .parquet or .arrow',
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
      return csvChunks(file, { ...options, delimiter: options.delimiter ?? '\t' });
    case 'parquet':
      return parquetChunks(file, options);
    case 'arrow':
      return arrowChunks(file, options);
  }
};

/** The same, what can be parsed elsewhere unparsed. */
async function* blocksOfFile(file: string, options: DatasetOptions): AsyncGenerator<RowBlock, void, undefined> {
  if ((options.format ?? formatOf(file)) === 'jsonl') yield* jsonlBlocks(file, options);
  else for await (const rows of chunksOf(file, options)) yield { kind: 'rows', rows };
}

const here = (path: string): DataFile => ({ name: path, isHere: true, open: () => Promise.resolve(path) });

/** What a name on the Hub stood for when it was asked. */
interface NamedFiles {
  readonly files: ReadonlyArray<DataFile>;
  /** What is to be told of it. */
  readonly told: ReadonlyArray<string>;
}

/** The files that a path, pattern, folder or name stands for. */
type Finder = (pattern: string, options: DatasetOptions) => Promise<ReadonlyArray<DataFile>>;

const onHub = async (named: NamedSet, options: DatasetOptions): Promise<NamedFiles> => {
  const told: Array<string> = [];
  const settings = hubSettings(process.env, options.hub);
  return { files: await hubFiles(named, options, settings, (text) => void told.push(text)), told };
};

/** Asks the Hub once for each name, so that all that reads a data set reads the same commit; what failed is asked for again. */
const makeFinder = (): Finder => {
  const known = new Map<string, Promise<NamedFiles>>();
  const once = (pattern: string, named: NamedSet, options: DatasetOptions): Promise<NamedFiles> => {
    const asked = known.get(pattern) ?? onHub(named, options);
    known.set(pattern, asked);
    asked.catch(() => known.delete(pattern));
    return asked;
  };
  return (pattern, options) => filesOf(pattern, options, once);
};

const filesOf = async (
  pattern: string,
  options: DatasetOptions,
  once: (pattern: string, named: NamedSet, options: DatasetOptions) => Promise<NamedFiles>,
): Promise<ReadonlyArray<DataFile>> => {
  if (await isDirectory(pattern)) {
    options.onLocated?.(`the directory ${pattern}`);
    return (await folderFiles(pattern, options)).map(here);
  }
  const isThere = await stat(pattern).then(
    () => true,
    () => false,
  );
  const named = isThere ? undefined : namedSet(pattern);
  if (named === undefined) return (await expandPattern(pattern)).map(here);
  if (isLeft(named)) throw named.left;
  const { files, told } = await once(pattern, named.right, options);
  for (const text of told) options.onLocated?.(text);
  return files;
};

/** Every name is judged before any file is read. */
const allFiles = async (
  find: Finder,
  patterns: ReadonlyArray<string>,
  options: DatasetOptions,
): Promise<ReadonlyArray<DataFile>> => {
  const files: Array<DataFile> = [];
  for (const pattern of patterns) files.push(...(await find(pattern, options)));
  if (options.format === undefined) for (const { name } of files) formatOf(name);
  return files;
};

async function* filesInTurn<A>(
  find: Finder,
  patterns: ReadonlyArray<string>,
  options: DatasetOptions,
  read: (file: string, options: DatasetOptions) => AsyncIterable<A>,
): AsyncGenerator<A, void, undefined> {
  for (const file of await allFiles(find, patterns, options)) yield* read(await file.open(), options);
}

/** Files of the Hub are found by their names alone, and downloaded when they are read. */
const lookFor = async (find: Finder, patterns: ReadonlyArray<string>, options: DatasetOptions): Promise<void> => {
  for (const { name, isHere } of await allFiles(find, patterns, options)) if (isHere) await findFile(name);
};

/** The files with the paths at which they lie, those of the Hub downloaded. */
const located = async (
  find: Finder,
  patterns: ReadonlyArray<string>,
  options: DatasetOptions,
): Promise<ReadonlyArray<NamedFile>> => {
  const files: Array<NamedFile> = [];
  for (const pattern of patterns) {
    for (const { name, open } of await find(pattern, options)) files.push({ name, path: await open() });
  }
  return files;
};

const patternsOf = (path: string | ReadonlyArray<string>): ReadonlyArray<string> =>
  typeof path === 'string' ? [path] : path;

const chunksFound = (find: Finder, patterns: ReadonlyArray<string>, options: DatasetOptions): Chunks => ({
  [Symbol.asyncIterator]: () => filesInTurn(find, patterns, options, chunksOf),
});

/**
 * The rows of one or more data files, a chunk (an array of rows) at a time, in the order given. Each path may be a pattern
 * (see `expandPattern`), a folder (its files of `split`), or, where nothing here has that name, a data set on the Hub:
 * `owner/name[@revision][:config[:split]]` or `hf://datasets/owner/name[@revision]/pattern`. Rows that cannot be read come as
 * errors with their place; a file that cannot be read at all ends the iteration with a `FatalError`. Each loop over the result
 * reads the files anew, those of the Hub at the commit that the first loop found; they are downloaded when their turn comes, and stay
 * in its cache.
 */
export const openDatasetChunks = (path: string | ReadonlyArray<string>, options: DatasetOptions = {}): Chunks =>
  chunksFound(makeFinder(), patternsOf(path), options);

/**
 * The rows of one or more data files one by one, in the order given, each with its place, for `decode` to unpack. Each path may be a
 * file, a pattern (`data/*.jsonl`, `**` goes into folders), a folder (its files of `split`), or, where nothing here has that name, a
 * data set on the Hub: `owner/name[@revision][:config[:split]]` or `hf://datasets/owner/name[@revision]/pattern`. Rows that cannot be
 * read come as errors with their place, to be refused by `decode`; a file that cannot be read at all ends the iteration with a
 * `FatalError` (`E_NO_FILE`, `E_UNKNOWN_FORMAT`, E_HUB_…). Each loop reads the files anew.
 */
export const openDataset = checked(
  'openDataset',
  unreadable,
  {
    1: {
      format: 'optional',
      hub: hubSettingNames,
      onLocated: 'optional',
      chunkBytes: 'optional',
      raw: 'optional',
      maxElementBytes: 'optional',
      rowsAre: 'optional',
      keepEmptyLines: 'optional',
      maxLineBytes: 'optional',
      delimiter: 'optional',
      columns: 'optional',
      config: 'optional',
      split: 'optional',
    },
  },
  (path: string | ReadonlyArray<string>, options: DatasetOptions = {}): AsyncIterable<Sourced> => {
    let before = false;
    const find = makeFinder();
    const patterns = patternsOf(path);
    const rows = lookedFor(
      withBlocks(flattened(chunksFound(find, patterns, options)), {
        [Symbol.asyncIterator]: () => filesInTurn(find, patterns, options, blocksOfFile),
      }),
      () => lookFor(find, patterns, { ...options, onLocated: undefined }),
    );
    return identified(rows, async () => {
      const { hub, onLocated, ...reading } = options;
      // What a name stands for is told once.
      const found = { ...options, onLocated: before ? undefined : onLocated };
      before = true;
      return await filesIdentity(() => located(find, patterns, found), 'dataset', reading)();
    });
  },
);
