/** Whole datasets made ready and held in memory. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { lastValueFrom, toArray } from 'rxjs';
import { among, checked } from '../../checked.js';
import { fatal, isFatal, render } from '../../errors.js';
import type { DataError, FatalError, Warning } from '../../errors.js';
import { decodedNames } from '../../formats/closed.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import type { Labelled } from '../../records.js';
import { makeRejects, reasonsText } from '../../streams/rejects.js';
import { isParity } from '../options/parity.js';
import { ofRun } from '../options/runNames.js';
import { SftConfig } from '../options/config.js';
import type { Dataset, SftSetup } from '../run/run.js';
import { throughCache } from './cache/preparedCache.js';
import { makeTally } from './prepare.js';
import type { PrepareSummary } from './prepare.js';
import { prepareDataset } from './prepareDataset.js';
import { countRefused } from './refusals.js';
import type { RefusedRows } from './refusals.js';
import { makeRowNames } from './rowNames.js';
import type { RowNames } from './rowNames.js';
import { counted } from '../../formats/counted.js';

/** A data set made ready, and what became of its rows. */
export interface Prepared {
  readonly rows: ReadonlyArray<Labelled>;
  readonly summary: PrepareSummary;
  readonly refused: RefusedRows;
  /** The rows were prepared before and kept: see `preparedCache`. */
  readonly fromCache: boolean;
}

const refused = (cause: unknown): FatalError =>
  isFatal(cause)
    ? cause
    : fatal(
        'E_PREPARE',
        `the dataset could not be prepared: ${cause instanceof Error ? cause.message : String(cause)}`,
        {
          cause,
        },
      );

/** What `prepareRows` needs that is no option. */
export interface PrepareRowsSetup extends Pick<SftSetup, 'formattingFunc' | 'rejects'> {
  /** Not needed for rows that bring token ids. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Hears warnings. */
  readonly warn?: ((warning: Warning) => void) | undefined;
  /** Rows say whose words their tokens are and where they come from; these are the names. */
  readonly names?: RowNames | undefined;
}

/** The first refusal in a line, its place included. */
const firstOf = (first: DataError | undefined): string =>
  first === undefined ? '' : `; the first refused: ${render(first).split('\n')[0] ?? ''}`;

/** A whole dataset made ready and held in memory. `E_NO_ROWS`: nothing is left to train on, with the reasons. */
export const prepareRows = checked(
  'prepareRows',
  TE.left,
  {
    1: among({
      tokenizer: 'optional',
      warn: 'optional',
      names: 'optional',
      formattingFunc: 'optional',
      rejects: 'optional',
    }),
    2: ofRun({ ...decodedNames(SftConfig.fields), maxLength: 'required' }),
  },
  (
    dataset: Dataset,
    setup: PrepareRowsSetup,
    config: SftConfig & { readonly maxLength: number },
  ): TaskEither<FatalError, Prepared> =>
    pipe(
      TE.tryCatch(async () => {
        const rejects = setup.rejects ?? makeRejects({ maxRate: config.maxRejectRate });
        const counting = countRefused(rejects);
        const frames: Array<ReadonlyArray<Labelled>> = [];
        const outcome = await throughCache(
          dataset,
          { ...setup, rejects },
          config,
          (rows) => Promise.resolve(void frames.push(rows)),
          async (heard, deliver) => {
            const tally = makeTally(config, heard.rejects);
            await deliver(await lastValueFrom(prepareDataset(dataset, { ...heard, tally }, config).pipe(toArray())));
            return tally.summary();
          },
        ).finally(counting.stop);
        const refused = counting.refused();
        return {
          rows: frames.length === 1 ? (frames[0] ?? []) : frames.flat(),
          refused,
          fromCache: outcome.fromCache,
          // Data sets may share one side door: its counts are those of all of them.
          summary: {
            ...outcome.summary,
            rejected: refused.rows,
            rejectedByReason: refused.reasons,
            fullyMasked: refused.reasons['E_NO_LABELS'] ?? 0,
          },
        };
      }, refused),
      TE.filterOrElse(
        ({ rows }) => rows.length > 0,
        ({ summary, refused: { first, reasons } }) => {
          return fatal(
            config.packing && isParity(config) ? 'E_PACKING_EMPTY' : 'E_NO_ROWS',
            `no row is left${firstOf(first)}`,
            {
              ...(first?.hint === undefined ? {} : { hint: first.hint }),
              expected: 'at least one row with a label that reaches the loss',
              actual: `${counted(summary.rowsRead, 'row')} read${first === undefined ? '' : `; refused: ${reasonsText(reasons)}`}`,
            },
          );
        },
      ),
    ),
);

/** Rows to train on: prepared, or none yet where they are streamed. */
export type TrainRows = Pick<Prepared, 'summary' | 'fromCache'> & Partial<Pick<Prepared, 'rows' | 'refused'>>;

/** A streamed dataset is read while training, so there is nothing to hold and nothing to tell yet. */
export const trainRows = (
  dataset: Dataset,
  setup: PrepareRowsSetup,
  config: SftConfig & { readonly maxLength: number },
): TaskEither<FatalError, TrainRows> =>
  config.streaming
    ? TE.right({ summary: makeTally(config).summary(), fromCache: false })
    : prepareRows(dataset, setup, config);

/** Whether rows can be read of it; not of a text, whose letters are none. */
export const isDataset = (value: unknown): value is Dataset =>
  typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value);

/** Evaluation sets by name; a single one has the empty name. */
export const evalSets = ({ evalDataset }: Pick<SftSetup, 'evalDataset'>): Readonly<Record<string, Dataset>> =>
  evalDataset === undefined ? {} : isDataset(evalDataset) ? { '': evalDataset } : evalDataset;

/** An evaluation set, whose rows tell roles and places under these names. */
export interface PreparedSet extends Prepared {
  readonly names: RowNames;
}

/** An error that names what it came of, where it names nothing itself. */
export const ofField =
  (field: string) =>
  (error: FatalError): FatalError =>
    fatal(error.code, error.message, {
      field,
      ...error.details,
      kind: error.kind,
      ...(error.cause === undefined ? {} : { cause: error.cause }),
    });

/** Where an evaluation set was given. */
export const fieldOfSet = (name: string): string => (name === '' ? 'evalDataset' : `evalDataset.${name}`);

/** An error of an evaluation set, which it names. */
export const ofSet = (name: string): ((error: FatalError) => FatalError) => ofField(fieldOfSet(name));

export const preparedSets = (
  sets: Readonly<Record<string, Dataset>>,
  setup: PrepareRowsSetup,
  config: SftConfig & { readonly maxLength: number },
): TaskEither<FatalError, Readonly<Record<string, PreparedSet>>> =>
  Object.entries(sets).reduce<TaskEither<FatalError, Readonly<Record<string, PreparedSet>>>>(
    (all, [name, dataset]) =>
      pipe(
        all,
        TE.flatMap((before) => {
          const names = makeRowNames();
          return pipe(
            prepareRows(dataset, { ...setup, names }, config),
            TE.mapLeft(ofSet(name)),
            TE.map((prepared) => ({ ...before, [name]: { ...prepared, names } })),
          );
        }),
      ),
    TE.right({}),
  );
