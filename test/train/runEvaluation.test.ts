/** When a run evaluates, what it tells of that, and what follows of the numbers: the best checkpoint, patience. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { numbersOf } from '../../property-tests/train/tiny.js';
import { orThrow } from '../../src/errors.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import type { SftOptions } from '../../src/train/options/config.js';
import type { SftSetup } from '../../src/train/run/run.js';
import { startUnderTest } from '../engine.js';
import { failure, kinds, linesOf, rows, started, temporary } from './startedRun.js';

beforeAll(async () => {
  await startUnderTest();
});

describe('evaluation', () => {
  test('takes metrics at once, from a promise or from a task, and ends the run where they fail', async () => {
    const kinds = [() => ({ own: 5 }), () => Promise.resolve({ own: 5 }), () => TE.right({ own: 5 })];
    for (const computeMetrics of kinds) {
      const { run } = await started({ evalSteps: 2, maxSteps: 2 }, { evalDataset: rows, computeMetrics });
      const evaluation = lastValueFrom(run.evaluations);
      run.subscribe();
      expect((await evaluation).metrics['eval_own']).toBe(5);
    }
    const broken = (): never => {
      throw new TypeError('no predictions');
    };
    for (const computeMetrics of [broken, () => Promise.reject(new TypeError('no predictions'))]) {
      const { run } = await started({ evalSteps: 2, maxSteps: 2 }, { evalDataset: rows, computeMetrics });
      const { code, text } = await failure(run);
      expect(code).toBe('E_CALLBACK');
      expect(text).toContain('computeMetrics failed: no predictions');
    }
  });

  test('tells several sets by name, and your own metrics', async () => {
    const outputDir = temporary();
    const { run } = await started(
      { outputDir, evalStrategy: 'epoch', numTrainEpochs: 2, maxSteps: -1, saveStrategy: 'no' },
      {
        evalDataset: { seen: rows, other: rows.slice(0, 1) },
        computeMetrics: ({ numItems }) => ({ items: numItems }),
      },
    );
    const evaluations = lastValueFrom(run.evaluations.pipe(toArray()));
    run.subscribe();
    expect((await evaluations).map(({ name, step }) => [name, step])).toEqual([
      ['seen', 3],
      ['other', 3],
      ['seen', 6],
      ['other', 6],
    ]);
    const [first] = linesOf(join(outputDir, 'evaluations.jsonl'));
    expect(Object.keys(first ?? {})).toEqual([
      ...['step', 'epoch', 'eval_seen_loss', 'eval_seen_token_loss', 'eval_seen_perplexity'],
      ...['eval_seen_mean_token_accuracy', 'eval_seen_entropy', 'eval_seen_items'],
    ]);
    expect(first?.['eval_seen_perplexity']).toBeCloseTo(Math.exp(first?.['eval_seen_token_loss'] ?? 0), 6);
  });

  test('waits for evalDelay and begins at once with evalOnStart', async () => {
    const { run } = await started({ evalSteps: 1, evalDelay: 4, evalOnStart: true }, { evalDataset: rows });
    const evaluations = lastValueFrom(run.evaluations.pipe(toArray()));
    run.subscribe();
    expect((await evaluations).map(({ step }) => step)).toEqual([0, 4, 5, 6]);
  });

  test('is not smoothed where training is, but under parity', async () => {
    const tokenizer = await orThrow(loadTokenizer('examples/quickstart/base'));
    const both = async (options: SftOptions): Promise<ReadonlyArray<number>> => {
      const still = { perDeviceTrainBatchSize: 6, shuffle: false, learningRate: 0, maxSteps: 1, evalOnStart: true };
      const { run } = await started({ ...still, ...options }, { tokenizer, evalDataset: rows });
      const told = lastValueFrom(run.evaluations.pipe(toArray()));
      const { loss } = await lastValueFrom(run);
      const [evaluation] = await told;
      return [loss, evaluation?.loss ?? NaN, evaluation?.tokenLoss ?? NaN];
    };
    for (const parity of [undefined, 'trl-0.7.10'] as const) {
      const [plain = NaN] = await both({ parity });
      const [smooth = NaN, evaluated, token] = await both({ parity, labelSmoothingFactor: 0.3 });
      expect(Math.abs(smooth - plain)).toBeGreaterThan(1e-3);
      expect(evaluated).toBeCloseTo(parity === undefined ? plain : smooth, 5);
      expect(token).toBeCloseTo(plain, 5);
    }
  });

  test('the best checkpoint becomes the final model', async () => {
    const outputDir = temporary();
    // A rate that soon ruins the model: the first evaluation stays the best.
    const { run, model } = await started(
      {
        outputDir,
        learningRate: 3,
        lrSchedulerType: 'constant',
        maxGradNorm: null,
        optim: 'sgd',
        evalSteps: 1,
        saveSteps: 1,
        loadBestModelAtEnd: true,
        saveTotalLimit: 1,
      },
      { evalDataset: rows },
    );
    const evaluations = lastValueFrom(run.evaluations.pipe(toArray()));
    const finished = firstValueFrom(run.finished);
    run.subscribe();
    const losses = (await evaluations).map(({ loss }) => loss);
    const best = losses.indexOf(Math.min(...losses)) + 1;
    const summary = await finished;
    expect(best).toBeLessThan(6);
    expect(summary).toMatchObject({ bestStep: best, bestMetric: Math.min(...losses) });
    const { run: again, model: loaded } = await started({
      resumeFromCheckpoint: join(outputDir, `checkpoint-${best}`),
      maxSteps: best,
      optim: 'sgd',
    });
    await lastValueFrom(again, { defaultValue: undefined });
    expect(numbersOf(model)).toEqual(numbersOf(loaded));
    expect(readdirSync(outputDir).filter((name) => name.startsWith('checkpoint'))).toEqual([`checkpoint-${best}`]);
  });

  const evaluated = { evalSteps: 1, saveSteps: 1, lrSchedulerType: 'constant', optim: 'sgd', learningRate: 3 } as const;
  const falling = (): SftSetup['computeMetrics'] => {
    let worse = 0;
    return () => TE.right({ own: worse++ });
  };
  const best = { ...evaluated, loadBestModelAtEnd: true, metricForBestModel: 'own', greaterIsBetter: false } as const;

  test('saveStrategy best writes a checkpoint whenever an evaluation is the best yet, and the limit keeps it', async () => {
    const outputDir = temporary();
    let at = 0;
    const { run } = await started(
      { ...best, outputDir, loadBestModelAtEnd: false, saveStrategy: 'best', saveTotalLimit: 1 },
      { evalDataset: rows, computeMetrics: () => TE.right({ own: [5, 4, 6, 3, 7, 8][at++] ?? 9 }) },
    );
    const written = lastValueFrom(run.checkpoints.pipe(toArray()));
    await lastValueFrom(run);
    expect((await written).map(({ step }) => step)).toEqual([1, 2, 4]);
    expect(readdirSync(outputDir).filter((name) => name.startsWith('checkpoint'))).toEqual(['checkpoint-4']);
  });

  test.each([
    [[5, 4, 6, 3, 7, 8], 4, ['checkpoint-4'], 'checkpoint-4'],
    // Nothing was saved at the best.
    [[5, 4, 1, 3, 7, 8], 3, ['checkpoint-6'], null],
  ])('a metric that is named is followed: %j', async (values, bestStep, kept, saved) => {
    const outputDir = temporary();
    let at = 0;
    const { run } = await started(
      { ...best, outputDir, loadBestModelAtEnd: false, saveSteps: 2, saveTotalLimit: 1 },
      { evalDataset: rows, computeMetrics: () => TE.right({ own: values[at++] ?? 9 }) },
    );
    const states: Array<unknown> = [];
    run.checkpoints.subscribe(({ dir }) => {
      states.push(JSON.parse(readFileSync(join(dir, 'trainer_state.json'), 'utf8')));
    });
    const summary = firstValueFrom(run.finished);
    await lastValueFrom(run);
    expect(await summary).toMatchObject({ bestStep });
    expect(states.at(-1)).toMatchObject({ best_step: bestStep, best_model_checkpoint: saved });
    // Of one that is kept, the best stays: the newest went when the run had ended.
    expect(readdirSync(outputDir).filter((name) => name.startsWith('checkpoint'))).toEqual(kept);
  });

  test.each([
    ['gone', '', ['checkpoint-6']],
    ['damaged', 'model.safetensors', ['checkpoint-1', 'checkpoint-6']],
  ])('a best checkpoint that is %s is told; the last weights are saved, and the newest kept', async (_, lost, kept) => {
    const outputDir = temporary();
    const { run, events } = await started(
      { ...best, outputDir, saveTotalLimit: 1 },
      { evalDataset: rows, computeMetrics: falling() },
    );
    run.subscribe(({ step }) => {
      if (step === 5) rmSync(join(outputDir, 'checkpoint-1', lost), { recursive: true });
    });
    const finished = firstValueFrom(run.finished);
    expect(await finished).toMatchObject({ bestStep: 1, ended: 'finished' });
    expect(kinds(events)).toContain('W_BEST_MODEL_LOST');
    expect(existsSync(join(outputDir, 'model.safetensors'))).toBe(true);
    expect(readdirSync(outputDir).filter((name) => name.startsWith('checkpoint'))).toEqual(kept);
  });

  test('a run that goes on in another directory finds its best checkpoint where it was written', async () => {
    const [first, second, third] = [temporary(), temporary(), temporary()];
    const own = falling();
    const { run } = await started(
      { ...best, outputDir: first, maxSteps: 2 },
      { evalDataset: rows, computeMetrics: own },
    );
    await lastValueFrom(run);
    const goOn = async (from: string, outputDir: string, maxSteps: number): Promise<ReadonlyArray<string>> => {
      const { run: next, events } = await started(
        { ...best, outputDir, maxSteps, resumeFromCheckpoint: from },
        { evalDataset: rows, computeMetrics: own },
      );
      await lastValueFrom(next);
      return kinds(events);
    };
    expect(await goOn(join(first, 'checkpoint-2'), second, 3)).not.toContain('W_BEST_MODEL_LOST');
    expect(await goOn(join(second, 'checkpoint-3'), third, 4)).not.toContain('W_BEST_MODEL_LOST');
    const saved = (dir: string): string => readFileSync(join(dir, 'model.safetensors'), 'latin1');
    expect(saved(third)).toBe(saved(join(first, 'checkpoint-1')));
  });

  test('a metric that is not a number is never the best', async () => {
    const outputDir = temporary();
    let evaluations = 0;
    const { run } = await started(
      { outputDir, evalSteps: 2, saveSteps: 2, loadBestModelAtEnd: true, metricForBestModel: 'own' },
      { evalDataset: rows, computeMetrics: () => TE.right({ own: [NaN, 3, Infinity][evaluations++] ?? 0 }) },
    );
    const summary = firstValueFrom(run.finished);
    await lastValueFrom(run);
    expect(await summary).toMatchObject({ bestStep: 4, bestMetric: 3 });
  });

  test('patience ends a run that gets no better', async () => {
    const { run } = await started(
      { maxSteps: 20, learningRate: 0, evalSteps: 2, earlyStoppingPatience: 2 },
      { evalDataset: rows },
    );
    const summary = firstValueFrom(run.finished);
    run.subscribe();
    // The first evaluation is the best; the second and third are no better.
    expect(await summary).toMatchObject({ ended: 'early', steps: 6 });
  });

  test('a metric that is not there is told', async () => {
    const { run, events } = await started(
      { maxSteps: 2, evalSteps: 1, earlyStoppingPatience: 1, metricForBestModel: 'bleu' },
      { evalDataset: rows },
    );
    await lastValueFrom(run);
    expect(kinds(events)).toContain('W_METRIC_MISSING');
  });
});
