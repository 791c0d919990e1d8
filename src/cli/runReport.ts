/** The HTML report of a run that the command line made. */
import { dirname } from 'node:path';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { writeTextAtomically } from '../formats/files/atomicFile.js';
import { fileError } from '../formats/files/byteSource.js';
import { isDirectory } from '../formats/files/directory.js';
import { makeDirectory, makeWritableDirectory } from '../formats/files/makeDirectory.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import { sampleRows } from '../train/generating/sampleRows.js';
import { tokenizerAsked } from '../train/loading/withChatTemplate.js';
import type { SftConfig } from '../train/options/config.js';
import { maxLengthOf } from '../train/preparing/prepare.js';
import type { RunRecord } from '../train/report/record.js';
import { report, tokensOfRow } from '../train/report/report.js';
import type { ReportToken } from '../train/report/report.js';
import type { Dataset } from '../train/run/run.js';

export interface Reporting {
  readonly path: string;
  /** The training rows; the first few are shown. */
  readonly rows: Either<FatalError, Dataset>;
  /** As it was loaded: the options' chat format or template is set here. */
  readonly tokenizer: Tokenizer | undefined;
  /** The model's. */
  readonly maxPositions: number;
  readonly config: SftConfig;
}

/** The place of a report, made and found writable: told before the run, which it comes after. `E_IS_DIRECTORY`, `E_FILE`. */
export const reportable = (path: string): TaskEither<FatalError, void> =>
  TE.tryCatch(
    async () => {
      await makeWritableDirectory(dirname(path));
      if (await isDirectory(path)) throw Object.assign(new Error('a directory'), { code: 'EISDIR' });
    },
    (cause) => fileError(path, cause),
  );

type Shown = ReadonlyArray<ReadonlyArray<ReportToken>>;

const firstRows = ({ rows: data, tokenizer: loaded, maxPositions, config }: Reporting): TaskEither<FatalError, Shown> =>
  pipe(
    TE.Do,
    TE.bind('dataset', () => TE.fromEither(data)),
    TE.bind('tokenizer', () => tokenizerAsked(loaded, config)),
    TE.bind('rows', ({ dataset, tokenizer }) =>
      sampleRows(dataset, 3, { tokenizer }, { ...config, maxLength: maxLengthOf(config, tokenizer, maxPositions) }),
    ),
    TE.map(({ rows, tokenizer }) =>
      rows.map((row) => tokensOfRow(row, (ids) => tokenizer?.decode(ids) ?? `${ids.join(' ')} `)),
    ),
  );

/**
 * Writes the page, whole or not at all: the run as it was recorded, and the first rows of the dataset as the loss sees them. Of a run
 * that failed it goes without rows where they cannot be had: they may be what failed.
 */
export const writeReport = (record: RunRecord, reporting: Reporting): TaskEither<FatalError, void> =>
  pipe(
    TE.tryCatch(
      () => makeDirectory(dirname(reporting.path)),
      (cause) => fileError(reporting.path, cause),
    ),
    TE.flatMap(() => {
      const rows = firstRows(reporting);
      return record.state === 'failed' ? TE.orElse(() => TE.right<FatalError, Shown>([]))(rows) : rows;
    }),
    TE.flatMap((rows) => writeTextAtomically(reporting.path, report({ title: record.title, record, rows }))),
  );
