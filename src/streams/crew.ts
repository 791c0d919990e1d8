/** Those who take work off this thread. */

/** What work on an item took: on the clock, and of the processor where that is less, as it is on a busy machine. */
export interface Took {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** Helpers that turn an `A` into a `B`. */
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
