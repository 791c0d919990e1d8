import { open } from 'node:fs/promises';
import type { FileMetaData, SchemaTree } from 'hyparquet';
import type { FileHandle } from 'node:fs/promises';
import { fatal, isFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { fileError } from '../files/byteSource.js';
import { rowsOfFile } from './fileIdentity.js';
import { plainValue } from './plainValue.js';
import { sourced } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';

/** How a Parquet or Arrow file is read. */
export interface ParquetOptions {
  /** The columns to read; all by default. */
  readonly columns?: ReadonlyArray<string> | undefined;
}

const parquetError = (file: string, error: unknown): FatalError =>
  fatal(
    'E_PARQUET',
    `${file} cannot be read as Parquet: ${typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error)}`,
    { file, cause: error },
  );

/** Reads at a position, and never past the end, whatever the file's own footer claims. */
const sliceOf = async (handle: FileHandle, size: number, start: number, end: number): Promise<ArrayBuffer> => {
  if (start < 0 || end > size || end < start) {
    throw new RangeError(`its footer points at bytes ${start}-${end} of ${size}`);
  }
  const bytes = new Uint8Array(end - start);
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done);
    if (bytesRead === 0) throw new RangeError(`the file ends at byte ${start + done}`);
    done += bytesRead;
  }
  return bytes.buffer;
};

/**
 * What is wrong with the columns that a footer lists. hyparquet starts to read them before it finds that one is not in the schema, or is
 * there twice, and nobody would hear of it when the others fail.
 */
const columnFault = ({ children }: SchemaTree, { row_groups: groups }: FileMetaData): string | undefined => {
  const leaves = new Set<string>();
  const collect = (nodes: ReadonlyArray<SchemaTree>): void => {
    for (const node of nodes) {
      if (node.children.length === 0) leaves.add(JSON.stringify(node.path));
      else collect(node.children);
    }
  };
  collect(children);
  for (const { columns } of groups) {
    const seen = new Set<string>();
    for (const { meta_data: column } of columns) {
      const path = JSON.stringify(column?.path_in_schema ?? []);
      if (!leaves.has(path)) return `its footer lists a column ${path} that is not in its schema`;
      if (seen.has(path)) return `its footer lists the column ${path} twice`;
      seen.add(path);
    }
  }
  return undefined;
};

async function* parquetRows(
  file: string,
  { columns }: ParquetOptions,
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  const [{ parquetMetadataAsync, parquetReadObjects, parquetSchema }, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ]);
  const handle = await open(file, 'r').catch((error: unknown) => {
    throw fileError(file, error);
  });
  try {
    const { size } = await handle.stat();
    const bytes = {
      byteLength: size,
      slice: (start: number, end = size) => sliceOf(handle, size, start < 0 ? size + start : start, end),
    };
    const metadata = await parquetMetadataAsync(bytes);
    const fault = columnFault(parquetSchema(metadata), metadata);
    if (fault !== undefined) throw new RangeError(fault);
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const rows = await parquetReadObjects({
        file: bytes,
        metadata,
        compressors,
        rowStart,
        rowEnd,
        ...(columns === undefined ? {} : { columns: [...columns] }),
      });
      const first = rowStart + 1;
      yield rows.map((row, i) => sourced(file, first + i, plainValue(row)));
      rowStart = rowEnd;
    }
  } catch (error) {
    throw isFatal(error) ? error : parquetError(file, error);
  } finally {
    await handle.close();
  }
}

/** A Parquet file, a row group at a time (that much is in memory at once). `line` is the row's number. */
export const parquetChunks = (file: string, options: ParquetOptions = {}): Chunks => ({
  [Symbol.asyncIterator]: () => parquetRows(file, options),
});

/** The rows of a Parquet file one by one. */
export const parquet = (file: string, options: ParquetOptions = {}): AsyncIterable<Sourced> =>
  rowsOfFile(parquetChunks(file, options), file, 'parquet', options);
