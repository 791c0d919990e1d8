/** `strict`: rows are checked while they are read to be trained on, and refused together. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../../errors.js';
import type { SftConfig } from '../options/config.js';
import type { Dataset } from '../run/run.js';
import { watched } from './dataset.js';
import { foldPreflight } from './preflight.js';
import type { PreflightOptions } from './preflight.js';
import { preflightFault } from './strict.js';

/**
 * What `use` makes of the data set; without `strict` that is all. With it, Left (`E_PREFLIGHT`) where the rows that `use` read
 * fail a check, or leave nothing to train on.
 */
export const strictly = <A>(
  dataset: Dataset,
  options: PreflightOptions,
  config: SftConfig & { readonly maxLength: number },
  use: (dataset: Dataset) => TaskEither<FatalError, A>,
): TaskEither<FatalError, A> => {
  if (!config.strict) return use(dataset);
  const fold = foldPreflight({ ...options, samples: 0 }, config);
  return pipe(
    use(watched(dataset, fold.push)),
    TE.flatMap((made) => {
      const fault = preflightFault(fold.report());
      return fault === undefined ? TE.right(made) : TE.left(fault);
    }),
  );
};
