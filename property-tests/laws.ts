/** The laws of operators under this project's test runner. */
import { describe, it } from '@jest/globals';
import type fc from 'fast-check';
import type { OperatorFunction } from 'rxjs';
import { operatorLaws as lawsOf } from '../src/laws/operatorLaws.js';
import type { OperatorLawOptions } from '../src/laws/operatorLaws.js';
import type { Rejecting } from '../src/streams/operator.js';

export { rightsOf } from '../src/laws/operatorLaws.js';

/** Holds an operator against its pure half: see `rxtune/laws`. */
export const operatorLaws = <A, B>(
  name: string,
  makeOperator: (options: Rejecting) => OperatorFunction<A, B>,
  input: fc.Arbitrary<A>,
  oracle: (inputs: ReadonlyArray<A>) => ReadonlyArray<B>,
  options: OperatorLawOptions = {},
): void => {
  describe(`${name} as an operator`, () => {
    for (const law of lawsOf(makeOperator, input, oracle, options)) it(law.name, law.check);
  });
};
