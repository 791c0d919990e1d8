/** An ordered, bounded, asynchronous map whose work is shared out among helpers and this thread. */
import { macrotask } from './macrotask.js';

/** What work on an item took: on the clock, and of the processor where that is less, as it is on a busy machine. */
export interface Took {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** Those who help. */
export interface Crew<A, B> {
  /**
   * Work that a helper takes now; undefined when none has room or this is nothing for them. Undefined as the result: it could not
   * be done over there, and is to be done here. A rejection ends the map.
   */
  readonly take: (item: A) => Promise<B | undefined> | undefined;
  /** Items that may be under way at once, those read ahead included; it may grow when helpers come. */
  readonly ahead: () => number;
  /** Called when a helper that was not there before has room. */
  readonly onRoom: (call: () => void) => void;
  /** Told how long the work on an item took here. */
  readonly worked: (item: A, took: Took) => void;
  readonly close: () => void;
}

/**
 * Done on this thread. `inTurn`: all results before this one have been handed out. Out of turn it may answer undefined: the item is
 * asked for again in its turn.
 */
export type Here<A, B> = (item: A, inTurn: boolean) => B | undefined;

interface Slot<A, B> {
  readonly item: A;
  /** A helper has it. */
  away: boolean;
  /** Only in its turn. */
  held: boolean;
  result?: B;
}

const turn = (): Promise<void> =>
  new Promise((resolve) => {
    macrotask(resolve);
  });

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
  [Symbol.asyncIterator]: () => {
    const source = items[Symbol.asyncIterator]();
    const crew = makeCrew();
    const slots: Array<Slot<A, B>> = [];
    let reading = false;
    let ended = false;
    let closed = false;
    /** Of the source, told after everything before it; of a helper, told at once. */
    let sourceFailure: { readonly cause: unknown } | undefined;
    let crewFailure: { readonly cause: unknown } | undefined;
    let wake = (): void => undefined;
    const news = (): Promise<void> =>
      new Promise((resolve) => {
        wake = resolve;
      });

    const close = (): void => {
      if (closed) return;
      closed = true;
      slots.length = 0;
      crew.close();
      if (!ended) source.return?.().catch(() => undefined);
      wake();
    };
    const offer = (): void => {
      for (const slot of slots) {
        if (closed) return;
        if (slot.away || slot.held || slot.result !== undefined) continue;
        const away = crew.take(slot.item);
        if (away === undefined) return;
        slot.away = true;
        away.then(
          (result) => {
            slot.away = false;
            if (result === undefined) slot.held = true;
            else slot.result = result;
            offer();
            wake();
          },
          (cause: unknown) => {
            crewFailure ??= { cause };
            wake();
          },
        );
      }
    };
    const read = (): void => {
      if (reading || ended || closed || slots.length >= crew.ahead()) return;
      reading = true;
      source.next().then(
        (next) => {
          reading = false;
          if (next.done === true) ended = true;
          else if (!closed) {
            slots.push({ item: next.value, away: false, held: false });
            offer();
          }
          read();
          wake();
        },
        (cause: unknown) => {
          reading = false;
          ended = true;
          sourceFailure = { cause };
          wake();
        },
      );
    };
    const workOn = (slot: Slot<A, B>, inTurn: boolean): void => {
      const began = performance.now();
      const usedBefore = process.cpuUsage();
      const result = here(slot.item, inTurn);
      if (result === undefined) slot.held = true;
      else slot.result = result;
      const wallMs = performance.now() - began;
      // Of all threads of the process: others may be at work.
      const { user, system } = process.cpuUsage(usedBefore);
      crew.worked(slot.item, { wallMs, cpuMs: Math.min(wallMs, (user + system) / 1000) });
    };
    crew.onRoom(() => {
      read();
      offer();
    });

    const next = async (): Promise<IteratorResult<B>> => {
      for (;;) {
        if (crewFailure !== undefined) {
          close();
          throw crewFailure.cause;
        }
        if (closed) return { done: true, value: undefined };
        read();
        const [first] = slots;
        if (first === undefined) {
          if (!ended) {
            await news();
            continue;
          }
          close();
          if (sourceFailure !== undefined) throw sourceFailure.cause;
          return { done: true, value: undefined };
        }
        if (first.result !== undefined) {
          slots.shift();
          read();
          return { done: false, value: first.result };
        }
        if (!first.away) {
          workOn(first, true);
          continue;
        }
        const waiting = slots.find(({ away, held, result }) => !away && !held && result === undefined);
        if (waiting === undefined) await news();
        else {
          workOn(waiting, false);
          // What helpers have done meanwhile is to be heard, and they are to be given more.
          await turn();
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
  },
});
