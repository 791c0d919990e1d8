import { right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { windowed } from '../streams/operator.js';
import { wholeNumber } from './wholeNumber.js';

/** What becomes of a last, incomplete group. */
export interface AccumulateOptions {
  /** Leave out the last, incomplete group. Default false: it becomes a smaller step. */
  readonly dropLast?: boolean | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const accumulateOptionNames: OptionNames<AccumulateOptions> = { dropLast: 'optional' };

/** Groups of `count` (1 or more, else `E_OPTIONS` is thrown) in order, the last one perhaps smaller. */
export const accumulateRows = (
  count: number,
  options: AccumulateOptions = {},
): (<A>(batches: ReadonlyArray<A>) => ReadonlyArray<ReadonlyArray<A>>) => {
  const { dropLast = false } = known('accumulate', amongRun(accumulateOptionNames), options);
  wholeNumber('accumulate', 'count', count);
  return <A>(batches: ReadonlyArray<A>) => {
    const groups: Array<ReadonlyArray<A>> = [];
    for (let start = 0; start < batches.length; start += count) {
      const group = batches.slice(start, start + count);
      if (group.length === count || !dropLast) groups.push(group);
    }
    return groups;
  };
};

/**
 * The micro-batches of one optimizer step. Inside an epoch's stream the group is cut at the epoch's end; over all epochs groups
 * go across the border, as transformers counted before 4.46.
 */
export const accumulate = <A>(
  count: number,
  options: AccumulateOptions = {},
): OperatorFunction<A, ReadonlyArray<A>> => {
  known('accumulate', amongRun(accumulateOptionNames), options);
  const rest = accumulateRows(count, options);
  return windowed('accumulate', () => {
    let group: Array<A> = [];
    return {
      push: (batch) => {
        group.push(batch);
        if (group.length < count) return right([]);
        const complete = group;
        group = [];
        return right([complete]);
      },
      flush: () => rest(group),
    };
  });
};
