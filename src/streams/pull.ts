import { Observable } from 'rxjs';
import type { Subscriber } from 'rxjs';
import { fatal, isFatal } from '../errors.js';
import type { FatalError } from '../errors.js';
import { gateFault } from './gate.js';
import type { Gate } from './gate.js';
import { macrotask } from './macrotask.js';
import { setOrigin } from './origin.js';

/** Synchronous work for longer than this lets timers, signals and other input have a turn. */
const sliceMs = 12;

const isAsync = <A>(source: Iterable<A> | AsyncIterable<A>): source is AsyncIterable<A> =>
  Symbol.asyncIterator in source;

const iterate = <A>(source: Iterable<A> | AsyncIterable<A>): Iterator<A> | AsyncIterator<A> =>
  isAsync(source) ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();

const isPromise = <A>(result: A | Promise<A>): result is Promise<A> =>
  typeof result === 'object' && result !== null && 'then' in result;

/** What a source threw while it was read: a FatalError as it is, else `E_SOURCE_FAILED`. */
export const sourceFailed = (cause: unknown): FatalError =>
  isFatal(cause)
    ? cause
    : fatal('E_SOURCE_FAILED', `The source failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
        cause,
      });

/** Nobody is left to hear of a source that cannot be closed, so its complaint ends here. */
const close = (iterator: Iterator<unknown> | AsyncIterator<unknown>): void => {
  try {
    const closing: unknown = iterator.return?.();
    if (closing instanceof Promise) closing.catch(() => undefined);
  } catch {
    // See above.
  }
};

const start = <A>(iterator: Iterator<A> | AsyncIterator<A>, gate: Gate | undefined, out: Subscriber<A>): void => {
  let finished = false;
  let index = 0;
  let sliceBegan = 0;
  let stopWaiting: (() => void) | undefined;

  const fail = (cause: unknown): void => {
    finished = true;
    out.error(sourceFailed(cause));
  };
  /** Hands one result on; false when there is no more to do in this turn. */
  const take = (result: IteratorResult<A>): boolean => {
    if (out.closed) return false;
    if (result.done === true) {
      finished = true;
      out.complete();
      return false;
    }
    setOrigin(result.value, index++);
    const handed = gate?.handed();
    out.next(result.value);
    // A window handed to the slow end is to begin before the next is prepared; promises that are always ready, like a long
    // loop, would keep everything else waiting.
    if (gate?.handed() === handed && performance.now() - sliceBegan < sliceMs) return true;
    later();
    return false;
  };
  const loop = (): void => {
    while (!out.closed) {
      if (gate !== undefined && !gate.isOpen()) {
        // Woken from within the settling of a step; the next step is to start first, so preparation hides behind it.
        stopWaiting = gate.whenOpen(later);
        return;
      }
      let result: IteratorResult<A> | Promise<IteratorResult<A>>;
      try {
        result = iterator.next();
      } catch (cause) {
        fail(cause);
        return;
      }
      if (isPromise(result)) {
        result.then((settled) => {
          if (take(settled)) loop();
        }, fail);
        return;
      }
      if (!take(result)) return;
    }
  };
  const begin = (): void => {
    sliceBegan = performance.now();
    loop();
  };
  const later = (): void => {
    if (!out.closed) stopWaiting = macrotask(begin);
  };

  out.add(() => {
    stopWaiting?.();
    if (!finished) close(iterator);
    finished = true;
  });
  begin();
};

/**
 * The records of an iterable, one at a time, asking for another only while the gate is open. Each subscription iterates anew.
 * Leaving closes the iterable (`return`), even while it waits at the gate; a source that throws ends the stream with a FatalError.
 * Without a gate it reads on as fast as the source gives, letting other events have their turn now and then.
 */
export const pull = <A>(source: Iterable<A> | AsyncIterable<A>, gate?: Gate): Observable<A> =>
  new Observable((out) => {
    let iterator: Iterator<A> | AsyncIterator<A>;
    try {
      const fault = gateFault('pull', gate);
      if (fault !== undefined) throw fault;
      iterator = iterate(source);
    } catch (cause) {
      out.error(sourceFailed(cause));
      return;
    }
    start(iterator, gate, out);
  });
