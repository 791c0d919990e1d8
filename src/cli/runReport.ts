/** The HTML report of a run that the command line made. */
import { pipe } from 'fp-ts/lib/function.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { writeTextAtomically } from '../formats/atomicFile.js';
import type { Tokenizer } from '../formats/tokenizer.js';
import type { SftConfig } from '../train/config.js';
import { maxLengthOf } from '../train/prepare.js';
import { report, tokensOfRow, type ReportStep } from '../train/report.js';
import type { Dataset, RunSummary } from '../train/run.js';
import { sampleRows } from '../train/sampleRows.js';
import type { SftRun } from '../train/trainer.js';

/** The steps of the run with the time of each and the evaluations in between; asked for at the end. */
export const recorded = (run: SftRun): (() => ReadonlyArray<ReportStep>) => {
  const steps: Array<ReportStep> = [];
  const evaluated = new Map<number, number>();
  const begun = performance.now();
  run.events.subscribe((event) => {
    if (event.kind === 'evaluation') evaluated.set(event.evaluation.step, event.evaluation.loss);
    if (event.kind === 'step') steps.push({ ...event.step, seconds: (performance.now() - begun) / 1000 });
  });
  return () =>
    steps.map((one) => {
      const evalLoss = evaluated.get(one.step);
      return evalLoss === undefined ? one : { ...one, evalLoss };
    });
};

export interface Reporting {
  readonly path: string;
  readonly title: string;
  /** The training rows; the first few are shown. */
  readonly rows: Either<FatalError, Dataset>;
  readonly tokenizer: Tokenizer | undefined;
  readonly config: SftConfig;
}

/** Writes the page: curves, and the first rows of the dataset as the loss sees them. */
export const writeReport = (
  steps: ReadonlyArray<ReportStep>,
  { tokensPerSecond, trainLoss }: RunSummary,
  { path, title, rows: data, tokenizer, config }: Reporting,
): TaskEither<FatalError, void> =>
  pipe(
    TE.fromEither(data),
    TE.flatMap((dataset) =>
      sampleRows(dataset, 3, { tokenizer }, { ...config, maxLength: maxLengthOf(config, tokenizer) }),
    ),
    TE.flatMap((rows) =>
      writeTextAtomically(
        path,
        report({
          title,
          facts: [
            ['mean loss', trainLoss.toFixed(4)],
            ['tokens/s', Math.round(tokensPerSecond).toLocaleString('en-US')],
          ],
          steps,
          rows: rows.map((row) => tokensOfRow(row, (ids) => tokenizer?.decode(ids) ?? `${ids.join(' ')} `)),
        }),
      ),
    ),
  );
