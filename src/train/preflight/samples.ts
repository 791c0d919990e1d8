/** Which prepared rows a report shows: the first few, and one for each check that found any. */
import type { Labelled } from '../../records.js';
import { checkTitles } from './checks.js';
import type { CheckName } from './checks.js';
import type { RowInspection, RowTaken } from './inspectRow.js';

/** A prepared row, and why it is shown. */
export interface PreflightSample {
  readonly title: string;
  readonly row: Labelled;
}

/** How a report calls a row: by its line, or its number. */
const nameOf = ({ index, place }: RowInspection): string =>
  place.file === undefined ? `row ${index}` : `${place.file}:${place.line ?? index}`;

/** Chooses rows to show. */
export interface Samples {
  /** A row that checks found something in: shown for each of them that has no row to show yet. */
  readonly found: (inspection: RowTaken, checks: ReadonlyArray<CheckName>) => void;
  /** A row as it is trained on. */
  readonly row: (inspection: RowTaken) => void;
  /** The next windows that rows were packed into. */
  readonly windows: (packed: ReadonlyArray<Labelled>) => void;
  readonly shown: () => ReadonlyArray<PreflightSample>;
}

/** Shows `wanted` rows or windows, beside those of checks. */
export const makeSamples = (wanted: number): Samples => {
  const samples: Array<PreflightSample> = [];
  const checked = new Set<CheckName>();
  let plain = 0;
  const add = (title: string, row: Labelled): void => {
    if (plain++ < wanted) samples.push({ title, row });
  };
  return {
    found: (inspection, checks) => {
      if (inspection.row.inputIds.length === 0) return;
      for (const name of checks) {
        if (checked.has(name)) continue;
        checked.add(name);
        samples.push({ title: `${nameOf(inspection)}: ${checkTitles[name]}`, row: inspection.row });
      }
    },
    row: (inspection) => add(nameOf(inspection), inspection.row),
    windows: (packed) => {
      for (const row of packed) add(`window ${plain}`, row);
    },
    shown: () => [...samples],
  };
};
