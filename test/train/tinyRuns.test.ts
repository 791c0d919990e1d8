/** Runs of tiny checkpoints against what transformers, PEFT and torch made of them (reference/make_tiny_runs.py). */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { startUnderTest } from '../engine.js';
import { loadModel } from '../../src/train/loading/load.js';
import { sftTrainer } from '../../src/train/trainer.js';

const golden = resolve(import.meta.dirname, '..', 'golden');

interface TinyRun {
  readonly model: string;
  readonly adapter?: string;
  readonly options: {
    readonly max_steps: number;
    readonly batch_size: number;
    readonly accumulation: number;
    readonly learning_rate: number;
    readonly lr_scheduler_type: 'linear' | 'cosine';
    readonly warmup_steps: number;
    readonly weight_decay: number;
    readonly max_grad_norm: number;
  };
  readonly rows: ReadonlyArray<unknown>;
  readonly log: ReadonlyArray<{
    readonly step: number;
    readonly loss: number;
    readonly grad_norm: number;
    readonly learning_rate: number;
  }>;
  readonly final_norms: Readonly<Record<string, number>>;
}

beforeAll(async () => {
  await startUnderTest();
});

test.each(['llama-accumulated', 'gpt2-lora', 'mamba-lora', 'falcon_mamba-lora', 'jamba-lora'])('%s', async (name) => {
  const run = JSON.parse(readFileSync(resolve(golden, 'runs', `${name}.json`), 'utf8')) as TinyRun;
  const { model } = await orThrow(
    loadModel(resolve(golden, 'models', run.model), {
      adapterDir: run.adapter === undefined ? undefined : resolve(golden, 'runs', run.adapter),
    }),
  );
  const { options } = run;
  const steps = await lastValueFrom(
    sftTrainer(
      { model, trainDataset: run.rows },
      {
        maxSteps: options.max_steps,
        perDeviceTrainBatchSize: options.batch_size,
        gradientAccumulationSteps: options.accumulation,
        learningRate: options.learning_rate,
        lrSchedulerType: options.lr_scheduler_type,
        warmupSteps: options.warmup_steps,
        weightDecay: options.weight_decay,
        maxGradNorm: options.max_grad_norm,
        shuffle: false,
        disableDropout: true,
      },
    ).pipe(toArray()),
  );
  expect(steps.length).toBe(run.log.length);
  run.log.forEach((row, i) => {
    expect(Math.abs((steps[i]?.loss ?? NaN) / row.loss - 1)).toBeLessThan(1e-4);
    expect(Math.abs((steps[i]?.gradNorm ?? NaN) / row.grad_norm - 1)).toBeLessThan(1e-3);
    expect(steps[i]?.learningRate).toBeCloseTo(row.learning_rate, 9);
  });
  const strange = /^base_model\.model\.|\.default/g;
  for (const [key, norm] of Object.entries(run.final_norms)) {
    const values = model.weights[key.replace(strange, '')]?.dataSync() ?? [];
    const actual = Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));
    expect(Math.abs(actual - norm)).toBeLessThan(1e-4 * Math.max(1, norm));
  }
});
