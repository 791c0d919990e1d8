/** What a run reads: sources mixed, and rows held back for evaluation. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { interleave } from '../../formats/datasets/interleave.js';
import { identified, madeOf } from '../../formats/identity.js';
import { random } from '../../seed.js';
import { sourceFailed } from '../../streams/pull.js';
import type { SftConfig } from '../options/config.js';
import type { Dataset, Mixture, SftSetup } from '../run/run.js';

export type DivideConfig = Pick<SftConfig, 'evalSplit' | 'stoppingStrategy' | 'seed' | 'dataSeed' | 'streaming'>;

export const isMixture = (dataset: Dataset | Mixture): dataset is Mixture => 'mix' in dataset;

async function* where(
  rows: Dataset,
  limit: () => Promise<number>,
  holds: (index: number, limit: number) => boolean,
): AsyncGenerator<unknown, void, undefined> {
  const drawn = await limit();
  let index = 0;
  for await (const row of rows) if (holds(index++, drawn)) yield row;
}

async function* inTurn(datasets: ReadonlyArray<Dataset>): AsyncGenerator<unknown, void, undefined> {
  for (const dataset of datasets) yield* dataset;
}

const joined = (datasets: ReadonlyArray<Dataset>): Dataset =>
  identified(
    { [Symbol.asyncIterator]: () => inTurn(datasets) },
    madeOf(datasets, (joined) => ({ joined })),
  );

/** A generator can be read once only, and is held in memory. */
const rereadable = async (dataset: Dataset): Promise<Dataset> => {
  const iterator: unknown =
    Symbol.asyncIterator in dataset ? dataset[Symbol.asyncIterator]() : dataset[Symbol.iterator]();
  if (iterator !== dataset) return dataset;
  const rows: Array<unknown> = [];
  for await (const row of dataset) rows.push(row);
  return rows;
};

/** The lot that row `index` of source `source` draws, in [0, 1): it stays the same whatever other rows there are. */
const lotOf = (seed: number, source: number, index: number): number => random(seed, 'split', source, index).uniform();

/** How many of `count` rows are held back: a share is rounded up, as `train_test_split` does. */
export const evalRowCount = (count: number, evalSplit: number): number =>
  evalSplit < 1 ? Math.ceil(evalSplit * count) : evalSplit;

/** Lots below this are held back: exactly as many as asked for. One pass over every source, nothing held but the lots. */
const limitFor = async (datasets: ReadonlyArray<Dataset>, seed: number, evalSplit: number): Promise<number> => {
  const lots: Array<number> = [];
  for (const [source, dataset] of datasets.entries()) {
    let index = 0;
    for await (const _row of dataset) lots.push(lotOf(seed, source, index++));
  }
  const count = evalRowCount(lots.length, evalSplit);
  if (count >= lots.length) {
    throw usage('E_EVAL_SPLIT', `evalSplit holds back ${count} of ${lots.length} rows, and none is left to train on`, {
      field: 'evalSplit',
    });
  }
  return Float64Array.from(lots).sort()[count] ?? 1;
};

/** The same promise for all who ask, made for the first. */
const once = <A>(make: () => Promise<A>): (() => Promise<A>) => {
  let made: Promise<A> | undefined;
  return () => (made ??= make());
};

const divided = async (datasets: ReadonlyArray<Dataset>, { streaming, ...config }: DivideConfig, evalSplit: number) => {
  const seed = config.dataSeed ?? config.seed;
  const sources = await Promise.all(datasets.map(rereadable));
  // Only who reads a part needs to know: rows that were prepared before are known by what the parts are made of.
  const limit = once(() => (streaming ? Promise.resolve(evalSplit) : limitFor(sources, seed, evalSplit)));
  // What is held back of one source depends on the lots of all; their files are hashed once for all parts.
  const all = once(madeOf(sources, (told) => told));
  const part = (dataset: Dataset, source: number, isHeldBack: boolean): Dataset =>
    identified(
      {
        [Symbol.asyncIterator]: () =>
          where(dataset, limit, (index, drawn) => lotOf(seed, source, index) < drawn === isHeldBack),
      },
      async () => {
        const identity = await all();
        const drawn = { source, seed, evalSplit, streaming, isHeldBack };
        return identity === undefined ? undefined : { ...identity, told: { of: identity.told, drawn } };
      },
    );
  return {
    train: sources.map((dataset, source) => part(dataset, source, false)),
    evaluation: sources.map((dataset, source) => part(dataset, source, true)),
  };
};

/** Rows to evaluate on come from one place: `E_OPTIONS` where both `evalSplit` and `evalDataset` are given. */
export const notBothGiven = (
  { evalDataset }: Pick<SftSetup, 'evalDataset'>,
  { evalSplit }: Pick<SftConfig, 'evalSplit'>,
): Either<FatalError, void> =>
  evalDataset === undefined || evalSplit === undefined
    ? E.right(undefined)
    : E.left(usage('E_OPTIONS', 'evalSplit and evalDataset exclude each other', { field: 'evalSplit' }));

export interface Divided {
  readonly trainDataset: Dataset;
  readonly evalDataset?: SftSetup['evalDataset'];
}

/**
 * The rows to train and to evaluate on: `evalSplit` of every source held back by lot, then the sources mixed. The two parts are
 * disjoint and together all rows; a resumed run, having the same seed, divides them the same way.
 */
export const divide = (
  { trainDataset, evalDataset }: Pick<SftSetup, 'trainDataset' | 'evalDataset'>,
  config: DivideConfig,
): TaskEither<FatalError, Divided> =>
  TE.tryCatch(async () => {
    const { evalSplit, stoppingStrategy } = config;
    const seed = config.dataSeed ?? config.seed;
    const mixing = isMixture(trainDataset) ? trainDataset.mix : undefined;
    const mixed = (parts: ReadonlyArray<Dataset>): Dataset =>
      mixing === undefined
        ? joined(parts)
        : interleave(
            parts.map((rows, i) => ({ rows, weight: mixing[i]?.weight ?? 1 })),
            { seed, stoppingStrategy },
          );
    const sources = isMixture(trainDataset) ? trainDataset.mix.map(({ dataset }) => dataset) : [trainDataset];
    if (evalSplit === undefined) {
      return {
        trainDataset: isMixture(trainDataset) ? mixed(sources) : trainDataset,
        ...(evalDataset === undefined ? {} : { evalDataset }),
      };
    }
    const given = notBothGiven({ evalDataset }, config);
    if (E.isLeft(given)) throw given.left;
    const { train, evaluation } = await divided(sources, config, evalSplit);
    return { trainDataset: mixed(train), evalDataset: joined(evaluation) };
  }, sourceFailed);
