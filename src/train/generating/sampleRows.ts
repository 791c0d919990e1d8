/** The first rows of a dataset as they would be trained on, to look at. */
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { lastValueFrom, take, toArray } from 'rxjs';
import { onlyFatal, type FatalError } from '../../errors.js';
import type { Labelled } from '../../records.js';
import { pull } from '../../streams/pull.js';
import { makeRejects, type Rejects } from '../../streams/rejects.js';
import { prepare, type PrepareConfig, type PrepareSetup } from '../preparing/prepare.js';
import type { Dataset } from '../run/run.js';

export interface SampleSetup extends Pick<PrepareSetup, 'tokenizer' | 'formattingFunc'> {
  /** Where refused rows go. Default: they are left out. */
  readonly rejects?: Rejects | undefined;
}

/** The first `count` prepared rows; the dataset is read no further than that takes. */
export const sampleRows = (
  dataset: Dataset,
  count: number,
  setup: SampleSetup,
  config: PrepareConfig,
): TaskEither<FatalError, ReadonlyArray<Labelled>> =>
  TE.tryCatch(
    () =>
      lastValueFrom(
        pull(dataset).pipe(
          prepare({ ...setup, rejects: setup.rejects ?? makeRejects({ maxRate: 1 }) }, config),
          take(count),
          toArray(),
        ),
      ),
    onlyFatal,
  );
