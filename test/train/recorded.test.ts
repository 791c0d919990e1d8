/** Every recorded fine-tuning run, reproduced step by step through the public trainer. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import type { StepResult } from '../../src/records.js';
import { startUnderTest } from '../engine.js';
import { loadModel } from '../../src/train/loading/load.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { sharedPath } from '../shared.js';

interface RecordedBatch {
  readonly input_ids: ReadonlyArray<ReadonlyArray<number>>;
  readonly labels: ReadonlyArray<ReadonlyArray<number>>;
  readonly lengths?: ReadonlyArray<number>;
}

interface RecordedRun {
  readonly name: string;
  readonly train?: string;
  readonly eval?: string;
  readonly hyper: {
    readonly steps: number;
    readonly learning_rate: number;
    readonly lr_scheduler_type: string;
    readonly warmup_steps: number;
    readonly weight_decay: number;
    readonly max_grad_norm: number | null;
    readonly gradient_accumulation_steps: number;
  };
  readonly log: ReadonlyArray<{
    readonly loss: number;
    readonly grad_norm: number | null;
    readonly learning_rate: number;
  }>;
  readonly eval_loss_before: number;
  readonly eval_loss_after: number;
}

const read = (path: string): unknown => {
  const bytes = readFileSync(path);
  return JSON.parse((path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8'));
};

const rowsOf = (batches: ReadonlyArray<RecordedBatch>): ReadonlyArray<unknown> =>
  batches.flatMap(({ input_ids: ids, labels, lengths }) =>
    ids.map((row, i) => ({
      input_ids: row.slice(0, lengths?.[i] ?? row.length),
      labels: labels[i]?.slice(0, lengths?.[i] ?? row.length),
    })),
  );

const optionsOf = ({ hyper }: RecordedRun, size: number): SftOptions => ({
  perDeviceTrainBatchSize: size,
  perDeviceEvalBatchSize: 8,
  gradientAccumulationSteps: hyper.gradient_accumulation_steps,
  maxSteps: hyper.steps,
  learningRate: hyper.learning_rate,
  lrSchedulerType: hyper.lr_scheduler_type as 'linear',
  warmupSteps: hyper.warmup_steps,
  weightDecay: hyper.weight_decay,
  maxGradNorm: hyper.max_grad_norm,
  shuffle: false,
  lossMean: 'microBatch',
  disableDropout: true,
});

const relative = (actual: number, expected: number): number =>
  Math.abs(actual - expected) / Math.max(1e-12, Math.abs(expected));

const expectRecorded = (steps: ReadonlyArray<StepResult>, { log }: RecordedRun): void => {
  expect(steps.length).toBe(log.length);
  const worst = { loss: 0, gradNorm: 0, learningRate: 0 };
  log.forEach((row, i) => {
    const step = steps[i];
    if (step === undefined) return;
    worst.loss = Math.max(worst.loss, relative(step.loss, row.loss));
    worst.learningRate = Math.max(
      worst.learningRate,
      row.learning_rate === 0 ? Math.abs(step.learningRate) : relative(step.learningRate, row.learning_rate),
    );
    if (row.grad_norm !== null) worst.gradNorm = Math.max(worst.gradNorm, relative(step.gradNorm, row.grad_norm));
  });
  expect(worst.loss).toBeLessThan(1e-3);
  expect(worst.gradNorm).toBeLessThan(1e-3);
  expect(worst.learningRate).toBeLessThan(1e-6);
};

beforeAll(async () => {
  await startUnderTest();
});

const stories = sharedPath('data', 'reference', 'stories260K_sft.json.gz');
const nano = sharedPath('data', 'reference', 'gpt_nano_sort_sft.json');

if (stories === undefined || nano === undefined) {
  test.skip('recorded runs: the folder of shared data is not here', () => undefined);
} else {
  const recorded = read(stories) as {
    readonly runs: ReadonlyArray<RecordedRun>;
    readonly data: Record<string, ReadonlyArray<RecordedBatch>>;
  };
  describe('stories260K', () => {
    test.each(recorded.runs.map((run) => [run.name, run] as const))('%s', async (_, run) => {
      const lora = sharedPath('data', 'reference', 'stories260K_lora-init');
      const adapterDir = run.name === 'lora-r8' ? lora : undefined;
      const { model } = await orThrow(
        loadModel(sharedPath('data', 'weights', 'stories260K', 'hf') ?? '', { adapterDir }),
      );
      const batches = recorded.data[run.train ?? ''] ?? [];
      const trainer = sftTrainer(
        { model, trainDataset: rowsOf(batches), evalDataset: rowsOf(recorded.data[run.eval ?? ''] ?? []) },
        {
          ...optionsOf(run, batches[0]?.input_ids.length ?? 1),
          evalOnStart: true,
          evalStrategy: 'steps',
          evalSteps: run.hyper.steps,
        },
      );
      const losses: Array<number> = [];
      trainer.evaluations.subscribe(({ loss }) => losses.push(loss));
      const steps = await lastValueFrom(trainer.pipe(toArray()));
      expectRecorded(steps, run);
      expect(relative(losses[0] ?? 0, run.eval_loss_before)).toBeLessThan(1e-3);
      expect(relative(losses[1] ?? 0, run.eval_loss_after)).toBeLessThan(1e-3);
    });
  });

  const sorting = read(nano) as {
    readonly runs: ReadonlyArray<RecordedRun>;
    readonly batches: ReadonlyArray<RecordedBatch>;
    readonly eval: ReadonlyArray<RecordedBatch>;
  };
  describe('gpt-nano-sort', () => {
    test.each(sorting.runs.map((run) => [run.name, run] as const))('%s', async (_, run) => {
      const lora = sharedPath('data', 'reference', 'gpt_nano_sort_lora-init');
      const adapterDir = run.name.includes('lora') ? lora : undefined;
      const { model } = await orThrow(
        loadModel(sharedPath('data', 'weights', 'gpt-nano-sort', 'hf') ?? '', { adapterDir }),
      );
      const trainer = sftTrainer(
        { model, trainDataset: rowsOf(sorting.batches), evalDataset: rowsOf(sorting.eval) },
        { ...optionsOf(run, 8), evalOnStart: true, evalStrategy: 'steps', evalSteps: run.hyper.steps },
      );
      const losses: Array<number> = [];
      trainer.evaluations.subscribe(({ loss }) => losses.push(loss));
      expectRecorded(await lastValueFrom(trainer.pipe(toArray())), run);
      expect(relative(losses[0] ?? 0, run.eval_loss_before)).toBeLessThan(1e-3);
      expect(relative(losses[1] ?? 0, run.eval_loss_after)).toBeLessThan(1e-3);
    });
  });
}
