import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { Observable } from 'rxjs';
import type { OperatorFunction } from 'rxjs';
import { fatal, isFatal } from '../errors.js';
import type { FatalError } from '../errors.js';
import { gateFault } from './gate.js';
import type { Gate } from './gate.js';
import { untilLeft } from './untilLeft.js';

/** What the slow end does with one window: a Promise, or a TaskEither whose Left ends the run. */
export type Work<A, B> = (
  a: A,
  index: number,
  /** The window that waits behind this one, if one does by now. */
  following: () => A | undefined,
) => Promise<B> | TaskEither<FatalError, B>;

const failed = (cause: unknown): FatalError =>
  isFatal(cause) ? cause : fatal('E_WORK_FAILED', cause instanceof Error ? cause.message : String(cause), { cause });

const settle = async <B>(task: Promise<B> | TaskEither<FatalError, B>): Promise<B> => {
  if (typeof task !== 'function') return task;
  const result = await task();
  if (result._tag === 'Left') throw result.left;
  return result.right;
};

/**
 * Each window's result, in order, the work done strictly one at a time. Windows that wait or run count into the gate, so the
 * source stops being asked while enough do. Leaving drops what waits and starts nothing more; work already running runs out
 * unheard. A failure of the work or of the source ends the stream at once.
 */
export const drain =
  <A, B>(work: Work<A, B>, gate?: Gate): OperatorFunction<A, B> =>
  (source) =>
    new Observable((out) => {
      const fault = gateFault('drain', gate);
      if (fault !== undefined) {
        out.error(fault);
        return;
      }
      const lane = gate?.join();
      const waiting: Array<A> = [];
      let head = 0;
      let index = 0;
      let running = false;
      let ended = false;

      const next = (): void => {
        if (running || out.closed) return;
        if (head === waiting.length) {
          if (ended) out.complete();
          return;
        }
        running = true;
        const window = waiting[head] as A;
        head++;
        if (head > 32 && head * 2 > waiting.length) {
          waiting.splice(0, head);
          head = 0;
        }
        let result: Promise<B>;
        try {
          result = settle(work(window, index++, () => waiting[head]));
        } catch (cause) {
          out.error(failed(cause));
          return;
        }
        result.then(
          (value) => {
            running = false;
            out.next(value);
            // The next step starts before the gate wakes the source: its preparation hides behind the step.
            next();
            lane?.leave();
          },
          (cause: unknown) => out.error(failed(cause)),
        );
      };

      // The lane must count before the source is asked for anything, and go when nobody listens.
      out.add(() => {
        lane?.close();
        waiting.length = 0;
        head = 0;
      });
      out.add(
        untilLeft(source, out).subscribe({
          next: (window) => {
            lane?.enter();
            waiting.push(window);
            next();
          },
          error: (error: unknown) => out.error(error),
          complete: () => {
            ended = true;
            next();
          },
        }),
      );
    });
