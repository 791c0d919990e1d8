/** The questions that a dataset is asked, row by row, and the answers. */
import type { Place } from '../../errors.js';
import { isTaken } from './inspectRow.js';
import type { RowInspection } from './inspectRow.js';

/**
 * The questions: rows refused, without a token to train, whose stop token is not trained, with BOS doubled, asked for otherwise
 * than trained, with something that the template leaves out, with an empty answer, cut to `maxLength`.
 */
export type CheckName =
  | 'refused'
  | 'fullyMasked'
  | 'stopNotTrained'
  | 'doubledBos'
  | 'promptDiffers'
  | 'unshown'
  | 'emptyAnswer'
  | 'truncated';

/** A row that a check found. */
export interface FoundRow extends Place {
  /** Position among the rows, from 0. */
  readonly index: number;
  readonly why?: string;
}

/** One question a dataset is asked, and the answer. */
export interface Check {
  /** Which question it is. */
  readonly name: CheckName;
  /** It in words. */
  readonly title: string;
  /** How many rows it found. */
  readonly rows: number;
  /** Of the rows read. */
  readonly share: number;
  /** Largest share that passes. */
  readonly limit: number;
  readonly passed: boolean;
  /** The first few rows found. */
  readonly examples: ReadonlyArray<FoundRow>;
}

/** What each check counts, in the order of the report. */
export const checkTitles: Readonly<Record<CheckName, string>> = {
  refused: 'refused',
  fullyMasked: 'without a token to train',
  stopNotTrained: 'without a trained stop token',
  doubledBos: 'with BOS doubled',
  promptDiffers: 'asked for otherwise than trained',
  unshown: 'with what the template leaves out',
  emptyAnswer: 'with an empty answer',
  truncated: 'cut to maxLength',
};
const names = Object.keys(checkTitles) as ReadonlyArray<CheckName>;

const defaultLimits: Readonly<Record<CheckName, number>> = {
  refused: 0,
  fullyMasked: 0,
  stopNotTrained: 0,
  doubledBos: 0,
  promptDiffers: 0,
  unshown: 0,
  emptyAnswer: 0,
  truncated: 0.05,
};

/** The names that limits may have. */
export const limitNames = Object.fromEntries(Object.keys(defaultLimits).map((name) => [name, 'optional' as const]));

/** The checks that find something in a row. A cut row cannot end with its stop token: it counts as cut. */
export const findings = (inspection: RowInspection): ReadonlyArray<CheckName> => {
  if ('error' in inspection) return ['refused'];
  if (!isTaken(inspection)) return [];
  const { trained, truncated, stopTrained, doubledBos, promptDiffers, unshown, emptyAnswer } = inspection;
  return [
    ...(trained === 0 ? ['fullyMasked' as const] : []),
    ...(trained > 0 && !truncated && stopTrained === false ? ['stopNotTrained' as const] : []),
    ...(doubledBos ? ['doubledBos' as const] : []),
    ...(promptDiffers ? ['promptDiffers' as const] : []),
    ...(unshown.length > 0 ? ['unshown' as const] : []),
    ...(emptyAnswer ? ['emptyAnswer' as const] : []),
    ...(truncated ? ['truncated' as const] : []),
  ];
};

/** Rows kept as examples of a check. */
const examplesKept = 5;

const whyOf = (inspection: RowInspection, name: CheckName): string | undefined => {
  if ('error' in inspection) return `${inspection.error.message.split('\n')[0] ?? ''} [${inspection.error.code}]`;
  return name === 'unshown' && isTaken(inspection) ? inspection.unshown.join(', ') : undefined;
};

/** The row as an example of what a check found. */
const foundIn = (inspection: RowInspection, name: CheckName): FoundRow => {
  const why = whyOf(inspection, name);
  return { index: inspection.index, ...inspection.place, ...(why === undefined ? {} : { why }) };
};

/** Counts what checks find. */
export interface CheckTally {
  /** A row, and what `findings` there are in it. */
  readonly add: (inspection: RowInspection, found: ReadonlyArray<CheckName>) => void;
  /** The answers after so many rows. */
  readonly checks: (rowsRead: number) => ReadonlyArray<Check>;
}

/** `limits`: shares of the rows that pass, where they are not the default ones. */
export const makeCheckTally = (limits: Readonly<Partial<Record<CheckName, number>>>): CheckTally => {
  const tallies = new Map(names.map((name) => [name, { rows: 0, examples: [] as Array<FoundRow> }]));
  return {
    add: (inspection, found) => {
      for (const name of found) {
        const own = tallies.get(name);
        if (own === undefined) continue;
        own.rows += 1;
        if (own.examples.length < examplesKept) own.examples.push(foundIn(inspection, name));
      }
    },
    checks: (rowsRead) =>
      Array.from(tallies, ([name, { rows, examples }]): Check => {
        const share = rowsRead === 0 ? 0 : rows / rowsRead;
        const limit = limits[name] ?? defaultLimits[name];
        return { name, title: checkTitles[name], rows, share, limit, passed: share <= limit, examples: [...examples] };
      }),
  };
};
