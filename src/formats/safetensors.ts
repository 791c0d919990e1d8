/** Tensors in safetensors files (https://huggingface.co/docs/safetensors), read one at a time, written in a stream. */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../errors.js';
import type { FatalError } from '../errors.js';
import { writeFileAtomically, writeFully } from './atomicFile.js';
import { fileError } from './byteSource.js';
import { bytesOfDtype, decodeHeader, encodeHeader, headerLength, lengthBytes } from './safetensorsHeader.js';
import type { Dtype, HeaderEntry, TensorInfo } from './safetensorsHeader.js';
import { fromFloat32, isNumeric, toFloat32 } from './tensorData.js';
import { discard, transientBytes } from './transient.js';

export type { Dtype } from './safetensorsHeader.js';

/** A tensor on disk. Reading opens the file anew and closes it: nothing is held open in between. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: ReadonlyArray<number>;
  readonly byteLength: number;
  readonly file: string;
  /**
   * Row-major values as float32, whatever the dtype; `E_TENSOR_DTYPE` for complex and 8-bit floats. They are the caller's, who may
   * `discard` them.
   */
  readonly read: () => TaskEither<FatalError, Float32Array>;
  /** The bytes as they are, little-endian. */
  readonly readBytes: () => TaskEither<FatalError, Uint8Array>;
}

export interface StoredTensors {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const orThrow = <A>(result: E.Either<FatalError, A>): A => {
  if (E.isLeft(result)) throw result.left;
  return result.right;
};

/** No system reads 2 GiB or more in one call. */
const mostAtOnce = 1 << 30;

const readFully = async (
  handle: FileHandle,
  file: string,
  start: number,
  length: number,
  allocate = (bytes: number): Uint8Array<ArrayBuffer> => new Uint8Array(bytes),
): Promise<Uint8Array> => {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = allocate(length);
  } catch (cause) {
    throw fatal('E_TENSOR_TOO_LARGE', `${file}: ${length} bytes at once are more than this Node.js can hold`, {
      file,
      cause,
    });
  }
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(mostAtOnce, length - done), start + done);
    if (bytesRead === 0) {
      throw fatal('E_SAFETENSORS_TRUNCATED', `${file} has become shorter while it was read`, { file });
    }
    done += bytesRead;
  }
  return bytes;
};

const withFile = <A>(file: string, use: (handle: FileHandle) => Promise<A>): TaskEither<FatalError, A> =>
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

const storedTensor = (file: string, name: string, { dtype, shape, start, end }: TensorInfo): StoredTensor => {
  const readInto = (allocate?: (bytes: number) => Uint8Array<ArrayBuffer>): TaskEither<FatalError, Uint8Array> =>
    withFile(file, (handle) => readFully(handle, file, start, end - start, allocate));
  return {
    name,
    dtype,
    shape,
    byteLength: end - start,
    file,
    readBytes: () => readInto(),
    read: () =>
      isNumeric(dtype)
        ? TE.map((bytes: Uint8Array) => {
            const values = toFloat32(dtype, bytes, transientBytes);
            if (values.buffer !== bytes.buffer) discard(bytes);
            return values;
          })(readInto(transientBytes))
        : TE.left(
            fatal('E_TENSOR_DTYPE', `${file}: tensor "${name}" is ${dtype}, which cannot be read as numbers`, {
              file,
              field: name,
            }),
          ),
  };
};

/** What a safetensors file holds. Only the header is read, and checked whole: see `decodeHeader` for what is refused. */
export const readSafetensors = (file: string): TaskEither<FatalError, StoredTensors> =>
  withFile(file, async (handle) => {
    const { size } = await handle.stat();
    const first = await readFully(handle, file, 0, Math.min(size, lengthBytes));
    const length = orThrow(headerLength(file, size, first));
    const { tensors, metadata } = orThrow(decodeHeader(file, size, await readFully(handle, file, lengthBytes, length)));
    return {
      tensors: new Map(Array.from(tensors, ([name, info]) => [name, storedTensor(file, name, info)])),
      metadata,
    };
  });

/** Float32 values for any float dtype, or the tensor's own little-endian bytes. */
export type TensorData = Float32Array | Uint8Array;

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: ReadonlyArray<number>;
  /** Called when its turn comes, so that only one tensor needs to be in memory. */
  readonly data: TensorData | (() => TensorData | Promise<TensorData>);
}

export const byteLengthOf = ({ dtype, shape }: Pick<TensorToWrite, 'dtype' | 'shape'>): number =>
  shape.reduce((product, dimension) => product * dimension, bytesOfDtype[dtype]);

const dtypeOrder = Object.keys(bytesOfDtype);

/** Wide dtypes first, then by name: the reference implementation's order, which keeps every tensor aligned. */
const inFileOrder = (tensors: ReadonlyArray<TensorToWrite>): ReadonlyArray<TensorToWrite> =>
  tensors.toSorted(
    (a, b) =>
      dtypeOrder.indexOf(b.dtype) - dtypeOrder.indexOf(a.dtype) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );

const layOut = (
  file: string,
  tensors: ReadonlyArray<TensorToWrite>,
): E.Either<FatalError, ReadonlyArray<HeaderEntry>> => {
  const entries: Array<HeaderEntry> = [];
  const names = new Set<string>();
  let begin = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    if (names.has(name) || name === '__metadata__') {
      return E.left(fatal('E_TENSOR_NAME', `${file}: two tensors cannot be called "${name}"`, { file, field: name }));
    }
    names.add(name);
    const end = begin + byteLengthOf(tensor);
    if (!Number.isSafeInteger(end) || shape.some((dimension) => !Number.isSafeInteger(dimension) || dimension < 0)) {
      return E.left(
        fatal('E_TENSOR_SHAPE', `${file}: tensor "${name}" has no valid shape`, {
          file,
          field: name,
          actual: JSON.stringify(shape),
        }),
      );
    }
    entries.push({ name, dtype, shape, begin, end });
    begin = end;
  }
  return E.right(entries);
};

/** Float32 and byte arrays are told apart by their element size: other realms' arrays fail `instanceof`. */
const isFloats = (data: TensorData): data is Float32Array => data.BYTES_PER_ELEMENT === 4;

/** Bytes of float32 data converted at a time, so that a large tensor is not doubled in memory. */
const blockElements = 1 << 20;

const writeTensor = async (handle: FileHandle, file: string, tensor: TensorToWrite): Promise<void> => {
  const { name, dtype } = tensor;
  const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
  const expected = byteLengthOf(tensor);
  const given = isFloats(data) ? data.length * bytesOfDtype[dtype] : data.length;
  if (given !== expected) {
    throw fatal('E_TENSOR_SIZE', `${file}: tensor "${name}" has data of another size than its shape`, {
      file,
      field: name,
      expected: `${expected} bytes for ${dtype} ${JSON.stringify(tensor.shape)}`,
      actual: `${given} bytes`,
    });
  }
  if (!isFloats(data)) {
    await writeFully(handle, data);
    return;
  }
  for (let at = 0; at < data.length; at += blockElements) {
    const bytes = fromFloat32(dtype, data.subarray(at, at + blockElements));
    if (bytes === undefined) {
      throw fatal('E_TENSOR_DTYPE', `${file}: tensor "${name}" is ${dtype}: its data must come as bytes`, {
        file,
        field: name,
      });
    }
    await writeFully(handle, bytes);
  }
};

/** `{"format": "pt"}` tells loaders that names and layouts are PyTorch's. */
const pyTorch = { format: 'pt' };

/** Writes a safetensors file, whole or not at all; byte for byte what the reference implementation writes for the same tensors. */
export const writeSafetensors = (
  file: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = pyTorch,
): TaskEither<FatalError, void> => {
  const ordered = inFileOrder([...tensors]);
  const entries = layOut(file, ordered);
  if (E.isLeft(entries)) return TE.left(entries.left);
  return writeFileAtomically(file, async (handle) => {
    await writeFully(handle, encodeHeader(entries.right, metadata));
    for (const tensor of ordered) await writeTensor(handle, file, tensor);
  });
};
