/** How values come back to JavaScript: at once, or when all that was enqueued before has run. */
import type { BackendValues } from '@tensorflow/tfjs-core';
import type { Addon } from './addon.js';
import type { NativeData } from './nativeData.js';
import type { PassingCopies } from './passingCopies.js';
import { viewOf, width } from './values.js';

/** Far above what is lost when it is multiplied with a normed number and rounded to bfloat16. */
const leastDivisor = 1e-20;

export interface ReadBack {
  /** The values, once the engine has come to them. */
  readonly now: (data: NativeData) => BackendValues;
  /** Those of an int32 tensor, which are on their way from now on. */
  readonly soon: (data: NativeData) => () => Int32Array;
  readonly later: (data: NativeData) => Promise<BackendValues>;
  /** Whether no sum of a value and the offset is 0, or so near that bfloat16 has no multiples of it. Waits for the values, once. */
  readonly divides: (data: NativeData, offset: number) => boolean;
}

export const makeReadBack = (addon: Addon, passing: PassingCopies): ReadBack => ({
  now: (data) => {
    if (data.strings !== undefined) return data.strings;
    if (data.held === undefined) return viewOf(addon.readSync(data.id, data.size * width(data.dtype)), data.dtype);
    const copy = passing.widened(data);
    try {
      return viewOf(addon.readSync(copy, data.size * 4), data.dtype);
    } finally {
      addon.give(copy);
    }
  },
  soon: ({ id, size }) => {
    const asked = addon.readSoon(id, 4 * size);
    return () => new Int32Array(addon.arrived(asked));
  },
  later: async (data) => {
    if (data.strings !== undefined) return data.strings;
    const copy = data.held === undefined ? 0 : passing.widened(data);
    const reading = addon.read(copy === 0 ? data.id : copy, data.size * width(data.dtype));
    if (copy !== 0) addon.give(copy);
    return viewOf(await reading, data.dtype);
  },
  divides: (data, offset) => {
    if (data.held !== undefined) return false;
    if (data.divides?.offset !== offset) {
      const values = new Float32Array(addon.readSync(data.id, data.size * 4));
      const safely = values.every((value) => Math.abs(value + offset) > leastDivisor);
      data.divides = { offset, safely };
    }
    return data.divides.safely;
  },
});
