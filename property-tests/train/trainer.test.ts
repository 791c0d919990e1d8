import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { startUnderTest } from '../../test/engine.js';
import type { CausalLM } from '../../src/model/model.js';
import type { StepResult } from '../../src/records.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { disposeModel, distance, runOf, stepsOf, tinyModel, tinyRow } from './tiny.js';

beforeAll(async () => {
  await startUnderTest();
});

const numRuns = 8;

/** Trains a fresh model, looks at it, and frees it. */
const trained = async <A>(
  rows: ReadonlyArray<unknown>,
  options: SftOptions,
  look: (model: CausalLM, steps: ReadonlyArray<StepResult>) => A | Promise<A>,
): Promise<A> => {
  const model = await tinyModel();
  try {
    return await look(model, await stepsOf(runOf(model, rows, options)));
  } finally {
    disposeModel(model);
  }
};

/** Trains two fresh models on the same or other rows and compares steps and weights. */
const compared = (
  [rowsA, optionsA]: readonly [ReadonlyArray<unknown>, SftOptions],
  [rowsB, optionsB]: readonly [ReadonlyArray<unknown>, SftOptions],
): Promise<{ readonly a: ReadonlyArray<StepResult>; readonly b: ReadonlyArray<StepResult>; readonly apart: number }> =>
  trained(rowsA, optionsA, (modelA, a) =>
    trained(rowsB, optionsB, (modelB, b) => ({ a, b, apart: distance(modelA, modelB) })),
  );

const losses = (steps: ReadonlyArray<StepResult>): ReadonlyArray<number> => steps.map(({ loss }) => loss);

const largestGap = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number =>
  Math.max(0, ...a.map((value, i) => Math.abs(value - (b[i] ?? NaN))));

describe('a run', () => {
  test('accumulation of k batches of b is one batch of k·b, whatever the lengths', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }).chain((size) =>
          fc.integer({ min: 2, max: 4 }).chain((k) =>
            fc.record({
              size: fc.constant(size),
              k: fc.constant(k),
              rows: fc.array(tinyRow(), { minLength: 2 * k * size, maxLength: 2 * k * size }),
            }),
          ),
        ),
        async ({ rows, size, k }) => {
          // SGD, because AdamW's first steps turn rounding into signs.
          const shared = { shuffle: false, maxSteps: 3, optim: 'sgd', lrSchedulerType: 'constant' } as const;
          const { a, b, apart } = await compared(
            [rows, { ...shared, perDeviceTrainBatchSize: size, gradientAccumulationSteps: k }],
            [rows, { ...shared, perDeviceTrainBatchSize: size * k }],
          );
          expect(largestGap(losses(a), losses(b))).toBeLessThan(1e-5);
          expect(apart).toBeLessThan(1e-5);
        },
      ),
      { numRuns },
    );
  });

  test('the mean of micro-batch means is the token mean when every micro-batch trains as many tokens', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.integer({ min: 0, max: 39 }), { minLength: 4, maxLength: 4 }), {
          minLength: 8,
          maxLength: 8,
        }),
        async (ids) => {
          const rows = ids.map((row) => ({ input_ids: row }));
          const shared = {
            perDeviceTrainBatchSize: 2,
            gradientAccumulationSteps: 2,
            shuffle: false,
            maxSteps: 2,
            optim: 'sgd',
          } as const;
          const { a, b, apart } = await compared(
            [rows, { ...shared, lossMean: 'token' }],
            [rows, { ...shared, lossMean: 'microBatch' }],
          );
          expect(largestGap(losses(a), losses(b))).toBeLessThan(1e-5);
          expect(apart).toBeLessThan(1e-5);
        },
      ),
      { numRuns },
    );
  });

  test('padding changes nothing at all', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(tinyRow(), { minLength: 3, maxLength: 6 }),
        fc.integer({ min: 2, max: 16 }),
        async (rows, padToMultipleOf) => {
          const shared = { perDeviceTrainBatchSize: 2, maxSteps: 3 };
          const { a, b, apart } = await compared([rows, shared], [rows, { ...shared, padToMultipleOf }]);
          expect(a).toEqual(b);
          expect(apart).toBe(0);
        },
      ),
      { numRuns },
    );
  });

  test('the same seed gives the same run, to the bit', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(tinyRow(), { minLength: 2, maxLength: 6 }), fc.nat(999), async (rows, seed) => {
        const options = {
          seed,
          perDeviceTrainBatchSize: 2,
          maxSteps: 4,
          neftuneNoiseAlpha: 5,
          r: 2,
          loraDropout: 0.3,
        };
        const { a, b } = await compared([rows, options], [rows, options]);
        expect(a).toEqual(b);
      }),
      { numRuns },
    );
  });

  test('gradient checkpointing changes no number, dropout included', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(tinyRow(), { minLength: 2, maxLength: 5 }), async (rows) => {
        const options = { perDeviceTrainBatchSize: 2, maxSteps: 3, r: 2, loraDropout: 0.2, neftuneNoiseAlpha: 3 };
        const { a, b } = await compared([rows, options], [rows, { ...options, gradientCheckpointing: true }]);
        expect(largestGap(losses(a), losses(b))).toBeLessThan(1e-6);
      }),
      { numRuns },
    );
  });

  test('an epoch reads every row once: tokens and supervised tokens add up', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(tinyRow(), { minLength: 1, maxLength: 9 }),
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        async (rows, size, groupByLength) => {
          const steps = await trained(
            rows,
            { numTrainEpochs: 1, perDeviceTrainBatchSize: size, groupByLength },
            (_, all) => all,
          );
          const tokens = rows.reduce((sum, row) => sum + row.input_ids.length, 0);
          const items = rows.reduce((sum, row) => sum + row.labels.slice(1).filter((label) => label >= 0).length, 0);
          expect(steps.reduce((sum, { numTokens }) => sum + numTokens, 0)).toBe(tokens);
          expect(steps.reduce((sum, { numItems }) => sum + numItems, 0)).toBe(items);
          expect(steps.at(-1)?.epoch).toBe(1);
        },
      ),
      { numRuns },
    );
  });

  test('the order of rows within a batch does not matter', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(tinyRow(), { minLength: 2, maxLength: 5 }), async (rows) => {
        const options = { perDeviceTrainBatchSize: rows.length, maxSteps: 1, shuffle: false, optim: 'sgd' } as const;
        const { a, b, apart } = await compared([rows, options], [[...rows].reverse(), options]);
        expect(largestGap(losses(a), losses(b))).toBeLessThan(1e-5);
        expect(apart).toBeLessThan(1e-5);
      }),
      { numRuns },
    );
  });

  test('loss weights count by their proportions only', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(tinyRow(), fc.integer({ min: 1, max: 4 })), { minLength: 2, maxLength: 5 }),
        fc.constantFrom(0.25, 2, 8),
        async (weighted, factor) => {
          const rowsTimes = (by: number): ReadonlyArray<unknown> =>
            weighted.map(([row, weight]) => ({ ...row, weight: weight * by }));
          const options = { perDeviceTrainBatchSize: 3, maxSteps: 2, optim: 'sgd' } as const;
          const { a, b, apart } = await compared([rowsTimes(1), options], [rowsTimes(factor), options]);
          expect(largestGap(losses(a), losses(b))).toBeLessThan(1e-5);
          expect(apart).toBeLessThan(1e-5);
        },
      ),
      { numRuns },
    );
  });

  test('rows that all weigh the same train as rows without a weight', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(tinyRow(), { minLength: 2, maxLength: 5 }),
        fc.constantFrom(0.3, 1, 5),
        fc.constantFrom('token' as const, 'microBatch' as const),
        async (rows, weight, lossMean) => {
          const options = { perDeviceTrainBatchSize: 2, maxSteps: 2, optim: 'sgd', lossMean } as const;
          const { a, b, apart } = await compared([rows, options], [rows.map((row) => ({ ...row, weight })), options]);
          expect(largestGap(losses(a), losses(b))).toBeLessThan(1e-5);
          expect(apart).toBeLessThan(1e-5);
        },
      ),
      { numRuns },
    );
  });

  test('a learning rate of 0 moves nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(tinyRow(), { minLength: 1, maxLength: 4 }),
        fc.constantFrom('adamw_torch' as const, 'sgd' as const, 'lion' as const, 'adafactor' as const),
        async (rows, optim) => {
          const untouched = await tinyModel();
          const apart = await trained(rows, { optim, learningRate: 0, maxSteps: 2, weightDecay: 0.5 }, (model) =>
            distance(model, untouched),
          );
          disposeModel(untouched);
          expect(apart).toBe(0);
        },
      ),
      { numRuns },
    );
  });
});
