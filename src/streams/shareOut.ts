/**
 * An ordered, bounded, asynchronous map whose work is shared out among helpers and this thread.
 *
 * Items are read into slots, in their order. A slot waits until a helper takes its item or this thread works on it; then its result is
 * there, or it is held: to be done here and in its turn. The first slot is the one whose turn it is; its result goes out, and the next
 * one is first.
 */
import type { Crew } from './crew.js';
import { macrotask } from './macrotask.js';
import { timed } from './timed.js';

/** What is done on this thread. */
export interface Here<A, B> {
  /** The result of an item when those of all before it have been handed out. */
  readonly inTurn: (item: A) => B;
  /** The same before that; undefined where it can only be done in its turn. */
  readonly outOfTurn: (item: A) => B | undefined;
}

type State<B> =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'away' }
  | { readonly kind: 'held' }
  | { readonly kind: 'done'; readonly result: B };

interface Slot<A, B> {
  readonly item: A;
  state: State<B>;
}

const settled = <B>(result: B | undefined): State<B> =>
  result === undefined ? { kind: 'held' } : { kind: 'done', result };

interface Failure {
  readonly cause: unknown;
}

const turnOfOthers = (): Promise<void> =>
  new Promise((resolve) => {
    macrotask(resolve);
  });

/** One consumer, who waits for the next thing to happen. */
const makeBell = (): { readonly heard: () => Promise<void>; readonly ring: () => void } => {
  let ring = (): void => undefined;
  return {
    heard: () =>
      new Promise((resolve) => {
        ring = resolve;
      }),
    ring: () => ring(),
  };
};

const sharedOut = <A, B>(
  source: AsyncIterator<A>,
  { inTurn, outOfTurn }: Here<A, B>,
  crew: Crew<A, B>,
): AsyncIterator<B> => {
  const slots: Array<Slot<A, B>> = [];
  const bell = makeBell();
  let reading = false;
  let ended = false;
  let closed = false;
  /** Told after the results of all items before it. */
  let sourceFailure: Failure | undefined;
  /** Told at once. */
  let crewFailure: Failure | undefined;

  const close = (): void => {
    if (closed) return;
    closed = true;
    slots.length = 0;
    crew.close();
    if (!ended) source.return?.().catch(() => undefined);
    bell.ring();
  };

  /** Gives helpers what waits, the earliest first, until none has room. */
  const offer = (): void => {
    for (const slot of slots) {
      if (closed) return;
      if (slot.state.kind !== 'waiting') continue;
      const away = crew.take(slot.item);
      if (away === undefined) return;
      slot.state = { kind: 'away' };
      away.then(
        (result) => {
          slot.state = settled(result);
          offer();
          bell.ring();
        },
        (cause: unknown) => {
          crewFailure ??= { cause };
          bell.ring();
        },
      );
    }
  };

  /** Reads on, an item at a time, until as many are under way as may be. */
  const read = (): void => {
    if (reading || ended || closed || slots.length >= crew.ahead()) return;
    reading = true;
    source.next().then(
      (next) => {
        reading = false;
        if (next.done === true) ended = true;
        else if (!closed) {
          slots.push({ item: next.value, state: { kind: 'waiting' } });
          offer();
        }
        read();
        bell.ring();
      },
      (cause: unknown) => {
        reading = false;
        ended = true;
        sourceFailure = { cause };
        bell.ring();
      },
    );
  };

  const workOn = (slot: Slot<A, B>, work: (item: A) => B | undefined): void => {
    const [result, took] = timed(() => work(slot.item));
    slot.state = settled(result);
    crew.worked(slot.item, took);
  };

  crew.onRoom(() => {
    read();
    offer();
  });

  const next = async (): Promise<IteratorResult<B>> => {
    for (;;) {
      if (crewFailure !== undefined) throw crewFailure.cause;
      read();
      const [first] = slots;
      if (first === undefined) {
        if (closed || (ended && sourceFailure === undefined)) {
          close();
          return { done: true, value: undefined };
        }
        if (sourceFailure !== undefined) throw sourceFailure.cause;
        await bell.heard();
      } else if (first.state.kind === 'done') {
        slots.shift();
        read();
        return { done: false, value: first.state.result };
      } else if (first.state.kind !== 'away') {
        workOn(first, inTurn);
      } else {
        const waiting = slots.find(({ state }) => state.kind === 'waiting');
        if (waiting === undefined) await bell.heard();
        else {
          workOn(waiting, outOfTurn);
          // What helpers have done meanwhile is to be heard, and they are to be given more.
          await turnOfOthers();
        }
      }
    }
  };

  return {
    next: async () => {
      try {
        return await next();
      } catch (cause) {
        close();
        throw cause;
      }
    },
    return: () => {
      close();
      return Promise.resolve({ done: true, value: undefined });
    },
  };
};

/**
 * The results in the order of the items. While the first one is away and others wait, this thread does one of them. Only what is
 * asked for is begun here, but helpers work up to `ahead` items ahead, so a consumer that stops asking stops the source. Leaving
 * closes the crew and the source; a failure of the source comes after the results of all before it.
 */
export const shareOut = <A, B>(
  items: AsyncIterable<A>,
  here: Here<A, B>,
  makeCrew: () => Crew<A, B>,
): AsyncIterable<B> => ({
  [Symbol.asyncIterator]: () => sharedOut(items[Symbol.asyncIterator](), here, makeCrew()),
});
