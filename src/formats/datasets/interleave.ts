/** Several sources mixed into one by chance, as `interleave_datasets` of `datasets` does with probabilities. */
import { checked, unreadable } from '../../checked.js';
import { fatal, usage } from '../../errors.js';
import { random } from '../../seed.js';
import { identified, madeOf } from '../identity.js';
import { findDataset, lookedFor } from './presence.js';

/** When a mixture ends; `InterleaveOptions` tells what each means. */
export type StoppingStrategy = 'first_exhausted' | 'all_exhausted' | 'all_exhausted_without_replacement';

/** Rows in order, now or as they come. */
export type Rows<A> = Iterable<A> | AsyncIterable<A>;

/** One source of a mixture. */
export interface MixSource<A> {
  readonly rows: Rows<A>;
  /** Relative to those of the others, above 0. */
  readonly weight: number;
}

/** How a mixture draws, and when it ends. */
export interface InterleaveOptions {
  /** Of the draws. */
  readonly seed: number;
  /**
   * `first_exhausted` (default): ends with the last row of the source that ends first. `all_exhausted`: sources that end begin anew
   * until each has ended once. `all_exhausted_without_replacement`: each row comes once.
   */
  readonly stoppingStrategy?: StoppingStrategy | undefined;
}

/** One source with its next row in hand: what tells that a row was the last one. */
interface Reader<A> {
  readonly take: () => Promise<A>;
  readonly isAtEnd: () => boolean;
  readonly restart: () => Promise<void>;
  readonly close: () => Promise<void>;
}

const iterate = <A>(rows: Rows<A>): Iterator<A> | AsyncIterator<A> =>
  Symbol.asyncIterator in rows ? rows[Symbol.asyncIterator]() : rows[Symbol.iterator]();

const noRows = (index: number, again: boolean) =>
  fatal(
    'E_EMPTY_DATASET',
    `source ${index + 1} of the mixture ${again ? 'gave no rows when read again' : 'holds no rows'}`,
    {
      expected: 'at least one row',
      ...(again ? { hint: 'a generator can be read once only; give an iterable that begins anew each time' } : {}),
    },
  );

const reader = async <A>(rows: Rows<A>, index: number): Promise<Reader<A>> => {
  let iterator = iterate(rows);
  let next = await iterator.next();
  if (next.done === true) throw noRows(index, false);
  return {
    take: async () => {
      const { value } = next as IteratorYieldResult<A>;
      next = await iterator.next();
      return value;
    },
    isAtEnd: () => next.done === true,
    restart: async () => {
      iterator = iterate(rows);
      next = await iterator.next();
      if (next.done === true) throw noRows(index, true);
    },
    close: async () => {
      await iterator.return?.();
    },
  };
};

/** The rows of the sources in the order in which `draw` names them, until the strategy says so. */
export async function* interleaved<A>(
  sources: ReadonlyArray<Rows<A>>,
  draw: () => number,
  strategy: StoppingStrategy,
): AsyncGenerator<A, void, undefined> {
  const readers: Array<Reader<A>> = [];
  try {
    for (const [index, rows] of sources.entries()) readers.push(await reader(rows, index));
    const ended = new Set<number>();
    const isOver = (): boolean => (strategy === 'first_exhausted' ? ended.size > 0 : ended.size === readers.length);
    while (!isOver()) {
      const index = draw();
      const from = readers[index];
      if (from === undefined || (strategy === 'all_exhausted_without_replacement' && ended.has(index))) continue;
      yield await from.take();
      if (!from.isAtEnd()) continue;
      ended.add(index);
      if (strategy === 'all_exhausted' && !isOver()) await from.restart();
    }
  } finally {
    for (const one of readers) await one.close();
  }
}

/** Indices drawn with the probabilities that the weights say. */
const drawing = (weights: ReadonlyArray<number>, seed: number): (() => number) => {
  const { uniform } = random(seed, 'mix');
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return () => {
    let left = uniform() * total;
    for (const [index, weight] of weights.entries()) {
      left -= weight;
      if (left < 0) return index;
    }
    return weights.length - 1;
  };
};

/**
 * The rows of several sources, each drawn from a source by chance. The same seed gives the same order every time, so a pass that
 * is read again to the place where a run was left goes on exactly as it would have.
 */
export const interleave = checked(
  'interleave',
  unreadable,
  { 1: { seed: 'required', stoppingStrategy: 'optional' } },
  <A>(
    sources: ReadonlyArray<MixSource<A>>,
    { seed, stoppingStrategy = 'first_exhausted' }: InterleaveOptions,
  ): AsyncIterable<A> => {
    const wrong = sources.findIndex(({ weight }) => !(weight > 0 && Number.isFinite(weight)));
    if (wrong !== -1 || sources.length === 0) {
      throw usage(
        'E_MIXTURE',
        sources.length === 0 ? 'a mixture of no sources' : `the weight of source ${wrong + 1} is no share`,
        {
          expected: 'a number above 0',
          ...(wrong === -1 ? {} : { actual: String(sources[wrong]?.weight) }),
        },
      );
    }
    const [parts, weights] = [sources.map(({ rows }) => rows), sources.map(({ weight }) => weight)];
    return lookedFor(
      identified(
        { [Symbol.asyncIterator]: () => interleaved(parts, drawing(weights, seed), stoppingStrategy) },
        madeOf(parts, (mixed) => ({ mixed, weights, seed, stoppingStrategy })),
      ),
      async () => {
        for (const part of parts) await findDataset(part);
      },
    );
  },
);
