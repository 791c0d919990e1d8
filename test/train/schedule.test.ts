import { describe, expect, test } from '@jest/globals';
import {
  cosineDecay,
  cosineWithRestarts,
  inverseSqrt,
  linearDecay,
  polynomialDecay,
  scheduleOf,
} from '../../src/train/schedule.js';
import type { Schedule } from '../../src/train/schedule.js';

const rates = (schedule: Schedule, steps: number): ReadonlyArray<number> =>
  Array.from({ length: steps + 1 }, (_, step) => Number(schedule(step).toFixed(6)));

const run = { learningRate: 1, warmupSteps: 2, totalSteps: 6 };

describe('the numbers of transformers', () => {
  test('linear', () => expect(rates(linearDecay(run), 6)).toEqual([0, 0.5, 1, 0.75, 0.5, 0.25, 0]));

  test('cosine', () => expect(rates(cosineDecay(run), 6)).toEqual([0, 0.5, 1, 0.853553, 0.5, 0.146447, 0]));

  // transformers 5.18: get_cosine_with_hard_restarts_schedule_with_warmup(opt, 2, 6, num_cycles=2)
  test('cosine with two cycles begins anew and is 0 at the end', () =>
    expect(rates(cosineWithRestarts({ ...run, cycles: 2 }), 6)).toEqual([0, 0.5, 1, 0.5, 1, 0.5, 0]));

  // get_polynomial_decay_schedule_with_warmup(opt, 2, 6, lr_end=0.1, power=2)
  test('polynomial', () =>
    expect(rates(polynomialDecay({ ...run, end: 0.1, power: 2 }), 7)).toEqual([
      0, 0.5, 1, 0.60625, 0.325, 0.15625, 0.1, 0.1,
    ]));

  // get_inverse_sqrt_schedule(opt, 2)
  test('inverse square root', () =>
    expect(rates(inverseSqrt(run), 6)).toEqual([0, 0.5, 1, 0.816497, 0.707107, 0.632456, 0.57735]));
});

test('the options name the schedule', () => {
  const named = scheduleOf({ learningRate: 2, lrSchedulerType: 'cosine' }, { totalSteps: 6, warmupSteps: 2 });
  expect(named(3)).toBeCloseTo(2 * 0.853553, 5);
});
