import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  constant,
  constantWithWarmup,
  cosineDecay,
  cosineWithMinimum,
  cosineWithRestarts,
  inverseSqrt,
  linearDecay,
  polynomialDecay,
  warmupStableDecay,
} from '../../src/train/optimizers/schedule.js';
import type { Schedule } from '../../src/train/optimizers/schedule.js';

const runs = fc
  .record({
    learningRate: fc.double({ min: 1e-5, max: 1, noNaN: true }),
    totalSteps: fc.integer({ min: 1, max: 400 }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ learningRate, totalSteps, share }) => ({
    learningRate,
    totalSteps,
    warmupSteps: Math.floor(share * totalSteps),
  }));
type Run = typeof runs extends fc.Arbitrary<infer R> ? R : never;

const shapes: ReadonlyArray<readonly [string, (run: Run) => Schedule]> = [
  ['linear', linearDecay],
  ['cosine', cosineDecay],
  ['cosine_with_restarts', (run) => cosineWithRestarts({ ...run, cycles: 3 })],
  ['cosine_with_min_lr', (run) => cosineWithMinimum({ ...run, minimum: run.learningRate / 7 })],
  ['polynomial', (run) => polynomialDecay({ ...run, power: 2, end: run.learningRate / 9 })],
  ['constant_with_warmup', constantWithWarmup],
  ['inverse_sqrt', inverseSqrt],
  ['warmup_stable_decay', (run) => warmupStableDecay({ ...run, decaySteps: 5 })],
  ['warmup_stable_decay, a line', (run) => warmupStableDecay({ ...run, decaySteps: 5, decayType: 'linear' })],
  ['warmup_stable_decay, the root', (run) => warmupStableDecay({ ...run, decaySteps: 9, decayType: '1-sqrt' })],
];

const steps = ({ totalSteps }: Run): ReadonlyArray<number> => Array.from({ length: totalSteps + 1 }, (_, s) => s);

/** The first step of the run at which the claim about it fails: a law expects none. */
const failing = (run: Run, holds: (step: number) => boolean, from = 0, to = run.totalSteps): number | undefined =>
  steps(run).find((step) => step >= from && step < to && !holds(step));

const close = (actual: number, expected: number): boolean => Math.abs(actual - expected) <= 1e-10;

describe('schedules', () => {
  test.each(shapes)('%s stays between 0 and the peak', (_, shape) => {
    fc.assert(
      fc.property(runs, (run) => {
        const rate = shape(run);
        const peak = run.learningRate * (1 + 1e-12);
        expect(failing(run, (step) => rate(step) >= 0 && rate(step) <= peak)).toBeUndefined();
      }),
    );
  });

  test.each(shapes)('%s rises in equal strides from 0 while warming up', (_, shape) => {
    fc.assert(
      fc.property(runs, (run) => {
        const rate = shape(run);
        const stride = run.learningRate / run.warmupSteps;
        expect(failing(run, (step) => close(rate(step), stride * step), 0, run.warmupSteps)).toBeUndefined();
      }),
    );
  });

  test.each(shapes.filter(([name]) => name !== 'cosine_with_restarts'))(
    '%s never rises after the warm-up',
    (_, shape) => {
      fc.assert(
        fc.property(runs, (run) => {
          const rate = shape(run);
          const falls = (step: number): boolean => rate(step + 1) <= rate(step) * (1 + 1e-12);
          expect(failing(run, falls, run.warmupSteps)).toBeUndefined();
        }),
      );
    },
  );

  test.each(shapes)('%s is proportional to the peak', (_, shape) => {
    fc.assert(
      fc.property(runs, (run) => {
        const doubled = shape({ ...run, learningRate: 2 * run.learningRate });
        const rate = shape(run);
        // The end of a polynomial or the floor of a cosine is given as a share of the peak above.
        expect(failing(run, (step) => close(doubled(step), 2 * rate(step)))).toBeUndefined();
      }),
    );
  });

  test('linear and cosine end at 0, and constant does not move', () => {
    fc.assert(
      fc.property(runs, (run) => {
        fc.pre(run.warmupSteps < run.totalSteps);
        expect(linearDecay(run)(run.totalSteps)).toBe(0);
        expect(cosineDecay(run)(run.totalSteps)).toBeCloseTo(0, 12);
        expect(failing(run, (step) => constant(run)(step) === run.learningRate)).toBeUndefined();
      }),
    );
  });
});
