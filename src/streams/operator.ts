import type { Either } from 'fp-ts/lib/Either.js';
import { Observable, type OperatorFunction, type Subscriber } from 'rxjs';
import { among, known } from '../checked.js';
import { fatal, fatalFromData } from '../errors.js';
import type { DataError, FatalError, Place } from '../errors.js';
import type { Transform } from '../records.js';
import { forgetOrigin, originOf, placeOfOrigin, setOrigin } from './origin.js';
import type { Rejects } from './rejects.js';
import { untilLeft } from './untilLeft.js';

/** With `rejects` a refused record leaves by the side door and the stage goes on; without, it ends the stream. */
export interface Rejecting {
  readonly rejects?: Rejects | undefined;
}

/** What a stage of `mapping` is told beside its transform. */
export interface MappingOptions<A> extends Rejecting {
  /** Where a record stands: refusals of this stage and of those after it tell file and line. Default: where the stage before knew it. */
  readonly placeOf?: ((record: A) => Place | undefined) | undefined;
}

/** What takes in records and releases others, in its own time. Made anew for each subscription. */
export interface Machine<A, B> {
  /** What this record releases. A Left refuses the record and leaves the machine as it was. */
  readonly push: (a: A) => Either<DataError, ReadonlyArray<B>>;
  /** What is left at the end of the source. */
  readonly flush: () => ReadonlyArray<B>;
}

/** A throw in a pure half is a bug of that half, whatever was thrown. */
export const bugIn = (stage: string, index: number, cause: unknown, place: Place = {}): FatalError =>
  fatal(
    'E_BUG_IN_TRANSFORM',
    `Stage "${stage}" threw on record ${index}: ${cause instanceof Error ? cause.message : String(cause)}`,
    { ...place, cause, hint: 'a transform refuses a record by returning Left; a throw is a fault in its code' },
  );

/** An error that names no file is one of the place that its record came from. */
export const placed = (error: DataError, place: Place | undefined): DataError =>
  place === undefined || error.file !== undefined ? error : { ...error, ...place };

/** What ends a stage that has no side door: the refusal, and how to go on after such. */
const unopened = (stage: string, { hint, ...error }: DataError): FatalError => {
  const open = `give stage "${stage}" rejects (makeRejects), and it leaves such records out`;
  return fatalFromData({
    ...error,
    hint: hint === undefined ? open : `${hint}${hint.endsWith('?') ? ' Or' : '; or'} ${open}`,
  });
};

/** Sends a refusal where it belongs; true when the stage goes on. */
export const refuse = <B>(
  stage: string,
  index: number,
  error: DataError,
  record: unknown,
  { rejects }: Rejecting,
  out: Subscriber<B>,
): boolean => {
  const end = rejects === undefined ? unopened(stage, error) : rejects.reject({ stage, index, error, record });
  if (end === undefined) return true;
  out.error(end);
  return false;
};

/** Ends a stage whose source has ended: with the error of too many refusals, if it comes to that. */
export const complete = <B>({ rejects }: Rejecting, out: Subscriber<B>): void => {
  const end = rejects?.settle();
  if (end === undefined) out.complete();
  else out.error(end);
};

/** A pure transform as an operator: one record in, one out, or refused. Errors of the source pass unchanged. */
export const mapping = <A, B>(
  stage: string,
  transform: Transform<A, B>,
  options: MappingOptions<A> = {},
): OperatorFunction<A, B> => {
  known('mapping', among({ placeOf: 'optional', rejects: 'optional' }), options);
  return (source) =>
    new Observable((out) => {
      let count = 0;
      untilLeft(source, out).subscribe({
        next: (record) => {
          const index = originOf(record) ?? count;
          const place = options.placeOf?.(record) ?? placeOfOrigin(record);
          count++;
          options.rejects?.saw(stage);
          let result: Either<DataError, B>;
          try {
            result = transform(record);
          } catch (cause) {
            out.error(bugIn(stage, index, cause, place));
            return;
          }
          if (result._tag === 'Left') {
            refuse(stage, index, placed(result.left, place), record, options, out);
            return;
          }
          setOrigin(result.right, index, place);
          out.next(result.right);
        },
        error: (error: unknown) => out.error(error),
        complete: () => complete(options, out),
      });
    });
};

/** A machine as an operator: n records in, m out. What a machine still holds when the source fails is dropped with it. */
export const windowed = <A, B>(
  stage: string,
  makeMachine: () => Machine<A, B>,
  options: Rejecting = {},
): OperatorFunction<A, B> => {
  known('windowed', among({ rejects: 'optional' }), options);
  return (source) =>
    new Observable((out) => {
      let count = 0;
      let machine: Machine<A, B>;
      try {
        machine = makeMachine();
      } catch (cause) {
        out.error(bugIn(stage, count, cause));
        return;
      }
      const release = (released: ReadonlyArray<B>): void => {
        for (const record of released) {
          if (out.closed) return;
          forgetOrigin();
          out.next(record);
        }
      };
      untilLeft(source, out).subscribe({
        next: (record) => {
          const index = originOf(record) ?? count;
          const place = placeOfOrigin(record);
          count++;
          options.rejects?.saw(stage);
          let result: Either<DataError, ReadonlyArray<B>>;
          try {
            result = machine.push(record);
          } catch (cause) {
            out.error(bugIn(stage, index, cause, place));
            return;
          }
          if (result._tag === 'Left') refuse(stage, index, placed(result.left, place), record, options, out);
          else release(result.right);
        },
        error: (error: unknown) => out.error(error),
        complete: () => {
          if (out.closed) return;
          let rest: ReadonlyArray<B>;
          try {
            rest = machine.flush();
          } catch (cause) {
            out.error(bugIn(stage, count, cause));
            return;
          }
          release(rest);
          complete(options, out);
        },
      });
    });
};
