/** Schedules against those of transformers (reference/schedules.py). */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { SftConfig } from '../../src/train/options/config.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import { warmupStepsOf } from '../../src/train/step/plan.js';
import { scheduleOf } from '../../src/train/optimizers/schedule.js';
import type { Schedule } from '../../src/train/optimizers/schedule.js';

interface Run {
  readonly warmup_steps: number;
  readonly total_steps: number;
}

const golden = JSON.parse(readFileSync(new URL('../golden/schedules.json', import.meta.url), 'utf8')) as {
  readonly learning_rate: number;
  readonly schedules: ReadonlyArray<
    Run & {
      readonly name: string;
      readonly kwargs: Readonly<Record<string, unknown>>;
      readonly rates: ReadonlyArray<number>;
    }
  >;
  readonly warmups: ReadonlyArray<Run & { readonly expected: number }>;
};

const named = (
  lrSchedulerType: unknown,
  { warmup_steps: warmupSteps, total_steps: totalSteps }: Run,
  lrSchedulerKwargs: unknown = {},
  learningRate = golden.learning_rate,
): Schedule => {
  const config = decodeSftConfig({ learningRate, lrSchedulerType, lrSchedulerKwargs });
  if (E.isLeft(config)) throw config.left;
  return scheduleOf(config.right, { totalSteps, warmupSteps });
};

describe('the rates of transformers', () => {
  const { schedules } = golden;

  test.each(schedules.map((one) => [one.name, one.kwargs, one.warmup_steps, one.total_steps, one] as const))(
    '%s %j, %i of %i updates to warm up',
    (_, __, ___, ____, { name, kwargs, rates, ...run }) => {
      const schedule = named(name, run, kwargs);
      rates.forEach((rate, step) => expect(schedule(step)).toBeCloseTo(rate, 15));
    },
  );

  test('of every schedule there is', () => {
    expect(new Set(schedules.map(({ name }) => name))).toEqual(new Set(SftConfig.fields.lrSchedulerType.values));
  });
});

test.each(golden.warmups)('$warmup_steps of $total_steps updates are $expected to warm up', (run) => {
  const { warmup_steps: warmupSteps, total_steps: totalSteps, expected } = run;
  expect(warmupStepsOf({ warmupSteps, warmupRatio: 0 }, totalSteps)).toBe(expected);
});

test.each(['cosine_with_min_lr', 'warmup_stable_decay', 'cosine', 'linear'])('%s of a peak of 0 is 0', (name) => {
  const schedule = named(name, { warmup_steps: 2, total_steps: 6 }, {}, 0);
  expect(Array.from({ length: 8 }, (_, step) => schedule(step))).toEqual(new Array<number>(8).fill(0));
});
