/** A law: a sentence, and how to hold something against it. For any test runner, or none. */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { known } from '../checked.js';
import type { OptionNames } from '../checked.js';

/** A sentence and a check, for any test runner. */
export interface Law {
  /** What holds. */
  readonly name: string;
  /** Settles when it holds; rejects with the smallest counterexample that was found. */
  readonly check: () => Promise<void>;
}

/** How hard a law is tried. */
export interface LawOptions {
  /** Cases tried a law. Default 100; 40 where a case runs an operator at a pace (`operatorLaws`, `boundedInFlight`). */
  readonly numRuns?: number | undefined;
  /** To try the same cases again: the seed that a failed check tells. */
  readonly seed?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
export const lawOptionNames: OptionNames<LawOptions> = { numRuns: 'optional', seed: 'optional' };

/** A law of your own: a name, and a property of fast-check. */
export const law = <Ts>(name: string, property: fc.IRawProperty<Ts>, options: LawOptions = {}): Law => {
  const { numRuns = 100, seed } = known('law', lawOptionNames, options);
  return {
    name,
    check: async () => {
      await fc.assert(property, { numRuns, includeErrorInReport: true, ...(seed === undefined ? {} : { seed }) });
    },
  };
};

/** Plain data, typed arrays by their numbers, readable in a message. */
const shown = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) =>
    ArrayBuffer.isView(part) && !(part instanceof DataView) ? Array.from(part as unknown as ArrayLike<number>) : part,
  );

/** Throws where two values are not the same data. */
export const same = (actual: unknown, expected: unknown, what: string): void => {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(`${what}\n  expected: ${shown(expected)}\n  actual:   ${shown(actual)}`);
  }
};

/** Throws where a condition does not hold. */
export const hold = (condition: boolean, what: string): void => {
  if (!condition) throw new Error(what);
};

/** All laws, one after another: for a script. */
export const checkAll = async (laws: ReadonlyArray<Law>): Promise<void> => {
  for (const { name, check } of laws) {
    try {
      await check();
    } catch (cause) {
      throw new Error(`broken law: ${name}\n${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }
};
