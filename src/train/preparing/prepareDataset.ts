/** A whole data set → rows to train on, on as many cores as pay. */
import { availableParallelism } from 'node:os';
import { defer, throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import { among, checked } from '../../checked.js';
import { fatal } from '../../errors.js';
import type { Warning } from '../../errors.js';
import { rowBlocks } from '../../formats/datasets/rowBlocks.js';
import type { RowBlock } from '../../formats/datasets/rowBlocks.js';
import { flattened } from '../../formats/datasets/sourced.js';
import type { Labelled } from '../../records.js';
import type { Crew } from '../../streams/crew.js';
import type { Gate } from '../../streams/gate.js';
import { pull } from '../../streams/pull.js';
import { shareOut } from '../../streams/shareOut.js';
import type { Here } from '../../streams/shareOut.js';
import type { SftConfig } from '../options/config.js';
import { isParity } from '../options/parity.js';
import { ofRun } from '../options/runNames.js';
import type { Dataset } from '../run/run.js';
import { makeCrew } from './crew/crew.js';
import { jobOf } from './crew/job.js';
import { blockOutcomes, endsInBug, stageNames, warningsBefore } from './crew/outcome.js';
import type { BlockOptions, Outcomes } from './crew/outcome.js';
import { replay, tellOutcomes } from './crew/replay.js';
import type { Told } from './crew/replay.js';
import { startThread } from './crew/threads.js';
import type { StartThread } from './crew/threads.js';
import { mostRoles } from './crew/wire.js';
import { inOrder, prepare, prepareConfigNames, prepareSetupNames } from './prepare.js';
import type { PrepareConfig, PrepareSetup } from './prepare.js';

/** How the work of `prepareDataset` is shared out. */
export interface PrepareDatasetOptions {
  /** The gate of the pipeline: rows are read on only while it is open. */
  readonly gate?: Gate | undefined;
  /** Threads where `datasetNumProc` says nothing. Default: as many as there are cores for this process. */
  readonly cores?: number | undefined;
  /** Rows that are handed to a thread at once, where they are not lines of a file. Default 128. */
  readonly blockRows?: number | undefined;
}

type MakeCrew = () => Crew<RowBlock, Outcomes>;

/** Undefined where all is to be done in this thread. */
const crewFor = (
  options: BlockOptions,
  config: PrepareConfig & Pick<SftConfig, 'datasetNumProc'>,
  start: StartThread | null,
  cores: number,
): MakeCrew | undefined => {
  const { datasetNumProc } = config;
  const threads = datasetNumProc ?? cores;
  // The text buffer of 0.7.10 tokenises many rows at a time, in their order: what is left of a row's own work is not worth it.
  if (threads === 1 || (config.packing && isParity(config))) return undefined;
  const job = jobOf(options);
  if (job === undefined) return undefined;
  if (start === null) {
    if (datasetNumProc === undefined) return undefined;
    throw fatal('E_WORKER_FAILED', 'the code of the threads that prepare rows is not where it should be', {
      field: 'datasetNumProc',
      hint: 'leave it out, or keep rxtune out of the bundle',
    });
  }
  return () =>
    makeCrew(start, job, { helpers: threads - 1, when: datasetNumProc === undefined ? 'whenLong' : 'atOnce' });
};

/** What became of each row, in order, a block at a time. */
const outcomes = (
  blocks: AsyncIterable<RowBlock>,
  options: BlockOptions,
  crew: MakeCrew,
  roleNumber: ((role: string) => number) | undefined,
): AsyncIterable<ReadonlyArray<Told>> => ({
  [Symbol.asyncIterator]: (): AsyncIterator<ReadonlyArray<Told>> => {
    let first = 0;
    const crowded = (made: Outcomes): boolean => (made.roles?.length ?? 0) > mostRoles;
    const here: Here<RowBlock, Outcomes> = {
      inTurn: (block) => {
        const made = blockOutcomes(block, options, { first });
        return crowded(made) ? blockOutcomes(block, options, { first, roleNumber }) : made;
      },
      outOfTurn: (block) => {
        const made = blockOutcomes(block, options, { first });
        return crowded(made) || endsInBug(made) ? undefined : made;
      },
    };
    const shared = shareOut(blocks, here, crew)[Symbol.asyncIterator]();
    return {
      next: async () => {
        const result = await shared.next();
        if (result.done === true) return { done: true, value: undefined };
        first += result.value.rows.length;
        return { done: false, value: tellOutcomes(result.value, options.tellRoles) };
      },
      return: async () => {
        await shared.return?.();
        return { done: true, value: undefined };
      },
    };
  },
});

/** Those options, and who starts threads: tests have some of their own. */
export interface Starting extends PrepareDatasetOptions {
  /** Default: as a worker thread of Node.js; null: nobody can, as where its code is not to be found. */
  readonly start?: StartThread | null | undefined;
}

/** `prepareDataset` with threads that are started so. */
export const prepareInThreads = (
  dataset: Dataset,
  setup: PrepareSetup,
  config: PrepareConfig & Pick<SftConfig, 'datasetNumProc'>,
  { gate, start = startThread(), cores = availableParallelism(), blockRows }: Starting = {},
): Observable<Labelled> =>
  defer(() => {
    const { tokenizer, formattingFunc, rejects, tally, names } = setup;
    const options: BlockOptions = { setup: { tokenizer, formattingFunc }, config, tellRoles: names !== undefined };
    const crew = crewFor(options, config, start, cores);
    if (crew === undefined) return pull(dataset, gate).pipe(prepare(setup, config));
    const warn = (warned: Warning): void => {
      tally?.warned(warned);
      setup.warn?.(warned);
    };
    const { read, finish } = inOrder(setup, config);
    warningsBefore(options, warn);
    return pull(flattened(outcomes(rowBlocks(dataset, blockRows), options, crew, names?.roles.numberOf)), gate).pipe(
      replay({
        stages: stageNames(options),
        rejects,
        warn,
        read,
        tokenized: tally?.tokenized,
        roles: names?.roles,
      }),
      finish,
    );
  });

/**
 * The rows of a data set made ready to train on, in its order: what `prepare` makes of them, with the same refusals, warnings and
 * counts. Where `datasetNumProc` allows and pays, blocks of rows are decoded, formatted, tokenised and masked in worker threads;
 * packing and cutting stay here. Every subscription reads the data set anew.
 *
 * One thread does it all where there is code that cannot go to another (a `formattingFunc`, a tokenizer that is not as its files
 * make it), and for the packing of 0.7.10. Rows that are objects of a class, or hold some, are prepared in the main thread while the others are not.
 * With a gate, blocks under way are bounded: eight a worker thread, and four. A thread that breaks down ends the stream (`E_WORKER_FAILED`).
 */
export const prepareDataset = checked(
  'prepareDataset',
  (fault) => throwError(() => fault),
  {
    1: among(prepareSetupNames),
    2: ofRun({ ...prepareConfigNames, datasetNumProc: 'optional' }),
    3: { gate: 'optional', cores: 'optional', blockRows: 'optional' },
  },
  (
    dataset: Dataset,
    setup: PrepareSetup,
    config: PrepareConfig & Pick<SftConfig, 'datasetNumProc'>,
    options: PrepareDatasetOptions = {},
  ): Observable<Labelled> => prepareInThreads(dataset, setup, config, options),
);
