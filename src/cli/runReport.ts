/** The HTML report of a run that the command line made. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { writeTextAtomically } from '../formats/atomicFile.js';
import { fileError } from '../formats/byteSource.js';
import type { Tokenizer } from '../formats/tokenizer.js';
import type { SftConfig } from '../train/config.js';
import { maxLengthOf } from '../train/prepare.js';
import { report, tokensOfRow } from '../train/report.js';
import type { RunRecord } from '../train/report/record.js';
import type { Dataset } from '../train/run.js';
import { sampleRows } from '../train/sampleRows.js';

export interface Reporting {
  readonly path: string;
  /** The training rows; the first few are shown. */
  readonly rows: Either<FatalError, Dataset>;
  readonly tokenizer: Tokenizer | undefined;
  readonly config: SftConfig;
}

/** Writes the page: the run as it was recorded, and the first rows of the dataset as the loss sees them. */
export const writeReport = (
  record: RunRecord,
  { path, rows: data, tokenizer, config }: Reporting,
): TaskEither<FatalError, void> =>
  pipe(
    TE.tryCatch(
      () => mkdir(dirname(path), { recursive: true }),
      (cause) => fileError(path, cause),
    ),
    TE.flatMapEither(() => data),
    TE.flatMap((dataset) =>
      sampleRows(dataset, 3, { tokenizer }, { ...config, maxLength: maxLengthOf(config, tokenizer) }),
    ),
    TE.flatMap((rows) =>
      writeTextAtomically(
        path,
        report({
          title: record.title,
          record,
          rows: rows.map((row) => tokensOfRow(row, (ids) => tokenizer?.decode(ids) ?? `${ids.join(' ')} `)),
        }),
      ),
    ),
  );
