/** What preparing told on the way, written down in order and told again: warnings, refused rows, and how many rows each stage saw. */
import type { Warning } from '../../../errors.js';
import type { Rejected, Rejects } from '../../../streams/rejects.js';

export type Happening =
  | { readonly kind: 'saw'; readonly stages: ReadonlyArray<readonly [stage: string, rows: number]> }
  | { readonly kind: 'rejected'; readonly rejected: Rejected }
  | { readonly kind: 'warned'; readonly warning: Warning; readonly times: number }
  | { readonly kind: 'settled' };

type Warn = (warning: Warning) => void;

export interface Ears {
  readonly rejects: Rejects;
  readonly warn: Warn;
}

/** More than this is not written down: a stream of rows that are all refused must not gather in memory. */
const mostHappenings = 100_000;

interface Run {
  readonly kind: 'warned';
  readonly warning: Warning;
  times: number;
}

/** Passes everything on and writes it down. `happenings` is undefined when there were more than `most`. */
export const listening = (
  to: Ears,
  most = mostHappenings,
): { readonly ears: Ears; readonly happenings: () => ReadonlyArray<Happening> | undefined } => {
  let heard: Array<Happening> | undefined = [];
  let run: Run | undefined;
  // Equal warnings are one object, which is stored once.
  const warnings = new Map<string, Warning>();
  let seen = new Map<string, number>();
  const note = (happening: Happening): void => {
    heard?.push(happening);
    if (heard === undefined || heard.length <= most) return;
    heard = undefined;
    warnings.clear();
  };
  /** What the stages saw matters where refusals are judged. */
  const judged = (happening: Happening): void => {
    run = undefined;
    if (seen.size > 0) note({ kind: 'saw', stages: [...seen] });
    seen = new Map();
    note(happening);
  };
  const warned = (warning: Warning): void => {
    if (heard === undefined) return;
    const key = JSON.stringify(warning);
    const known = warnings.get(key) ?? warning;
    warnings.set(key, known);
    if (run?.warning === known) run.times++;
    else {
      run = { kind: 'warned', warning: known, times: 1 };
      note(run);
    }
  };
  return {
    ears: {
      rejects: {
        ...to.rejects,
        saw: (stage) => {
          seen.set(stage, (seen.get(stage) ?? 0) + 1);
          to.rejects.saw(stage);
        },
        reject: (rejected) => {
          judged({ kind: 'rejected', rejected });
          return to.rejects.reject(rejected);
        },
        settle: () => {
          judged({ kind: 'settled' });
          return to.rejects.settle();
        },
      },
      warn: (warning) => {
        warned(warning);
        to.warn(warning);
      },
    },
    happenings: () => heard,
  };
};

/** Tells it all again. Throws the error that ends a run where its refusals are too many, as it would have ended in preparing. */
export const retold = (happenings: ReadonlyArray<Happening>, { rejects, warn }: Ears): void => {
  for (const happening of happenings) {
    if (happening.kind === 'warned') for (let time = 0; time < happening.times; time++) warn(happening.warning);
    else if (happening.kind === 'saw') {
      for (const [stage, rows] of happening.stages) for (let row = 0; row < rows; row++) rejects.saw(stage);
    } else {
      const end = happening.kind === 'settled' ? rejects.settle() : rejects.reject(happening.rejected);
      if (end !== undefined) throw end;
    }
  }
};
