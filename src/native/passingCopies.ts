/** Values that lie otherwise than a kernel reads them: copies for as long as the kernel runs. */
import type { Addon } from './addon.js';
import type { Call } from './call.js';
import { bare, kinds } from './nativeData.js';
import type { NativeData } from './nativeData.js';
import type { Operations } from './operations.js';

export interface PassingCopies {
  /** Number of the values as float32. */
  readonly wide: (data: NativeData) => number;
  /** Number of the values as bfloat16, rounded to nearest even where they do not lie so. */
  readonly half: (data: NativeData) => number;
  /** Number of the values as they lie: the data's own, or of those that are made again. */
  readonly lying: (data: NativeData) => number;
  /** Number of a new tensor with the float32 values of a held one, which is the caller's. */
  readonly widened: (data: NativeData) => number;
  /** The operation that reads them is enqueued, or will not be. */
  readonly forget: () => void;
}

export const makePassingCopies = (addon: Addon, call: Call, op: Operations): PassingCopies => {
  const passing: number[] = [];
  const take = (bytes: number): number => {
    const id = addon.take(bytes);
    passing.push(id);
    return id;
  };

  const lying = ({ id, size, recipe, absent }: NativeData): number => {
    if (!absent || recipe === undefined) return id;
    const made = take(size * 2);
    call.before(op.gatedActivation, [size, recipe.kind, 1, recipe.gate.id, 1, recipe.up.id, 1, made]);
    return made;
  };
  const widened = (data: NativeData): number => {
    const copy = addon.take(data.size * 4);
    const { storage, columns, scale, code, block } = data.held ?? bare;
    try {
      if (storage === 'bfloat16') call.before(op.widen, [data.size, lying(data), copy]);
      else {
        const rows = columns === 0 ? 0 : data.size / columns;
        call.before(op.dequantize, [rows, columns, kinds[storage], data.id, scale, code, block, copy]);
      }
    } catch (error) {
      addon.give(copy);
      throw error;
    }
    return copy;
  };
  const wide = (data: NativeData): number => {
    if (data.held === undefined) return data.id;
    const copy = widened(data);
    passing.push(copy);
    return copy;
  };
  return {
    wide,
    half: (data) => {
      if (data.held?.storage === 'bfloat16') return lying(data);
      const from = wide(data);
      const copy = take(data.size * 2);
      call.before(op.narrow, [data.size, from, copy]);
      return copy;
    },
    lying,
    widened,
    forget: () => {
      if (passing.length === 0) return;
      for (const id of passing) addon.give(id);
      passing.length = 0;
    },
  };
};
