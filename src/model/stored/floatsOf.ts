import type { TensorToWrite } from '../../formats/tensors/safetensors.js';

const isFloats = (data: unknown): data is Float32Array => data instanceof Float32Array;

/** The values of a tensor of floats that is to be written. */
export const floatsOf = async ({ data, name }: TensorToWrite): Promise<Float32Array> => {
  const values = typeof data === 'function' ? await data() : data;
  if (!isFloats(values)) throw new TypeError(`"${name}" is no tensor of floats`);
  return values;
};
