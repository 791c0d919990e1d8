/** Copies of weights as bfloat16, on a card: what products that round the weights read, kept until something writes to the weights. */
import type { Addon } from './addon.js';
import type { Call } from './call.js';
import type { NativeData } from './nativeData.js';

export interface WeightCopies {
  /** Makes the copies, or makes them again where they are old. Those of weights given together lie one after the other. */
  readonly round: (all: ReadonlyArray<NativeData>) => void;
  /** The weights have no copy any more. */
  readonly forget: (data: NativeData) => void;
}

/** Whether the copies of all these weights lie in one tensor, one after the other. */
const lieInOrder = ([one, ...others]: ReadonlyArray<NativeData>): boolean => {
  if (one?.copy === undefined) return one === undefined;
  const { of, first } = one.copy;
  let next = first + one.size;
  for (const { copy, size } of others) {
    if (copy?.of !== of || copy.first !== next) return false;
    next += size;
  }
  return true;
};

/** `narrowCopy`: the operation's code. */
export const makeWeightCopies = (addon: Addon, call: Call, narrowCopy: number): WeightCopies => {
  const forget = (data: NativeData): void => {
    if (data.copy === undefined) return;
    const { of } = data.copy;
    of.used--;
    if (of.used === 0) addon.give(of.id);
    data.copy = undefined;
  };
  const layOut = (all: ReadonlyArray<NativeData>): void => {
    for (const data of all) forget(data);
    const of = { id: addon.take(2 * all.reduce((sum, { size }) => sum + size, 0)), used: all.length };
    let first = 0;
    for (const data of all) {
      data.copy = { of, first, current: false };
      first += data.size;
    }
  };
  return {
    round: (all) => {
      if (!lieInOrder(all)) layOut(all);
      for (const { size, id, copy } of all) {
        if (copy === undefined || copy.current) continue;
        for (const value of [size, id, copy.of.id, copy.first]) call.put(value);
        call.run(narrowCopy);
        copy.current = true;
      }
    },
    forget,
  };
};
