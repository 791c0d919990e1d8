/** What a recorder keeps of a run, however long. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { StepResult } from '../../src/records.js';
import type { RecordChange } from '../../src/train/report/record.js';
import { makeRecorder } from '../../src/train/report/recorder.js';
import { halved } from '../../src/train/report/stepColumns.js';
import type { StepEntry } from '../../src/train/report/stepColumns.js';

const number = fc.double({ min: -10, max: 10, noNaN: true });
const stepsOf = fc
  .array(fc.record({ loss: fc.oneof(number, fc.constantFrom(NaN, Infinity)), gradNorm: number, gap: fc.nat(50) }), {
    minLength: 1,
    maxLength: 120,
  })
  .map((all) =>
    all.map(({ loss, gradNorm, gap }, i) => ({
      gap,
      result: {
        step: i + 1,
        epoch: (i + 1) / 10,
        loss,
        gradNorm,
        learningRate: 0.1,
        numTokens: 10,
        numItems: 5,
        meanTokenAccuracy: 0.5,
        entropy: 1,
      } satisfies StepResult,
    })),
  );

const recorded = (steps: ReadonlyArray<{ readonly gap: number; readonly result: StepResult }>, mostSteps: number) => {
  let time = 0;
  const changes: Array<RecordChange> = [];
  const recorder = makeRecorder({ title: 't', now: () => time, memory: () => 7, mostSteps });
  recorder.changes.subscribe((change) => changes.push(change));
  for (const { gap, result } of steps) {
    time += gap;
    recorder.add({ kind: 'step', step: result });
  }
  return { record: recorder.record(), changes, recorder };
};

test('a short run is kept step by step; numbers that are none become holes', () => {
  fc.assert(
    fc.property(stepsOf, (steps) => {
      const { steps: columns } = recorded(steps, 1000).record;
      expect(columns.step).toEqual(steps.map(({ result }) => result.step));
      expect(columns.loss).toEqual(steps.map(({ result: { loss } }) => (Number.isFinite(loss) ? loss : null)));
      expect(columns.tokensPerSecond).toEqual(steps.map(({ gap }) => (gap === 0 ? null : 10_000 / gap)));
      expect(new Set(columns.memory)).toEqual(new Set([7]));
      expect(columns.seconds.every((value, i) => i === 0 || value >= (columns.seconds[i - 1] ?? 0))).toBe(true);
    }),
  );
});

test('a long run keeps its columns aligned, in order, within the limit, and its mean', () => {
  fc.assert(
    fc.property(stepsOf, fc.integer({ min: 2, max: 16 }), (steps, mostSteps) => {
      const { steps: columns } = recorded(steps, mostSteps).record;
      const lengths = new Set(Object.values(columns).map((column: ReadonlyArray<unknown>) => column.length));
      expect(lengths.size).toBe(1);
      expect(columns.step.length).toBeLessThan(mostSteps);
      expect(columns.step.every((value, i) => i === 0 || value > (columns.step[i - 1] ?? 0))).toBe(true);
      const all = steps.map(({ result }) => result.gradNorm);
      for (const value of columns.gradNorm) {
        expect(value).toBeGreaterThanOrEqual(Math.min(...all) - 1e-9);
        expect(value).toBeLessThanOrEqual(Math.max(...all) + 1e-9);
      }
    }),
  );
});

test('the end of a run that failed is there, however many of its steps make one entry', () => {
  fc.assert(
    fc.property(stepsOf, fc.integer({ min: 2, max: 16 }), (steps, mostSteps) => {
      const { recorder, changes } = recorded(steps, mostSteps);
      recorder.failed(new Error('the device is gone'));
      expect(recorder.record().steps.step.at(-1)).toBe(steps.length);
      const told = changes.flatMap((change) => (change.kind === 'step' ? [change.entry.step] : []));
      expect(told.at(-1)).toBe(steps.length);
    }),
  );
});

test('a power of two of steps made few keep their mean exactly', () => {
  fc.assert(
    fc.property(fc.array(number, { minLength: 16, maxLength: 16 }), (values) => {
      const columns = { ...recorded([], 9).record.steps, step: values.map((_, i) => i), loss: values };
      const { loss } = halved(halved(columns));
      const mean = (all: ReadonlyArray<number | null>): number =>
        all.reduce<number>((a, b) => a + (b ?? 0), 0) / all.length;
      expect(loss.length).toBe(4);
      expect(mean(loss)).toBeCloseTo(mean(values), 9);
    }),
  );
});

test('the changes make the record', () => {
  fc.assert(
    fc.property(stepsOf, (steps) => {
      const { record, changes } = recorded(steps, 1000);
      const entries = changes.flatMap((change): Array<StepEntry> => (change.kind === 'step' ? [change.entry] : []));
      expect(entries.map(({ loss }) => loss)).toEqual(record.steps.loss);
      expect(entries.map(({ seconds }) => seconds)).toEqual(record.steps.seconds);
    }),
  );
});
