/** Passes that begin before their update: while the device still works on the one before. */
import type { Batch } from '../../records.js';
import { dispose } from '../../tfjs.js';
import { disposeOutputs, passes } from './passes.js';
import type { Micro, Passes } from './passes.js';
import type { TrainState } from './state.js';
import { sequenceOf } from './unpad.js';

/** Passes that have begun before their update. */
interface Begun {
  readonly batches: ReadonlyArray<Batch>;
  readonly micros: ReadonlyArray<Micro>;
  readonly passes: Passes;
  readonly drop: () => void;
}

/** The passes of an update whose micro-batches begin with this number. */
export const begin = async (state: TrainState, batches: ReadonlyArray<Batch>, first: number): Promise<Begun> => {
  const micros = batches.map((batch, i): Micro => ({ ...sequenceOf(batch), index: first + i }));
  const made = await passes(state, micros);
  const drop = (): void => {
    disposeOutputs(made.outputs);
    dispose(Object.values(made.gradients));
  };
  return { batches, micros, passes: made, drop };
};

/** Those of this update, where they are what has begun. */
export const begunOf = (state: TrainState, batches: ReadonlyArray<Batch>): Begun | undefined => {
  const begun = state.begun as Begun | undefined;
  state.begun = undefined;
  const same =
    begun?.batches.length === batches.length &&
    begun.micros[0]?.index === state.microBatches &&
    begun.batches.every((batch, i) => batch === batches[i]);
  if (same) return begun;
  begun?.drop();
  return undefined;
};

/** Begins with what follows; where that fails, its own update will say so. */
export const beginNext = async (
  state: TrainState,
  batches: ReadonlyArray<Batch> | undefined,
  first: number,
): Promise<void> => {
  if (batches === undefined) return;
  try {
    const begun = await begin(state, batches, first);
    // Nobody listens any more.
    if (Object.keys(state.moments).length === 0) begun.drop();
    else state.begun = begun;
  } catch {
    state.begun = undefined;
  }
};
