/** How float32 values come to lie otherwise, in less memory, and as float32 again. */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { Bfloat16Layout } from '../model/kernels/bfloat16Tensor.js';
import type { QuantizedLayout } from '../model/kernels/quantizedMatrix.js';
import type { Addon } from './addon.js';
import type { Call } from './call.js';
import type { Memory } from './memory.js';
import { bare, NativeData } from './nativeData.js';
import type { NativeInfo } from './nativeData.js';
import type { PassingCopies } from './passingCopies.js';
import type { WeightCopies } from './weightCopies.js';

/** A way to lie that float32 values can be brought into. */
export type HeldAs = 'bfloat16';

export interface Storage {
  /**
   * From here on the values lie as `storage` has them (bfloat16: rounded to nearest even, in half of the memory), for whoever
   * shares the data. Products and lookups read them as they lie; other kernels get a float32 copy for as long as they run;
   * updates in place are refused. Data that is held already stays as it is.
   */
  readonly hold: (info: TensorInfo, storage: HeldAs) => void;
  /** From here on the values lie as float32 again: those that reading gave before. */
  readonly release: (info: TensorInfo) => void;
  /** A new tensor that lies as bfloat16, as `hold` has them. Updates in place are refused. */
  readonly bfloat16: (layout: Bfloat16Layout) => NativeInfo;
  /** A new matrix that lies as given. Updates in place are refused. */
  readonly quantized: (layout: QuantizedLayout) => NativeInfo;
}

export interface StorageParts {
  readonly addon: Addon;
  readonly call: Call;
  /** The operation's code. */
  readonly narrow: number;
  readonly memory: Memory;
  readonly copies: WeightCopies;
  readonly passing: PassingCopies;
}

export const makeStorage = ({ addon, call, narrow, memory, copies, passing }: StorageParts): Storage => {
  const lying = (values: Uint16Array | Int8Array | Uint8Array | Float32Array): number => {
    const id = addon.take(values.byteLength);
    addon.write(id, values);
    return id;
  };
  return {
    hold: (info, storage) => {
      const data = memory.float(info);
      if (data.held !== undefined) return;
      copies.forget(data);
      const id = addon.take(data.size * 2);
      for (const value of [data.size, data.id, id]) call.put(value);
      call.run(narrow);
      addon.give(data.id);
      data.id = id;
      data.held = { ...bare, storage };
    },
    release: (info) => {
      const data = memory.float(info);
      if (data.held === undefined) return;
      const id = passing.widened(data);
      memory.giveUp(data);
      memory.forgetRecipe(data);
      data.id = id;
      data.absent = false;
      data.held = undefined;
    },
    bfloat16: ({ bits, shape }) => {
      const data = new NativeData(lying(bits), bits.length, 'float32', 1);
      data.held = bare;
      return memory.born(data, shape);
    },
    quantized: ({ shape: [rows, columns], codes, scale, map, blockSize }) => {
      const data = new NativeData(lying(codes), rows * columns, 'float32', 1);
      data.held = {
        storage: map === undefined ? 'int8' : 'fourBit',
        columns,
        scale: lying(scale),
        code: map === undefined ? 0 : lying(map),
        block: blockSize,
      };
      return memory.born(data, [rows, columns]);
    },
  };
};
