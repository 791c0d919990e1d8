/** What the rows of a dataset were taken for. */
import { isSourced } from '../../formats/datasets/sourced.js';
import { recogniseFormat } from '../../formats/examples/example.js';
import type { FormatName, FormatReport } from '../../formats/examples/example.js';
import type { PrepareConfig } from '../preparing/prepare.js';

/** The rows by their shapes, and the first of each kind. */
export interface RowFormats {
  readonly formats: Readonly<Partial<Record<FormatName | 'none', number>>>;
  /** How the first row was understood, column by column; and the first that was not. */
  readonly recognised?: FormatReport;
  readonly unrecognised?: FormatReport;
}

export interface FormatTally {
  /** A row as it came. */
  readonly read: (raw: unknown) => void;
  readonly formats: () => RowFormats;
}

/** `asked`: a function says what a row is, whatever its shape. */
export const makeFormatTally = (
  { datasetTextField }: Pick<PrepareConfig, 'datasetTextField'>,
  asked: boolean,
): FormatTally => {
  const counts = new Map<FormatName | 'none', number>();
  const field = datasetTextField === undefined ? {} : { datasetTextField };
  let recognised: FormatReport | undefined;
  let unrecognised: FormatReport | undefined;
  return {
    read: (raw) => {
      const value = isSourced(raw) ? ('value' in raw ? raw.value : undefined) : raw;
      const report = asked ? undefined : recogniseFormat(value, field);
      const format = report?.format ?? 'none';
      counts.set(format, (counts.get(format) ?? 0) + 1);
      // What has no columns (a line that is no JSON) says nothing of which were expected.
      if (report?.format === undefined) unrecognised = unrecognised?.columns.length ? unrecognised : report;
      else recognised ??= report;
    },
    formats: () => ({
      formats: Object.fromEntries(counts),
      ...(recognised === undefined ? {} : { recognised }),
      ...(unrecognised === undefined ? {} : { unrecognised }),
    }),
  };
};
