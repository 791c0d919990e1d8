/** Values between JavaScript and the engine: how many, how wide, and as which typed array. */
import type { BackendValues, DataType } from '@tensorflow/tfjs-core';

type Numbers = Float32Array | Int32Array | Uint8Array;

/** How many values a tensor of this shape has. */
export const valuesIn = (shape: ReadonlyArray<number>): number => {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
};

/** Bytes of a value. Throws where the engine has no tensors of the dtype. */
export const width = (dtype: DataType): number => {
  switch (dtype) {
    case 'float32':
    case 'int32':
      return 4;
    case 'bool':
      return 1;
    default:
      throw new Error(`the native engine has no tensors of ${dtype}`);
  }
};

/** Bytes that were read, as the typed array of their dtype. */
export const viewOf = (buffer: ArrayBuffer, dtype: DataType): Numbers =>
  dtype === 'float32' ? new Float32Array(buffer) : dtype === 'int32' ? new Int32Array(buffer) : new Uint8Array(buffer);

/** Numbers as the typed array of their dtype. */
export const typed = (values: BackendValues, dtype: DataType): Numbers => {
  const numbers = values as ArrayLike<number>;
  if (dtype === 'float32') return numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
  if (dtype === 'int32') return numbers instanceof Int32Array ? numbers : Int32Array.from(numbers);
  return numbers instanceof Uint8Array ? numbers : Uint8Array.from(numbers);
};
