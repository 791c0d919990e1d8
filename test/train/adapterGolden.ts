/** What PEFT computed with an adapter, as reference/ records it, and how near to it is near enough. */
import { expect } from '@jest/globals';

export interface AdapterGolden {
  readonly base: string;
  readonly ids: ReadonlyArray<ReadonlyArray<number>>;
  readonly labels: ReadonlyArray<ReadonlyArray<number>>;
  readonly loss: number;
  readonly logits: ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>>;
  readonly gradients: Readonly<Record<string, ReadonlyArray<number>>>;
}

/** No number is off by more than `relative` of the largest. */
export const near = (got: ArrayLike<number>, expected: ReadonlyArray<number>, relative: number): void => {
  expect(got).toHaveLength(expected.length);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1e-3);
  expected.forEach((x, i) => expect(Math.abs((got[i] ?? NaN) - x)).toBeLessThanOrEqual(relative * largest));
};
