import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { endsUpdate, epochAfter, microBatchesAfter, planSteps, updateSize } from '../../src/train/step/plan.js';
import type { Plan } from '../../src/train/step/plan.js';

const configs = fc.record({
  rows: fc.integer({ min: 1, max: 60 }),
  perDeviceTrainBatchSize: fc.integer({ min: 1, max: 7 }),
  gradientAccumulationSteps: fc.integer({ min: 1, max: 9 }),
  dataloaderDropLast: fc.boolean(),
  epochRemainder: fc.constantFrom('carry' as const, 'update' as const),
  numTrainEpochs: fc.constantFrom(0.3, 1, 2, 2.5, 3, 5),
  maxSteps: fc.oneof(fc.constant(-1), fc.integer({ min: 1, max: 20 })),
  warmupSteps: fc.constantFrom(0, 0, 3),
  warmupRatio: fc.constantFrom(0, 0.03, 0.5, 1),
  parity: fc.constantFrom(undefined, 'trl-0.7.10' as const),
});
type Config = typeof configs extends fc.Arbitrary<infer C> ? C : never;

const planned = configs.filter(
  ({ rows, perDeviceTrainBatchSize, dataloaderDropLast }) => !dataloaderDropLast || rows >= perDeviceTrainBatchSize,
);

/** transformers' loop as it stood in 4.36, word for word, with rows counted instead of trained on. */
const loop = ({
  rows,
  ...config
}: Config): { readonly updates: ReadonlyArray<number>; readonly microBatches: number } => {
  const size = config.perDeviceTrainBatchSize;
  const every = config.gradientAccumulationSteps;
  const stepsInEpoch = config.dataloaderDropLast ? Math.floor(rows / size) : Math.ceil(rows / size);
  const updatesPerEpoch = Math.max(1, Math.floor(stepsInEpoch / every));
  const maxSteps = config.maxSteps > 0 ? config.maxSteps : Math.ceil(config.numTrainEpochs * updatesPerEpoch);
  const epochs =
    config.maxSteps > 0
      ? Math.floor(config.maxSteps / updatesPerEpoch) + (config.maxSteps % updatesPerEpoch > 0 ? 1 : 0)
      : Math.ceil(config.numTrainEpochs);
  const updates: Array<number> = [];
  let totalBatchedSamples = 0;
  let globalStep = 0;
  let pending = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (let step = 0; step < stepsInEpoch; step++) {
      totalBatchedSamples += 1;
      pending += 1;
      const isLastStepAndStepsLessThanGradAcc = stepsInEpoch <= every && step + 1 === stepsInEpoch;
      if (totalBatchedSamples % every === 0 || isLastStepAndStepsLessThanGradAcc) {
        globalStep += 1;
        updates.push(pending);
        pending = 0;
      }
      if (globalStep >= maxSteps) return { updates, microBatches: totalBatchedSamples };
    }
  }
  return { updates, microBatches: totalBatchedSamples };
};

const planOf = ({ rows, ...config }: Config): Plan => planSteps(rows, config);

const walk = (config: Config): ReadonlyArray<number> => {
  const plan = planOf(config);
  const sizes: Array<number> = [];
  let at = 0;
  for (let step = 0; step < plan.totalSteps; step++) {
    const size = updateSize(plan, at);
    sizes.push(size);
    at += size;
  }
  return sizes;
};

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((a, b) => a + b, 0);

describe('planSteps', () => {
  test('under parity makes the very updates of the 0.7.10 loop', () => {
    fc.assert(
      fc.property(planned, (given) => {
        const config = { ...given, parity: 'trl-0.7.10' as const, epochRemainder: 'carry' as const };
        const reference = loop(config);
        // The old loop can run out of epochs before it has made the updates it counted on; we go on.
        expect(walk(config).slice(0, reference.updates.length)).toEqual(reference.updates);
      }),
    );
  });

  test('differs from that loop by default only where an epoch is shorter than an update', () => {
    fc.assert(
      fc.property(planned, (given) => {
        const config = { ...given, parity: undefined, epochRemainder: 'carry' as const };
        const plan = planOf(config);
        fc.pre(plan.microBatchesPerEpoch > plan.gradientAccumulationSteps);
        expect(walk(config)).toEqual(walk({ ...config, parity: 'trl-0.7.10' }));
      }),
    );
  });

  test('counts updates as ceil(epochs · max(1, floor(M / accumulation))), or as told', () => {
    fc.assert(
      fc.property(planned, (given) => {
        const config = { ...given, epochRemainder: 'carry' as const };
        const plan = planOf(config);
        const m = config.dataloaderDropLast
          ? Math.floor(config.rows / config.perDeviceTrainBatchSize)
          : Math.ceil(config.rows / config.perDeviceTrainBatchSize);
        const perEpoch = Math.max(1, Math.floor(m / config.gradientAccumulationSteps));
        expect(plan.totalSteps).toBe(
          config.maxSteps > 0 ? config.maxSteps : Math.ceil(config.numTrainEpochs * perEpoch),
        );
      }),
    );
  });

  test("with epochRemainder 'update' every whole epoch trains every micro-batch once", () => {
    fc.assert(
      fc.property(planned, (given) => {
        const config = { ...given, epochRemainder: 'update' as const, maxSteps: -1, numTrainEpochs: 3 as const };
        const plan = planOf(config);
        expect(sum(walk(config))).toBe(3 * plan.microBatchesPerEpoch);
        expect(plan.leftOver).toBe(0);
      }),
    );
  });

  test('counts the micro-batches of any number of updates as walking them does', () => {
    fc.assert(
      fc.property(planned, fc.nat(200), (config, steps) => {
        const plan = planOf(config);
        let at = 0;
        for (let step = 0; step < steps; step++) at += updateSize(plan, at);
        expect(microBatchesAfter(plan, steps)).toBe(at);
      }),
      { numRuns: 1000 },
    );
  });

  test('a plan of a thousand million updates takes no longer than one of ten', () => {
    fc.assert(
      fc.property(planned, (given) => {
        const config = { ...given, maxSteps: 1e9 };
        const before = performance.now();
        const plan = planOf(config);
        expect(performance.now() - before).toBeLessThan(50);
        expect(plan).toMatchObject({ totalSteps: 1e9, leftOver: 0 });
        expect(plan.epochs).toBe(Math.ceil(epochAfter(plan, microBatchesAfter(plan, 1e9))));
      }),
      { numRuns: 200 },
    );
  });

  test('a dataset of unknown length is read as far as its updates go', () => {
    for (const epochRemainder of ['carry', 'update'] as const) {
      const plan = planSteps(Infinity, {
        perDeviceTrainBatchSize: 2,
        gradientAccumulationSteps: 3,
        dataloaderDropLast: false,
        epochRemainder,
        numTrainEpochs: 3,
        maxSteps: 5,
        warmupSteps: 0,
        warmupRatio: 0,
      });
      expect([microBatchesAfter(plan, 5), plan.epochs, plan.leftOver]).toEqual([15, 0, 0]);
    }
  });

  test('no update holds more micro-batches than asked for, and none is empty', () => {
    fc.assert(
      fc.property(planned, (config) => {
        const sizes = walk(config);
        expect(sizes.every((size) => size >= 1 && size <= config.gradientAccumulationSteps)).toBe(true);
      }),
    );
  });

  test('what is trained and what is left over make the planned epochs', () => {
    fc.assert(
      fc.property(planned, (given) => {
        const config = { ...given, maxSteps: -1 };
        const plan = planOf(config);
        const read = sum(walk(config));
        expect(read + plan.leftOver).toBe(Math.max(read, Math.ceil(config.numTrainEpochs * plan.microBatchesPerEpoch)));
        expect(plan.epochs).toBe(Math.ceil(epochAfter(plan, read)));
      }),
    );
  });

  test('updates found from any boundary are those found from the beginning', () => {
    fc.assert(
      fc.property(planned, fc.nat(30), (config, skipped) => {
        const plan = planOf(config);
        let at = 0;
        for (let i = 0; i < skipped; i++) at += updateSize(plan, at);
        expect(at === 0 || endsUpdate(plan, at - 1)).toBe(true);
        const next = updateSize(plan, at);
        const inner = Array.from({ length: next - 1 }, (_, i) => endsUpdate(plan, at + i));
        expect(inner.includes(true)).toBe(false);
        expect(endsUpdate(plan, at + next - 1)).toBe(true);
      }),
    );
  });
});
