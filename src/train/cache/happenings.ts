/** What preparing told on the way, written down in order and told again: warnings, refused rows, and how many rows each stage saw. */
import type { Warning } from '../../errors.js';
import type { Rejected, Rejects } from '../../streams/rejects.js';

export type Happening =
  | { readonly kind: 'saw'; readonly stages: ReadonlyArray<readonly [stage: string, rows: number]> }
  | { readonly kind: 'rejected'; readonly rejected: Rejected }
  | { readonly kind: 'warned'; readonly warning: Warning }
  | { readonly kind: 'settled' };

type Warn = (warning: Warning) => void;

export interface Ears {
  readonly rejects: Rejects;
  readonly warn: Warn;
}

/** Passes everything on and writes it down. */
export const listening = (to: Ears): { readonly ears: Ears; readonly happenings: () => ReadonlyArray<Happening> } => {
  const heard: Array<Happening> = [];
  // Equal warnings are one object, which is stored once.
  const warnings = new Map<string, Happening>();
  let seen = new Map<string, number>();
  const note = (happening: Happening): void => {
    if (seen.size > 0) heard.push({ kind: 'saw', stages: [...seen] });
    seen = new Map();
    heard.push(happening);
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
          note({ kind: 'rejected', rejected });
          return to.rejects.reject(rejected);
        },
        settle: () => {
          note({ kind: 'settled' });
          return to.rejects.settle();
        },
      },
      warn: (warning) => {
        const key = JSON.stringify(warning);
        const known = warnings.get(key) ?? { kind: 'warned', warning };
        warnings.set(key, known);
        note(known);
        to.warn(warning);
      },
    },
    happenings: () => heard,
  };
};

/** Tells it all again. Throws the error that ends a run where its refusals are too many, as it would have ended in preparing. */
export const retold = (happenings: ReadonlyArray<Happening>, { rejects, warn }: Ears): void => {
  for (const happening of happenings) {
    if (happening.kind === 'warned') warn(happening.warning);
    else if (happening.kind === 'saw') {
      for (const [stage, rows] of happening.stages) for (let row = 0; row < rows; row++) rejects.saw(stage);
    } else {
      const end = happening.kind === 'settled' ? rejects.settle() : rejects.reject(happening.rejected);
      if (end !== undefined) throw end;
    }
  }
};
