import { right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { random } from '../seed.js';
import { windowed } from '../streams/operator.js';
import type { Machine } from '../streams/operator.js';

/** Which order rows come in. */
export interface ShuffleOptions {
  /** The same seed gives the same order. */
  readonly seed: number;
  /** Another order an epoch. Default 0. */
  readonly epoch?: number | undefined;
  /** How many rows wait to be drawn from, 1 or more; absent: all of them, a whole permutation. */
  readonly bufferSize?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const shuffleOptionNames: OptionNames<ShuffleOptions> = {
  seed: 'required',
  epoch: 'optional',
  bufferSize: 'optional',
};

/** A uniform permutation of 0 … count - 1, determined by seed and counters, the epoch first (Fisher-Yates). */
export const permutation = (count: number, seed: number, ...counters: ReadonlyArray<number>): Uint32Array => {
  const { below } = random(seed, 'shuffle', ...counters);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let last = count - 1; last > 0; last--) {
    const drawn = below(last + 1);
    const kept = order[last] ?? 0;
    order[last] = order[drawn] ?? 0;
    order[drawn] = kept;
  }
  return order;
};

const whole = <A>({ seed, epoch = 0 }: ShuffleOptions): Machine<A, A> => {
  const rows: Array<A> = [];
  return {
    push: (row) => {
      rows.push(row);
      return right([]);
    },
    flush: () => Array.from(permutation(rows.length, seed, epoch), (i) => rows[i] as A),
  };
};

const buffered = <A>({ seed, epoch = 0 }: ShuffleOptions, size: number): Machine<A, A> => {
  const { below } = random(seed, 'shuffle', epoch, size);
  const buffer: Array<A> = [];
  return {
    push: (row) => {
      if (buffer.length < size) {
        buffer.push(row);
        return right([]);
      }
      const drawn = below(size);
      const out = buffer[drawn] as A;
      buffer[drawn] = row;
      return right([out]);
    },
    flush: () => {
      const rest: Array<A> = [];
      while (buffer.length > 0) {
        const drawn = below(buffer.length);
        rest.push(buffer[drawn] as A);
        const last = buffer.pop() as A;
        if (drawn < buffer.length) buffer[drawn] = last;
      }
      return rest;
    },
  };
};

const machine = <A>(options: ShuffleOptions): Machine<A, A> =>
  options.bufferSize === undefined || !Number.isFinite(options.bufferSize)
    ? whole(options)
    : buffered(options, Math.max(1, Math.floor(options.bufferSize)));

/** The rows in another order, the same for the same seed, epoch and buffer size. */
export const shuffleRows = (options: ShuffleOptions): (<A>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) => {
  known('shuffle', amongRun(shuffleOptionNames), options);
  return <A>(rows: ReadonlyArray<A>): ReadonlyArray<A> => {
    const { push, flush } = machine<A>(options);
    const out: Array<A> = [];
    for (const row of rows) {
      const released = push(row);
      if (released._tag === 'Right') out.push(...released.right);
    }
    return [...out, ...flush()];
  };
};

/** Shuffles a stream: the whole of it at its end, or through a buffer as it comes, holding `bufferSize` rows. */
export const shuffle = <A>(options: ShuffleOptions): OperatorFunction<A, A> => {
  known('shuffle', amongRun(shuffleOptionNames), options);
  return windowed('shuffle', () => machine<A>(options));
};
