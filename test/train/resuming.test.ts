/** Where a run goes on that was ended before, and what it refuses to go on from. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { disposeModel, tinyModel } from '../../property-tests/train/tiny.js';
import { orThrow } from '../../src/errors.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { completed } from '../../src/train/trainer.js';
import { startUnderTest } from '../engine.js';
import { failure, kinds, linesOf, rows, started, temporary } from './startedRun.js';

beforeAll(async () => {
  await startUnderTest();
});

describe('resuming', () => {
  const saved = async (): Promise<string> => {
    const outputDir = temporary();
    const { run } = await started({ outputDir, saveSteps: 2 });
    await lastValueFrom(run);
    return outputDir;
  };

  test('a damaged checkpoint is passed over for the one before it, saying so', async () => {
    const outputDir = await saved();
    const weights = join(outputDir, 'checkpoint-6', 'model.safetensors');
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    writeFileSync(weights, bytes);
    const { run, events } = await started({ outputDir, saveSteps: 2, resumeFromCheckpoint: true });
    const begun = firstValueFrom(run.begun);
    await lastValueFrom(run);
    expect((await begun).resumedAt).toBe(4);
    expect(kinds(events)).toContain('W_CHECKPOINT_SKIPPED');
  });

  test('without a checkpoint there is nothing to resume', async () => {
    const { run } = await started({ outputDir: temporary(), resumeFromCheckpoint: true });
    expect((await failure(run)).code).toBe('E_NO_CHECKPOINT');
  });

  test('a checkpoint without optimizer state is passed over, or refused where it is named', async () => {
    const outputDir = temporary();
    const first = await started({ outputDir, maxSteps: 2, saveSteps: 2 });
    await lastValueFrom(first.run);
    const second = await started({ outputDir, saveSteps: 4, saveOnlyModel: true, resumeFromCheckpoint: true });
    await lastValueFrom(second.run);
    const { run, events } = await started({ outputDir, saveStrategy: 'no', resumeFromCheckpoint: true });
    await lastValueFrom(run);
    expect(kinds(events).slice(0, 4)).toEqual([
      'W_MAX_SEQ_DEFAULTED',
      'W_CHECKPOINT_SKIPPED',
      'W_RESUME_CHANGED',
      'begun',
    ]);
    const { run: named } = await started({ resumeFromCheckpoint: join(outputDir, 'checkpoint-4') });
    expect((await failure(named)).code).toBe('E_CHECKPOINT_WITHOUT_OPTIMIZER');
  });

  test('checkpoints of an earlier run in the same place are not taken, and do not push out new ones', async () => {
    const outputDir = await saved();
    const options = { outputDir, seed: 7, saveSteps: 1, saveTotalLimit: 2 };
    const { run } = await started(options);
    run.subscribe(({ step }) => (step === 2 ? run.stop({ checkpoint: true }) : undefined));
    await lastValueFrom(run);
    expect(readdirSync(outputDir).filter((name) => name.startsWith('checkpoint'))).toEqual([
      'checkpoint-1',
      'checkpoint-2',
    ]);
    const again = await started({ ...options, resumeFromCheckpoint: true });
    const steps = await lastValueFrom(again.run.pipe(toArray()));
    expect(steps.map(({ step }) => step)).toEqual([3, 4, 5, 6]);
    expect(kinds(again.events)).not.toContain('W_RESUME_CHANGED');
  });

  test('another adapter setting makes another run', async () => {
    const outputDir = temporary();
    const { run } = await started({ outputDir, r: 2, loraAlpha: 4, saveSteps: 2 });
    await lastValueFrom(run);
    const { run: other, events } = await started({
      ...{ outputDir, r: 2, loraAlpha: 8, saveSteps: 2 },
      resumeFromCheckpoint: join(outputDir, 'checkpoint-2'),
    });
    await lastValueFrom(other);
    expect(kinds(events)).toContain('W_RESUME_CHANGED');
  });

  test('patience that was at its end stays so', async () => {
    const outputDir = temporary();
    const options = {
      ...{ outputDir, maxSteps: 20, learningRate: 0, evalSteps: 2, saveSteps: 2 },
      earlyStoppingPatience: 2,
    };
    const { run } = await started(options, { evalDataset: rows });
    await lastValueFrom(run);
    const again = await started({ ...options, resumeFromCheckpoint: true }, { evalDataset: rows });
    const summary = firstValueFrom(again.run.finished);
    await lastValueFrom(again.run, { defaultValue: undefined });
    expect(await summary).toMatchObject({ ended: 'early', steps: 6 });
  });

  test('an evaluation before the first update stands in the log once, however often the run begins', async () => {
    const outputDir = temporary();
    const options: SftOptions = { outputDir, evalOnStart: true, evalSteps: 3, saveStrategy: 'no' };
    for (const resumeFromCheckpoint of [false, false, true]) {
      const { run } = await started({ ...options, resumeFromCheckpoint }, { evalDataset: rows });
      if (!resumeFromCheckpoint) {
        // Held before the first update: a checkpoint of step 0.
        run.begun.subscribe(() => run.stop({ checkpoint: true }));
      }
      await lastValueFrom(run, { defaultValue: undefined });
    }
    expect(linesOf(join(outputDir, 'evaluations.jsonl')).map(({ step }) => step)).toEqual([0, 3, 6]);
  });

  test('another run is taken up with a warning', async () => {
    const outputDir = await saved();
    const { run, events } = await started({ outputDir, seed: 1, maxSteps: 8, resumeFromCheckpoint: true });
    const steps = await lastValueFrom(run.pipe(toArray()));
    expect(kinds(events)).toContain('W_RESUME_CHANGED');
    expect(steps.map(({ step }) => step)).toEqual([7, 8]);
  });

  test('with batches of another size at the place where that run would be after as many updates', async () => {
    const outputDir = temporary();
    const small = { outputDir, maxSteps: 6, maxLength: 16, perDeviceTrainBatchSize: 1, shuffle: false } as const;
    const { run, model } = await started({ ...small, gradientAccumulationSteps: 3, saveStrategy: 'no' });
    run.subscribe(({ step }) => (step === 3 ? run.stop({ checkpoint: true }) : undefined));
    expect((await orThrow(completed(run))).epoch).toBe(1.5);
    disposeModel(model);
    const { run: again, model: anew } = await started({
      ...{ ...small, gradientAccumulationSteps: 1, perDeviceTrainBatchSize: 3, resumeFromCheckpoint: true },
    });
    const steps = await lastValueFrom(again.pipe(toArray()));
    expect(steps.map(({ step, epoch }) => [step, epoch])).toEqual([
      [4, 2],
      [5, 2.5],
      [6, 3],
    ]);
    disposeModel(anew);
  });

  test('a checkpoint of another model does not fit', async () => {
    const outputDir = await saved();
    const { run } = await started({ r: 2, maxSteps: 8, resumeFromCheckpoint: join(outputDir, 'checkpoint-4') });
    expect((await failure(run)).code).toMatch(/^E_/);
    const { run: other } = await started(
      { maxSteps: 8, resumeFromCheckpoint: join(outputDir, 'checkpoint-4') },
      { model: await tinyModel('qwen2') },
    );
    expect((await failure(other)).code).toBe('E_CHECKPOINT_MISFIT');
  });
});
