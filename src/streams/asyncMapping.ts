import type { Either } from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { Observable } from 'rxjs';
import type { OperatorFunction } from 'rxjs';
import { among, known } from '../checked.js';
import { isFatal } from '../errors.js';
import type { DataError, Place } from '../errors.js';
import type { Gate } from './gate.js';
import { bugIn, complete, placed, refuse } from './operator.js';
import type { Rejecting } from './operator.js';
import { originOf, placeOfOrigin, setOrigin } from './origin.js';
import { untilLeft } from './untilLeft.js';

/** How an asynchronous stage works. */
export interface AsyncMappingOptions extends Rejecting {
  /** How many records are worked on at once, 1 or more. */
  readonly concurrency: number;
  /** The gate of the pipeline: the source is asked for no more while `concurrency` records are under way here. */
  readonly gate?: Gate | undefined;
}

interface Slot<A, B> {
  readonly record: A;
  readonly index: number;
  readonly place: Place | undefined;
  result?: Either<DataError, B>;
}

/**
 * An asynchronous transform as an operator: up to `concurrency` records at once, results in the order of the records. Refusals
 * go the way of `mapping`; a rejected promise ends the stream (as it is when a FatalError, else as `E_BUG_IN_TRANSFORM`). With
 * the gate at most prefetch windows and concurrency - 1 records more are in flight.
 */
export const asyncMapping = <A, B>(
  stage: string,
  transform: (a: A) => Promise<Either<DataError, B>> | TaskEither<DataError, B>,
  options: AsyncMappingOptions,
): OperatorFunction<A, B> => {
  known('asyncMapping', among({ concurrency: 'required', gate: 'optional', rejects: 'optional' }), options);
  return (source) =>
    new Observable((out) => {
      const concurrency = Math.max(1, Math.floor(options.concurrency));
      const lane = options.gate?.join({ limit: concurrency, yields: false });
      /** Records under way or done and waiting for an earlier one, oldest first; then those not begun. */
      const under: Array<Slot<A, B>> = [];
      const waiting: Array<Slot<A, B>> = [];
      let count = 0;
      let emitting = false;
      let ended = false;

      const work = async (slot: Slot<A, B>): Promise<void> => {
        try {
          const task = transform(slot.record);
          slot.result = await (typeof task === 'function' ? task() : task);
        } catch (cause) {
          out.error(isFatal(cause) ? cause : bugIn(stage, slot.index, cause, slot.place));
          return;
        }
        emit();
      };
      const begin = (): void => {
        while (under.length < concurrency && !out.closed) {
          const slot = waiting.shift();
          if (slot === undefined) return;
          under.push(slot);
          void work(slot);
        }
      };
      const emit = (): void => {
        if (emitting) return;
        emitting = true;
        while (!out.closed) {
          const slot = under[0];
          if (slot?.result === undefined) break;
          under.shift();
          const { record, index, place, result } = slot;
          if (result._tag === 'Left') refuse(stage, index, placed(result.left, place), record, options, out);
          else {
            setOrigin(result.right, index, place);
            out.next(result.right);
          }
          begin();
          lane?.leave();
        }
        emitting = false;
        if (ended && under.length + waiting.length === 0 && !out.closed) complete(options, out);
      };

      out.add(() => {
        lane?.close();
        waiting.length = 0;
        under.length = 0;
      });
      untilLeft(source, out).subscribe({
        next: (record) => {
          const index = originOf(record) ?? count;
          const place = placeOfOrigin(record);
          count++;
          options.rejects?.saw(stage);
          lane?.enter();
          waiting.push({ record, index, place });
          begin();
        },
        error: (error: unknown) => out.error(error),
        complete: () => {
          ended = true;
          emit();
        },
      });
    });
};
