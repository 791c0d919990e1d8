import { Subject } from 'rxjs';
import type { Observable } from 'rxjs';
import { known } from '../checked.js';
import { fatal } from '../errors.js';
import type { DataError, ErrorCode, FatalError } from '../errors.js';

/** A record that left by the side door. */
export interface Rejected {
  /** Name of the stage that refused it. */
  readonly stage: string;
  /** 0-based position in the source; after a stage that merges or reorders rows, among the rows this stage received. */
  readonly index: number;
  readonly error: DataError;
  /** What the stage was given. */
  readonly record: unknown;
}

/** How many records were refused, and why. */
export interface RejectCounts {
  /** Records that came to the stage that saw most of them. */
  readonly seen: number;
  /** Records that were refused. */
  readonly rejected: number;
  /** The same by what was wrong with them. */
  readonly byCode: Readonly<Partial<Record<ErrorCode, number>>>;
  /** The same by who refused them. */
  readonly byStage: Readonly<Partial<Record<string, number>>>;
}

/** The side door: where the stages of a run send records they refuse. */
export interface Rejects {
  /** Hot: subscribe before the pipeline. Ends with `close`. */
  readonly stream: Observable<Rejected>;
  /** A stage received a record. */
  readonly saw: (stage: string) => void;
  /** Counts and hands on a refusal; the error that ends the run when there are now too many. */
  readonly reject: (rejected: Rejected) => FatalError | undefined;
  /** A stage came to its end: the rate is judged however few records there were. */
  readonly settle: () => FatalError | undefined;
  /** How many were refused so far, and why. */
  readonly counts: () => RejectCounts;
  /** Completes `stream`. */
  readonly close: () => void;
}

/** How many refusals are too many. */
export interface RejectOptions {
  /** Share of records that may be refused, 0 … 1. One more is fatal. Default 1: any number may be. */
  readonly maxRate?: number | undefined;
  /** Until so many were seen the rate is not judged, except at the end. Default 100. */
  readonly minSeen?: number | undefined;
}

const percent = (rate: number): string => `${Number((rate * 100).toPrecision(3))} %`;

/** Reasons, the most frequent first: `10 E_NO_LABELS, 2 E_INVALID_JSON`. */
export const reasonsText = (reasons: RejectCounts['byCode']): string =>
  Object.entries(reasons)
    .toSorted(([, a = 0], [, b = 0]) => b - a)
    .map(([code, count]) => `${count} ${code}`)
    .join(', ');

/** The side door of one run, shared by its stages. Fatal error when refusals are too many: `E_TOO_MANY_REJECTED`. */
export const makeRejects = (options: RejectOptions = {}): Rejects => {
  const { maxRate = 1, minSeen = 100 } = known('makeRejects', { maxRate: 'optional', minSeen: 'optional' }, options);
  const subject = new Subject<Rejected>();
  const seenBy = new Map<string, number>();
  const byCode = new Map<ErrorCode, number>();
  const byStage = new Map<string, number>();
  let seen = 0;
  let rejected = 0;
  let last: Rejected | undefined;

  const counts = (): RejectCounts => ({
    seen,
    rejected,
    byCode: Object.fromEntries(byCode),
    byStage: Object.fromEntries(byStage),
  });
  const judge = (): FatalError | undefined => {
    if (last === undefined || rejected <= maxRate * seen) return undefined;
    const { code, message, _tag, ...place } = last.error;
    return fatal('E_TOO_MANY_REJECTED', `${rejected} of ${seen} records were refused, the last: ${message} [${code}]`, {
      ...place,
      expected: `at most ${percent(maxRate)} of the records refused`,
      actual: `${percent(rejected / seen)}: ${reasonsText(counts().byCode)}`,
    });
  };
  return {
    stream: subject.asObservable(),
    saw: (stage) => {
      const count = (seenBy.get(stage) ?? 0) + 1;
      seenBy.set(stage, count);
      if (count > seen) seen = count;
    },
    reject: (refusal) => {
      rejected++;
      byCode.set(refusal.error.code, (byCode.get(refusal.error.code) ?? 0) + 1);
      byStage.set(refusal.stage, (byStage.get(refusal.stage) ?? 0) + 1);
      last = refusal;
      // A reject called by hand, outside any stage, was seen too.
      if (rejected > seen) seen = rejected;
      subject.next(refusal);
      return seen < minSeen ? undefined : judge();
    },
    settle: judge,
    counts,
    close: () => subject.complete(),
  };
};
