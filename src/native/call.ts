/** How the engine is called: arguments are put one after the other, then an operation is enqueued on them. */
import type { Addon } from './addon.js';

type Numbers = Int32Array | Float32Array;

export interface Call {
  /** The next argument. */
  readonly put: (value: number) => void;
  /** Enqueues an operation on the arguments put since the last. */
  readonly run: (code: number, first?: Numbers, second?: Numbers) => void;
  /** Enqueues another operation, on these arguments, before the one whose arguments are being put. */
  readonly before: (code: number, values: ReadonlyArray<number>) => void;
  /** Forgets what was put. */
  readonly clear: () => void;
}

/** More numbers than an update of a few thousand tensors passes. */
const longestCall = 1 << 17;

export const makeCall = (addon: Addon): Call => {
  const args = new Float64Array(longestCall);
  let at = 0;
  addon.attach(args);
  return {
    put: (value) => {
      if (at === longestCall) throw new Error('too many arguments');
      args[at++] = value;
    },
    run: (code, first, second) => {
      at = 0;
      if (first === undefined) addon.op(code);
      else if (second === undefined) addon.op(code, first);
      else addon.op(code, first, second);
    },
    before: (code, values) => {
      const waiting = args.slice(0, at);
      args.set(values);
      addon.op(code);
      args.set(waiting);
    },
    clear: () => {
      at = 0;
    },
  };
};
