/** A data set that fails preflight, as an error. */
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { FoundRow } from './checks.js';
import type { Preflight } from './preflight.js';

/** How messages call a row. */
export const rowName = ({ file, line, index }: FoundRow): string =>
  file === undefined ? `row ${index}` : `${file}:${line ?? index}`;

export const percent = (share: number): string =>
  `${share > 0 && share < 0.001 ? '<0.1' : Number((100 * share).toFixed(1))} %`;

/** `E_PREFLIGHT`: which checks failed and on which rows; undefined when all passed. */
export const preflightFault = ({ checks, rows, rowsRead, passed }: Preflight): FatalError | undefined => {
  if (passed) return undefined;
  const failed = checks.filter((check) => !check.passed);
  const [first] = failed.flatMap(({ examples }) => examples);
  const lines = failed.map(({ name, title, rows: count, share, limit, examples }) => {
    const more = count > examples.length ? ` and ${count - examples.length} more` : '';
    return `\n  ${name}: ${count} of ${rowsRead} rows ${title} (${percent(share)}, at most ${percent(limit)}): ${examples.map(rowName).join(', ')}${more}`;
  });
  const nothing = rows === 0 ? ['\n  no row is left to train on'] : [];
  return fatal('E_PREFLIGHT', `the data set fails its checks${[...lines, ...nothing].join('')}`, {
    ...(first?.file === undefined ? {} : { file: first.file }),
    ...(first?.line === undefined ? {} : { line: first.line }),
    hint: 'rxtune inspect shows the rows; without option strict they are trained on, or left out and counted',
  });
};
