import { describe, expect, test } from '@jest/globals';
import { everySteps, planSteps, updateSize, warmupStepsOf } from '../../src/train/step/plan.js';

const config = {
  perDeviceTrainBatchSize: 1,
  gradientAccumulationSteps: 2,
  dataloaderDropLast: false,
  epochRemainder: 'carry' as const,
  numTrainEpochs: 3,
  maxSteps: -1,
  warmupSteps: 0,
  warmupRatio: 0,
};

describe('five micro-batches, updates of two, three epochs', () => {
  const plan = planSteps(5, config);

  test('makes six updates and stops at micro-batch 12', () => {
    expect(plan.totalSteps).toBe(6);
    expect(plan.leftOver).toBe(3);
    expect(plan.epochs).toBe(3);
    expect([0, 2, 4, 6, 8, 10].map((at) => updateSize(plan, at))).toEqual([2, 2, 2, 2, 2, 2]);
  });

  test('makes nine updates and reads everything when an epoch may end with a smaller one', () => {
    const whole = planSteps(5, { ...config, epochRemainder: 'update' });
    expect([whole.totalSteps, whole.leftOver]).toEqual([9, 0]);
  });
});

test('an epoch shorter than an update is one update', () => {
  const plan = planSteps(3, { ...config, gradientAccumulationSteps: 4 });
  expect([plan.totalSteps, updateSize(plan, 0), updateSize(plan, 3)]).toEqual([3, 3, 3]);
});

test('the 0.7.10 counter runs on there, so updates of uneven size come out', () => {
  const plan = planSteps(3, { ...config, gradientAccumulationSteps: 4, parity: 'trl-0.7.10' });
  expect([0, 3, 4].map((at) => updateSize(plan, at))).toEqual([3, 1, 2]);
});

test('a fraction of an epoch rounds up to whole updates', () => {
  expect(planSteps(20, { ...config, numTrainEpochs: 0.25 }).totalSteps).toBe(3);
});

test('rows that make no batch are refused', () => {
  expect(() => planSteps(3, { ...config, perDeviceTrainBatchSize: 4, dataloaderDropLast: true })).toThrow('no batch');
});

test('warm-up in updates goes before warm-up as a share, which rounds up', () => {
  expect(warmupStepsOf({ warmupSteps: 0, warmupRatio: 0.03 }, 101)).toBe(4);
  expect(warmupStepsOf({ warmupSteps: 2, warmupRatio: 0.5 }, 100)).toBe(2);
  expect(warmupStepsOf({ warmupSteps: 0.1, warmupRatio: 0.5 }, 11)).toBe(2);
});

test('intervals below 1 are shares of the run', () => {
  expect([everySteps(0.1, 25), everySteps(7, 25), everySteps(0.001, 25)]).toEqual([3, 7, 1]);
});
