/** The report on a data set that is read for it, or while it is prepared. */
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { among, checked } from '../../checked.js';
import { onlyFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { Dataset } from '../run/run.js';
import { foldPreflight, preflightConfigNames, preflightOptionNames } from './preflight.js';
import { ofRun } from '../options/runNames.js';
import type { Preflight, PreflightConfig, PreflightOptions } from './preflight.js';

/** What a report on a data set is made with. */
export interface PreflightDatasetOptions extends PreflightOptions {
  /** Rows read. Default: all. */
  readonly maxRows?: number | undefined;
}

/** Reads a data set and reports on it. Left: what the reader ends with. */
export const preflightDataset = checked(
  'preflightDataset',
  TE.left,
  { 1: among({ ...preflightOptionNames, maxRows: 'optional' }), 2: ofRun(preflightConfigNames) },
  (
    dataset: Dataset,
    { maxRows = Infinity, ...options }: PreflightDatasetOptions,
    config: PreflightConfig,
  ): TaskEither<FatalError, Preflight> =>
    TE.tryCatch(async () => {
      const fold = foldPreflight(options, config);
      let left = maxRows;
      for await (const raw of dataset) {
        fold.push(raw);
        if (--left <= 0) break;
      }
      return fold.report();
    }, onlyFatal),
);

/** The same data set; each row is seen as it is read. */
export const watched = (dataset: Dataset, see: (raw: unknown) => void): AsyncIterable<unknown> => ({
  [Symbol.asyncIterator]: () => seeing(dataset, see),
});

async function* seeing(dataset: Dataset, see: (raw: unknown) => void): AsyncGenerator<unknown, void, undefined> {
  for await (const raw of dataset) {
    see(raw);
    yield raw;
  }
}
