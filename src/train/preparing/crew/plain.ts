/** Whether a value is the same in another thread: structured cloning makes plain objects of all objects, and runs their getters. */

import { writtenNumbersOf } from '../../../formats/json/writtenNumbers.js';

/** Deeper than any row, so that rings come to an end too. */
const deepest = 64;

const plainTypes: ReadonlySet<string> = new Set(['string', 'number', 'boolean', 'undefined', 'bigint']);

/** Lists, plain objects and primitives; what is a class's, or could hold code, is not. */
export const isPlain = (value: unknown, depth = 0): boolean => {
  if (value === null || plainTypes.has(typeof value)) return true;
  if (typeof value !== 'object' || depth > deepest) return false;
  // What is known of it beside it stays behind.
  if (writtenNumbersOf(value) !== undefined) return false;
  if (Array.isArray(value)) {
    for (const inner of value as ReadonlyArray<unknown>) if (!isPlain(inner, depth + 1)) return false;
    return true;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  for (const inner of Object.values(value)) if (!isPlain(inner, depth + 1)) return false;
  return true;
};
