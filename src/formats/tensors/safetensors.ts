/** Tensors in safetensors files (https://huggingface.co/docs/safetensors), read one at a time, written in a stream. */
import type { FileHandle } from 'node:fs/promises';
import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { checked } from '../../checked.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { writeFileAtomically, writeFully } from '../files/atomicFile.js';
import { bytesOfDtype, decodeHeader, encodeHeader, headerLength, lengthBytes } from './safetensorsHeader.js';
import type { Dtype, HeaderEntry, TensorInfo } from './safetensorsHeader.js';
import { readFully, storedTensor, withFile } from './storedTensor.js';
import type { StoredTensor, StoredTensors } from './storedTensor.js';
import { fromFloat32 } from './tensorData.js';

export type { Dtype } from './safetensorsHeader.js';
export type { StoredTensor, StoredTensors } from './storedTensor.js';

const orThrow = <A>(result: E.Either<FatalError, A>): A => {
  if (E.isLeft(result)) throw result.left;
  return result.right;
};

const truncated = 'E_SAFETENSORS_TRUNCATED';

const tensorIn = (file: string, name: string, { dtype, shape, start, end }: TensorInfo): StoredTensor =>
  storedTensor({ name, dtype, shape, byteLength: end - start, file }, (handle, range, allocate) =>
    readFully(handle, file, { start: start + range.start, length: range.length, truncated }, allocate),
  );

/**
 * What a safetensors file holds. Only the header is read, and checked whole: tensors that overlap, leave holes or lie beyond the file
 * are refused (E_SAFETENSORS_…) before anything is allocated.
 */
export const readSafetensors = (file: string): TaskEither<FatalError, StoredTensors> =>
  withFile(file, async (handle) => {
    const { size } = await handle.stat();
    const bytesAt = (start: number, length: number): Promise<Uint8Array> =>
      readFully(handle, file, { start, length, truncated });
    const length = orThrow(headerLength(file, size, await bytesAt(0, Math.min(size, lengthBytes))));
    const { tensors, metadata } = orThrow(decodeHeader(file, size, await bytesAt(lengthBytes, length)));
    return {
      tensors: new Map(Array.from(tensors, ([name, info]) => [name, tensorIn(file, name, info)])),
      metadata,
    };
  });

/** Float32 values for any float dtype, or the tensor's own little-endian bytes. */
export type TensorData = Float32Array | Uint8Array;

/** A tensor to be written. */
export interface TensorToWrite {
  readonly name: string;
  /** What its numbers are in the file. */
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

/** What a file says beside its tensors. */
export interface SafetensorsOptions {
  /** Texts that the file keeps beside its tensors. Default: `{ format: 'pt' }`, by which loaders know PyTorch's names and layouts. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** Writes a safetensors file, whole or not at all; byte for byte what the reference implementation writes for the same tensors. */
export const writeSafetensors = checked(
  'writeSafetensors',
  TE.left,
  { 2: { metadata: 'optional' } },
  (
    file: string,
    tensors: Iterable<TensorToWrite>,
    { metadata = pyTorch }: SafetensorsOptions = {},
  ): TaskEither<FatalError, void> => {
    const ordered = inFileOrder([...tensors]);
    const entries = layOut(file, ordered);
    if (E.isLeft(entries)) return TE.left(entries.left);
    return writeFileAtomically(file, async (handle) => {
      await writeFully(handle, encodeHeader(entries.right, metadata));
      for (const tensor of ordered) await writeTensor(handle, file, tensor);
    });
  },
);
