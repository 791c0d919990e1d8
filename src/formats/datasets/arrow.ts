/** Arrow IPC files (the stream that `datasets` writes, and the file format), a record batch at a time. */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { fatal, isFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { fileError } from '../files/byteSource.js';
import { rowsOfFile } from './fileIdentity.js';
import type { ParquetOptions } from './parquet.js';
import { plainValue } from './plainValue.js';
import { sourced } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';

/** What is used of @uwdata/flechette, which is loaded with the first Arrow file. */
interface Flechette {
  readonly tableFromIPC: (
    messages: ReadonlyArray<Uint8Array>,
    options: { readonly useBigInt: boolean; readonly useDate: boolean },
  ) => { readonly toArray: () => ReadonlyArray<Readonly<Record<string, unknown>>> };
  readonly setCompressionCodec: (type: number, codec: { readonly decode: (bytes: Uint8Array) => Uint8Array }) => void;
}

const packageName = '@uwdata/flechette';
/** Number of Zstandard in Arrow's Message.fbs. */
const zstd = 1;

const loadFlechette = async (): Promise<Flechette> => {
  const [flechette, { decompress }] = await Promise.all([import(packageName) as Promise<Flechette>, import('fzstd')]);
  // Copied, so that numbers lie at addresses that typed arrays accept.
  flechette.setCompressionCodec(zstd, { decode: (bytes) => Uint8Array.from(decompress(bytes)) });
  return flechette;
};

const arrowError = (file: string, error: unknown): FatalError => {
  const message = error instanceof Error ? error.message : String(error);
  return fatal('E_ARROW', `${file} cannot be read as Arrow: ${message}`, {
    file,
    cause: error,
    ...(message.includes('LZ4') ? { hint: 'write it without LZ4 compression' } : {}),
  });
};

/** Headers of messages, as numbered in Message.fbs. */
const header = { schema: 1, dictionaryBatch: 2, recordBatch: 3 } as const;

interface Message {
  readonly kind: number;
  /** The message as it lies there: length, metadata, body. */
  readonly bytes: Uint8Array;
}

/** Field `index` of the table that a FlatBuffer holds; undefined when it is left out. */
const fieldAt = (view: DataView, index: number): number | undefined => {
  const table = view.getUint32(0, true);
  const offsets = table - view.getInt32(table, true);
  const at = 4 + 2 * index;
  const offset = at < view.getUint16(offsets, true) ? view.getUint16(offsets + at, true) : 0;
  return offset === 0 ? undefined : table + offset;
};

/** Metadata beyond this is no metadata: the file is damaged. */
const maxMetadata = 256 * 1024 * 1024;

const reading =
  (handle: FileHandle, size: number) =>
  async (at: number, length: number): Promise<Uint8Array> => {
    if (at + length > size) throw new RangeError(`it ends at byte ${size}, in the middle of a message`);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await handle.read(bytes, done, length - done, at + done);
      if (bytesRead === 0) throw new RangeError(`it ends at byte ${at + done}`);
      done += bytesRead;
    }
    return bytes;
  };

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const continuation = 0xffff_ffff;

/** The messages of the stream that begins at `start`. */
async function* messages(handle: FileHandle, size: number, start: number): AsyncGenerator<Message, void, undefined> {
  const read = reading(handle, size);
  for (let at = start; at < size; ) {
    const first = viewOf(await read(at, 4)).getUint32(0, true);
    // Before Arrow 0.15 the length came at once.
    const prefix = first === continuation ? 8 : 4;
    const length = first === continuation ? viewOf(await read(at + 4, 4)).getInt32(0, true) : first;
    if (length === 0) return;
    if (length < 8 || length > maxMetadata) throw new RangeError(`a message of ${length} bytes at byte ${at}`);
    const metadata = viewOf(await read(at + prefix, length));
    const kindAt = fieldAt(metadata, 1);
    const bodyAt = fieldAt(metadata, 3);
    const body = bodyAt === undefined ? 0 : Number(metadata.getBigInt64(bodyAt, true));
    if (body < 0) throw new RangeError(`a body of ${body} bytes at byte ${at}`);
    const whole = prefix + length + body;
    yield { kind: kindAt === undefined ? 0 : metadata.getUint8(kindAt), bytes: await read(at, whole) };
    at += whole;
  }
}

const magic = 'ARROW1';

const isFileFormat = async (handle: FileHandle, size: number): Promise<boolean> =>
  size >= 8 && Buffer.from(await reading(handle, size)(0, magic.length)).toString('latin1') === magic;

const chosen = (row: Readonly<Record<string, unknown>>, columns: ReadonlyArray<string> | undefined): unknown =>
  plainValue(columns === undefined ? row : Object.fromEntries(columns.map((name) => [name, row[name]])));

async function* arrowRows(
  file: string,
  { columns }: ParquetOptions,
): AsyncGenerator<ReadonlyArray<Sourced>, void, undefined> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    throw fileError(file, error);
  });
  try {
    const { size } = await handle.stat();
    const { tableFromIPC } = await loadFlechette();
    /** Schema and dictionaries: what a record batch is read with. */
    const before: Array<Uint8Array> = [];
    let line = 1;
    for await (const { kind, bytes } of messages(handle, size, (await isFileFormat(handle, size)) ? 8 : 0)) {
      if (kind !== header.recordBatch) {
        if (before.length === 0 && kind !== header.schema) throw new TypeError('it does not begin with a schema');
        before.push(bytes);
        continue;
      }
      if (before.length === 0) throw new TypeError('it does not begin with a schema');
      const rows = tableFromIPC([...before, bytes], { useBigInt: true, useDate: true }).toArray();
      const first = line;
      line += rows.length;
      if (rows.length > 0) yield rows.map((row, i) => sourced(file, first + i, chosen(row, columns)));
    }
    if (before.length === 0) throw new TypeError('it holds no schema');
  } catch (error) {
    throw isFatal(error) ? error : arrowError(file, error);
  } finally {
    await handle.close();
  }
}

/** An Arrow file, a record batch at a time (that much is in memory at once). `line` is the row's number. */
export const arrowChunks = (file: string, options: ParquetOptions = {}): Chunks => ({
  [Symbol.asyncIterator]: () => arrowRows(file, options),
});

/** The rows of an Arrow file one by one. */
export const arrow = (file: string, options: ParquetOptions = {}): AsyncIterable<Sourced> =>
  rowsOfFile(arrowChunks(file, options), file, 'arrow', options);
