/** A data set that must not be empty. */
import { fatal } from '../../errors.js';
import { identified, madeOf } from '../identity.js';
import { rowsOfBlock } from './jsonlRows.js';
import { findDataset, lookedFor } from './presence.js';
import { blocksOf, withBlocks } from './rowBlocks.js';

async function* refusingNone<A>(
  source: AsyncIterable<A>,
  holdsRows: (one: A) => boolean,
  name: string,
): AsyncGenerator<A, void, undefined> {
  let any = false;
  for await (const one of source) {
    any ||= holdsRows(one);
    yield one;
  }
  if (!any) {
    throw fatal('E_EMPTY_DATASET', `${name} holds no rows`, {
      expected: 'at least one row',
      actual: 'an empty file, blank lines only, or a header alone',
    });
  }
}

const notEmpty = (one: unknown): boolean => !Array.isArray(one) || one.length > 0;

/** The same rows; ends in `E_EMPTY_DATASET` when there was none, because training on nothing is never meant. */
export const requireRows = <A>(rows: AsyncIterable<A>, name: string): AsyncIterable<A> => {
  const required = lookedFor(
    identified(
      { [Symbol.asyncIterator]: () => refusingNone(rows, notEmpty, name) },
      madeOf([rows], ([told]) => told),
    ),
    () => findDataset(rows),
  );
  const blocks = blocksOf(rows);
  return blocks === undefined
    ? required
    : withBlocks(required, {
        [Symbol.asyncIterator]: () => refusingNone(blocks, (block) => rowsOfBlock(block).length > 0, name),
      });
};
