/** Files that hold tensors of the model one below the other, and are written so again. */
import type { TensorToWrite } from '../../formats/tensors/safetensors.js';
import type { FileLayout, JoinedTensor } from '../architecture.js';
import { floatsOf } from './floatsOf.js';
import { unpacked } from './unpacked.js';

const joined = ({ name, shape }: JoinedTensor, parts: ReadonlyArray<TensorToWrite>): TensorToWrite => ({
  name,
  dtype: 'F32',
  shape,
  data: async () => {
    const all = new Float32Array(shape.reduce((product, dimension) => product * dimension, 1));
    let first = 0;
    for (const part of parts) {
      const values = await floatsOf(part);
      all.set(values, first);
      first += values.length;
    }
    return all;
  },
});

/** Reads either way of files; writes those together whose parts are all there, in float32. What is quantised stays apart. */
export const joinedFiles = (packed: ReadonlyArray<JoinedTensor>, basePrefix: string): FileLayout => ({
  read: (tensors) => unpacked({ packed, basePrefix }, tensors),
  write: (tensors) => {
    const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    const done = new Set<string>();
    const written = packed.flatMap((one): ReadonlyArray<TensorToWrite> => {
      const parts = one.parts.flatMap((name) => {
        const tensor = byName.get(name);
        return tensor?.dtype === 'F32' ? [tensor] : [];
      });
      if (parts.length !== one.parts.length) return [];
      for (const { name } of parts) done.add(name);
      return [joined(one, parts)];
    });
    return [...tensors.filter(({ name }) => !done.has(name)), ...written];
  },
});
