/**
 * Back-pressure for rxjs, which pushes and never waits. The two ends of a stream share a gate: work at the bottom takes a lane
 * and counts into it what waits or runs there; `pull` at the top asks for another record only while every lane has room. Between
 * them everything is synchronous, so the counts are exact.
 */
import { known } from '../checked.js';
import { usage } from '../errors.js';
import type { FatalError } from '../errors.js';

/** One worker's count of what it has accepted and not yet finished. */
export interface Lane {
  /** One more is accepted. */
  readonly enter: () => void;
  /** One is finished. */
  readonly leave: () => void;
  /** Gives back what the lane still counts and takes the lane away. */
  readonly close: () => void;
}

/** How a lane counts. */
export interface LaneOptions {
  /** The gate stays open while this lane counts fewer. Default: the gate's `prefetch`. */
  readonly limit?: number | undefined;
  /** True (the default): what enters is work this thread must begin, so whoever prepares more should let it begin first. */
  readonly yields?: boolean | undefined;
}

/** What the two ends of a pipeline share: `pull` reads on only while it is open. */
export interface Gate {
  /** Windows that may wait or run at the slow end, the running one included. */
  readonly prefetch: number;
  /** Whether every lane has room. */
  readonly isOpen: () => boolean;
  /** Calls back once, when the gate opens next. Returns how to stop waiting. */
  readonly whenOpen: (resume: () => void) => () => void;
  /** A lane for one more worker. */
  readonly join: (options?: LaneOptions) => Lane;
  /** How often anything entered a yielding lane. */
  readonly handed: () => number;
}

/** What is wrong with a gate that is none: most likely it is the record that `makeGate` takes. */
export const gateFault = (caller: string, gate: unknown): FatalError | undefined =>
  gate === undefined || (typeof gate === 'object' && gate !== null && 'whenOpen' in gate)
    ? undefined
    : usage('E_OPTIONS', `${caller}: what was given as its gate is none`, {
        field: 'gate',
        expected: 'a gate, which the other end of the pipeline is given, too',
        hint: 'const gate = makeGate({ prefetch: 2 })',
      });

/** How far a pipeline runs ahead. */
export interface GateOptions {
  /** Windows that may wait or run at the slow end, the running one included. Default 2; below 1 counts as 1. */
  readonly prefetch?: number | undefined;
}

/**
 * A gate for one pipeline. With `prefetch` p at most p windows wait or run at the slow end, plus what the last record released;
 * 2 is enough to hide preparation behind a step. Anything below 1 would never open and counts as 1.
 */
export const makeGate = (options: GateOptions = {}): Gate => {
  const { prefetch = 2 } = known('makeGate', { prefetch: 'optional' }, options);
  const atMost = Math.max(1, Math.floor(prefetch));
  const waiting = new Set<() => void>();
  let fullLanes = 0;
  let handed = 0;
  const wake = (): void => {
    const resumes = [...waiting];
    waiting.clear();
    for (const resume of resumes) resume();
  };
  return {
    prefetch: atMost,
    isOpen: () => fullLanes === 0,
    whenOpen: (resume) => {
      // A fresh function a wait: the same callback may wait twice.
      const entry = (): void => resume();
      waiting.add(entry);
      return () => {
        waiting.delete(entry);
      };
    },
    join: ({ limit = atMost, yields = true } = {}) => {
      const room = Math.max(1, Math.floor(limit));
      let count = 0;
      let closed = false;
      const setCount = (next: number): void => {
        const wasFull = count >= room;
        count = next;
        const isFull = count >= room;
        if (wasFull === isFull) return;
        fullLanes += isFull ? 1 : -1;
        if (fullLanes === 0) wake();
      };
      return {
        enter: () => {
          if (closed) return;
          if (yields) handed++;
          setCount(count + 1);
        },
        leave: () => {
          if (!closed && count > 0) setCount(count - 1);
        },
        close: () => {
          if (closed) return;
          setCount(0);
          closed = true;
        },
      };
    },
    handed: () => handed,
  };
};
