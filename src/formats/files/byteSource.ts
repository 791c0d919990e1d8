/** Bytes of a file, a chunk at a time, unpacked on the way; everything that can go wrong on that level has its typed error here. */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { fatal, isFatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';

export type Bytes = AsyncIterable<Uint8Array>;

/**
 * Text of this many bytes still fits V8's ordinary heap pages when it takes two bytes a character. Larger chunks become large
 * objects and halve the speed of JSON Lines (measured: 48 KiB 137, 64 KiB 134, 96 KiB 52, 256 KiB 57 MB a CPU second).
 */
const defaultChunkBytes = 48 * 1024;

/** The code of a system error, such as ENOENT; '' where it has none. Realms differ in `instanceof`, codes do not. */
export const codeOf = (error: unknown): string =>
  typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' ? error.code : '';

/** What a system error says, without the paths that Node.js puts into it: an error of ours names the place itself. */
export const saidBySystem = (error: unknown): string => {
  if (typeof error !== 'object' || error === null || !('message' in error)) return String(error);
  const pathOf = (key: 'path' | 'dest'): string => (key in error ? ` '${String(Reflect.get(error, key))}'` : '');
  const [from, to] = [pathOf('path'), pathOf('dest')];
  return String(error.message)
    .replace(to === '' ? '' : ` ->${to}`, '')
    .replace(from, '');
};

/** What the operating system said about a file, as a typed error. */
export const fileError = (file: string, error: unknown): FatalError => {
  if (isFatal(error)) return error;
  const code = codeOf(error);
  switch (code) {
    case 'ENOENT':
      return usage('E_NO_FILE', `${file} does not exist`, { file, cause: error });
    case 'EISDIR':
      return usage('E_IS_DIRECTORY', `${file} is a directory`, {
        file,
        cause: error,
        expected: 'a file',
      });
    case 'ENOTDIR':
      return usage('E_NO_FILE', `${file} does not exist: part of its path is a file, not a directory`, {
        file,
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
      return fatal('E_NO_PERMISSION', `${file} must not be accessed (${code})`, { file, cause: error });
    case 'EROFS':
      return fatal('E_NO_PERMISSION', `${file} lies on a read-only file system`, { file, cause: error });
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      // EFBIG: a limit on the size of files (ulimit -f).
      return fatal('E_DISK_FULL', `${file}: there is no space left to write it (${code})`, {
        file,
        cause: error,
        hint: 'make room; what was there before is as it was, and a run goes on from its last checkpoint',
      });
    default:
      return fatal('E_FILE', `${file}: ${saidBySystem(error)}`, { file, cause: error });
  }
};

/** How the bytes of a file are read. */
export interface ReadOptions {
  /** Bytes read at a time; 48 KiB by default. */
  readonly chunkBytes?: number | undefined;
  /** The bytes as they lie there, packed or not; false by default. */
  readonly raw?: boolean | undefined;
}

/** A chunk is only good until the next one is asked for: the buffer is used again. */
async function* plainBytes(handle: FileHandle, chunkBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  const buffer = Buffer.allocUnsafeSlow(chunkBytes);
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, chunkBytes, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

type Compression = 'gzip' | 'zstd';

const truncatedZstd = 'ZSTD_error_srcSize_wrong';

const packedError = (file: string, compression: Compression, error: unknown): FatalError => {
  const code = codeOf(error);
  if (code === 'Z_BUF_ERROR' || code === truncatedZstd) {
    return fatal('E_TRUNCATED_ARCHIVE', `${file} ends in the middle of its ${compression} data`, {
      file,
      cause: error,
      hint: 'copy or download the file again: it is incomplete',
    });
  }
  if (code.startsWith('Z_') || code.startsWith('ZSTD_')) {
    return fatal('E_CORRUPT_ARCHIVE', `${file} holds damaged ${compression} data (${code})`, { file, cause: error });
  }
  return fileError(file, error);
};

/** zlib's least. */
const leastChunk = 64;

/** fzstd's number for data that ends too early. */
const unexpectedEnd = 5;

/**
 * zstd in JavaScript: Node.js 20 has none of its own, and that of later versions says nothing of a file of several
 * frames that was cut in a later one.
 */
async function* zstdBytes(
  handle: FileHandle,
  file: string,
  chunkBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { Decompress } = await import('fzstd');
  let ready: Array<Uint8Array> = [];
  const unpack = new Decompress((chunk) => {
    if (chunk.length > 0) ready.push(chunk);
  });
  const push = (chunk: Uint8Array, final: boolean): void => {
    try {
      unpack.push(chunk, final);
    } catch (error) {
      const code = typeof error === 'object' && error !== null && 'code' in error ? Number(error.code) : 0;
      throw packedError(file, 'zstd', { code: code === unexpectedEnd ? truncatedZstd : `ZSTD_${code}` });
    }
  };
  let any = false;
  for await (const chunk of copies(plainBytes(handle, chunkBytes))) {
    any = true;
    push(chunk, false);
    yield* ready;
    ready = [];
  }
  if (!any) return;
  push(new Uint8Array(0), true);
  yield* ready;
}

async function* gzipBytes(
  handle: FileHandle,
  file: string,
  chunkBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const unpack = createGunzip({ chunkSize: Math.max(leastChunk, chunkBytes) });
  // The reused buffer must not be: zlib keeps a reference to what it was given.
  const packed = Readable.from(copies(plainBytes(handle, chunkBytes)), { highWaterMark: 1 });
  const flowing = pipeline(packed, unpack).catch((error: unknown) => {
    unpack.destroy(packedError(file, 'gzip', error));
  });
  try {
    for await (const chunk of unpack as AsyncIterable<Uint8Array>) yield chunk;
  } catch (error) {
    throw packedError(file, 'gzip', error);
  } finally {
    packed.destroy();
    unpack.destroy();
    await flowing;
  }
}

async function* copies(bytes: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) yield Uint8Array.from(chunk);
}

const compressionOf = (path: string): Compression | undefined =>
  path.endsWith('.gz') ? 'gzip' : path.endsWith('.zst') ? 'zstd' : undefined;

/**
 * The bytes of a file, unpacked when its name ends in .gz or .zst. Throws `FatalError` only. The file is closed when the
 * loop over it ends, however it ends. A chunk may be overwritten when the next one is asked for.
 */
export async function* readBytes(file: string, options: ReadOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
  const { chunkBytes = defaultChunkBytes, raw = false } = options;
  const handle = await open(file, 'r').catch((error: unknown) => {
    throw fileError(file, error);
  });
  try {
    const compression = raw ? undefined : compressionOf(file);
    yield* compression === undefined
      ? plainBytes(handle, chunkBytes)
      : compression === 'zstd'
        ? zstdBytes(handle, file, chunkBytes)
        : gzipBytes(handle, file, chunkBytes);
  } catch (error) {
    throw fileError(file, error);
  } finally {
    await handle.close().catch((error: unknown) => {
      throw fileError(file, error);
    });
  }
}
