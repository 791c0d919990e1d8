/**
 * A sum that is not computed yet: the kernel that comes next does so in its own pass over the terms if it is a norm that reads the sum;
 * before all others the sum is computed by itself.
 */
import type { Addon } from './addon.js';
import type { Call } from './call.js';
import type { NativeData, NativeInfo } from './nativeData.js';

/** A term: its number in the engine, and whether it lies as bfloat16. */
interface Term {
  readonly id: number;
  readonly half: boolean;
}

export interface Sum {
  readonly terms: ReadonlyArray<Term>;
  readonly out: NativeInfo;
}

export interface WaitingSum {
  /** What waits. */
  readonly waits: () => Sum | undefined;
  /** From here on this one waits, where none did. */
  readonly wait: (sum: Sum) => void;
  /** Puts the terms, then where the sum is written: of each whether it lies as bfloat16, and its number. */
  readonly put: (sum: Sum) => void;
  /** What waits is computed. */
  readonly settle: () => void;
  /** None waits any more. */
  readonly over: () => void;
  /** Whether this is a term of what waits: if so it is given back when that is over. */
  readonly givesBack: (id: number) => boolean;
  /** Nobody needs these values any more: what waits to be them does so no longer. */
  readonly dropped: (data: NativeData) => void;
}

/** `add`: the operation's code. */
export const makeWaitingSum = (addon: Addon, call: Call, add: number): WaitingSum => {
  let waiting: Sum | undefined;
  /** Terms that nobody else needs any more: they live until the sum is computed. */
  let freed: number[] = [];

  const put = ({ terms, out: { dataId } }: Sum): void => {
    for (const { id, half } of [...terms, { id: dataId.id, half: dataId.held !== undefined }]) {
      call.put(Number(half));
      call.put(id);
    }
  };
  const over = (): void => {
    const ids = freed;
    waiting = undefined;
    if (ids.length > 0) freed = [];
    for (const id of ids) addon.give(id);
  };
  return {
    waits: () => waiting,
    wait: (sum) => {
      waiting = sum;
    },
    put,
    settle: () => {
      if (waiting === undefined) return;
      try {
        call.put(waiting.out.dataId.size);
        put(waiting);
        call.run(add);
      } finally {
        over();
      }
    },
    over,
    givesBack: (id) => {
      const isTerm = waiting?.terms.some((term) => term.id === id) === true;
      if (isTerm) freed.push(id);
      return isTerm;
    },
    dropped: (data) => {
      if (waiting?.out.dataId === data) over();
    },
  };
};
