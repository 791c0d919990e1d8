/** A tensor of a file that is read when it is wanted, whatever the format of the file. */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { ErrorCode, FatalError } from '../../errors.js';
import { fileError } from '../files/byteSource.js';
import { bytesOfDtype } from './safetensorsHeader.js';
import type { Dtype } from './safetensorsHeader.js';
import { isNumeric, toFloat32 } from './tensorData.js';
import { discard, transientBytes } from './transient.js';

/** A tensor on disk. Reading opens the file anew and closes it: nothing is held open in between. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: Dtype;
  /** Sizes of its axes; empty for a single number. */
  readonly shape: ReadonlyArray<number>;
  /** Of its data. */
  readonly byteLength: number;
  /** The file it lies in. */
  readonly file: string;
  /**
   * Row-major values as float32, whatever the dtype; `E_TENSOR_DTYPE` for complex and 8-bit floats. They are the caller's, who may
   * `discard` them.
   */
  readonly read: () => TaskEither<FatalError, Float32Array>;
  /** The bytes, row-major and little-endian, in memory that `allocate` gives (default: an array of their own). */
  readonly readBytes: (allocate?: (bytes: number) => Uint8Array<ArrayBuffer>) => TaskEither<FatalError, Uint8Array>;
  /** Values from number `from` on, in row-major order, as a tensor of its own. */
  readonly part: (what: {
    readonly name: string;
    readonly shape: ReadonlyArray<number>;
    readonly from: number;
  }) => StoredTensor;
}

/** The tensors of one or more files, by name, and the texts that the files keep beside them. */
export interface StoredTensors {
  /** By name. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** `__metadata__` of safetensors; empty for others. */
  readonly metadata: Readonly<Record<string, string>>;
}

export type Allocate = (bytes: number) => Uint8Array<ArrayBuffer>;

const fresh: Allocate = (bytes) => new Uint8Array(bytes);

/** No system reads 2 GiB or more in one call. */
const mostAtOnce = 1 << 30;

/** Memory for so many bytes; `E_TENSOR_TOO_LARGE` instead of what the engine throws. */
export const allocated = (file: string, length: number, allocate: Allocate): Uint8Array<ArrayBuffer> => {
  try {
    return allocate(length);
  } catch (cause) {
    throw fatal('E_TENSOR_TOO_LARGE', `${file}: ${length} bytes at once are more than this Node.js can hold`, {
      file,
      cause,
    });
  }
};

/** Bytes [start, start + length) of a file that was long enough when it was opened; `truncated` if it no longer is. */
export const readFully = async (
  handle: FileHandle,
  file: string,
  { start, length, truncated }: { readonly start: number; readonly length: number; readonly truncated: ErrorCode },
  allocate: Allocate = fresh,
): Promise<Uint8Array<ArrayBuffer>> => {
  const bytes = allocated(file, length, allocate);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(mostAtOnce, length - done), start + done);
    if (bytesRead === 0) throw fatal(truncated, `${file} has become shorter while it was read`, { file });
    done += bytesRead;
  }
  return bytes;
};

export const withFile = <A>(file: string, use: (handle: FileHandle) => Promise<A>): TaskEither<FatalError, A> =>
  TE.tryCatch(
    async () => {
      const handle = await open(file, 'r');
      try {
        return await use(handle);
      } finally {
        await handle.close();
      }
    },
    (error) => fileError(file, error),
  );

/** Which of a tensor's bytes. */
export interface ByteRange {
  readonly start: number;
  readonly length: number;
}

/** `readInto` gives bytes of the tensor, which are row-major and little-endian, in memory that it asks for. */
export const storedTensor = (
  what: Pick<StoredTensor, 'name' | 'dtype' | 'shape' | 'byteLength' | 'file'>,
  readInto: (handle: FileHandle, range: ByteRange, allocate: Allocate) => Promise<Uint8Array>,
): StoredTensor => {
  const { name, dtype, shape, byteLength, file } = what;
  const bytesIn = (allocate: Allocate): TaskEither<FatalError, Uint8Array> =>
    withFile(file, (handle) => readInto(handle, { start: 0, length: byteLength }, allocate));
  return {
    name,
    dtype,
    shape,
    byteLength,
    file,
    readBytes: (allocate = fresh) => bytesIn(allocate),
    part: ({ from, ...own }) => {
      const length = own.shape.reduce((product, dimension) => product * dimension, bytesOfDtype[dtype]);
      const first = from * bytesOfDtype[dtype];
      return storedTensor({ ...own, dtype, byteLength: length, file }, (handle, range, allocate) =>
        readInto(handle, { start: first + range.start, length: range.length }, allocate),
      );
    },
    read: () =>
      isNumeric(dtype)
        ? TE.map((bytes: Uint8Array) => {
            const values = toFloat32(dtype, bytes, transientBytes);
            if (values.buffer !== bytes.buffer) discard(bytes);
            return values;
          })(bytesIn(transientBytes))
        : TE.left(
            fatal('E_TENSOR_DTYPE', `${file}: tensor "${name}" is ${dtype}, which cannot be read as numbers`, {
              file,
              field: name,
            }),
          ),
  };
};
