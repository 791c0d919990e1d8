/** What a run tells, what it does when told something, and how it ends. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { memory } from '@tensorflow/tfjs-core';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { firstValueFrom, lastValueFrom, take, toArray } from 'rxjs';
import { isFatal, orThrow, render } from '../../src/errors.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import type { CausalLM } from '../../src/model/model.js';
import { startUnderTest } from '../engine.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import type { SftRun } from '../../src/train/trainer.js';
import type { RunEvent, SftSetup } from '../../src/train/run/run.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { chain, scaleBy } from '../../src/train/optimizers/optimizer.js';
import { sgd } from '../../src/train/optimizers/sgd.js';
import { disposeModel, numbersOf, tinyModel } from '../../property-tests/train/tiny.js';

beforeAll(async () => {
  await startUnderTest();
});

const dirs: Array<string> = [];
const temporary = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-trainer-'));
  dirs.push(dir);
  return dir;
};
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

const rows = Array.from({ length: 6 }, (_, i) => ({
  input_ids: Array.from({ length: 4 + i }, (__, t) => (7 * i + 3 * t) % 40),
}));

const started = async (
  options: SftOptions,
  setup: Partial<SftSetup> = {},
): Promise<{ readonly run: SftRun; readonly model: CausalLM; readonly events: Array<RunEvent> }> => {
  const model = await tinyModel();
  const run = sftTrainer(
    { model, trainDataset: rows, ...setup },
    { perDeviceTrainBatchSize: 2, maxSteps: 6, learningRate: 0.01, ...options },
  );
  const events: Array<RunEvent> = [];
  run.events.subscribe((event) => events.push(event));
  return { run, model, events };
};

const kinds = (events: ReadonlyArray<RunEvent>): ReadonlyArray<string> =>
  events.map((event) =>
    event.kind === 'step' ? String(event.step.step) : event.kind === 'warning' ? event.warning.code : event.kind,
  );

const linesOf = (path: string): ReadonlyArray<Readonly<Record<string, number>>> =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Readonly<Record<string, number>>);

const failure = async (run: SftRun): Promise<{ readonly code: string; readonly text: string }> => {
  try {
    await lastValueFrom(run.pipe(toArray()));
  } catch (error) {
    if (isFatal(error)) return { code: error.code, text: render(error) };
    throw error;
  }
  throw new Error('the run did not fail');
};

describe('the streams of a run', () => {
  test('tell everything in order', async () => {
    const outputDir = temporary();
    const { run, events } = await started(
      { outputDir, maxLength: 16, saveSteps: 3, evalSteps: 2, loggingSteps: 2 },
      { evalDataset: rows.slice(0, 3) },
    );
    const steps = await lastValueFrom(run.pipe(toArray()));
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(kinds(events)).toEqual([
      ...['begun', 'epochBegun', '1', '2', 'log', 'evaluation', '3', 'epochEnded', 'checkpoint'],
      ...[
        'epochBegun',
        '4',
        'log',
        'evaluation',
        '5',
        '6',
        'log',
        'evaluation',
        'epochEnded',
        'checkpoint',
        'finished',
      ],
    ]);
  });

  test('begin with what is going to happen', async () => {
    const { run } = await started({ numTrainEpochs: 2, maxSteps: -1, r: 2 });
    const begun = firstValueFrom(run.begun);
    run.subscribe();
    expect(await begun).toMatchObject({
      resumedAt: 0,
      plan: { totalSteps: 6, microBatchesPerEpoch: 3 },
      trainSummary: { rows: 6, rejected: 0 },
      trainableParameters: 2 * (2 * 16 + 16 * 2 + 2 * 16 + 8 * 2),
    });
  });

  test('subscribing twice joins one run; another run needs another call', async () => {
    const { run } = await started({});
    const both = await Promise.all([lastValueFrom(run.pipe(toArray())), lastValueFrom(run.pipe(toArray()))]);
    expect(both[0]).toEqual(both[1]);
    await expect(lastValueFrom(run)).rejects.toMatchObject({ code: 'E_RUN_TWICE' });
  });

  test('leaving ends the run where it is and frees what it made', async () => {
    const { run, model } = await started({});
    const seen = await lastValueFrom(run.pipe(take(2), toArray()));
    expect(seen.length).toBe(2);
    disposeModel(model);
    const { run: another, model: fresh } = await started({});
    const before = memory().numTensors;
    await lastValueFrom(another.pipe(take(1)));
    // The step that was running when the subscriber left runs out.
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(memory().numTensors).toBe(before);
    disposeModel(fresh);
  });

  test('a whole run leaves no tensor behind but the model', async () => {
    const { run, model } = await started({ r: 2 }, { evalDataset: rows });
    const before = memory().numTensors;
    const begun = firstValueFrom(run.begun);
    await lastValueFrom(run);
    const adapter = Object.keys((await begun).model.weights).length - Object.keys(model.weights).length;
    expect(memory().numTensors).toBe(before + adapter);
  });
});

describe('the mean of micro-batches', () => {
  const first = async (options: SftOptions): Promise<number> => {
    const { run } = await started({ shuffle: false, ...options }, { trainDataset: rows.slice(0, 2) });
    return (await firstValueFrom(run.pipe(take(1)))).loss;
  };

  test('is over those that an update has, where an epoch ends with a smaller one', async () => {
    const alone = await first({});
    const short = { gradientAccumulationSteps: 3, lossMean: 'microBatch' } as const;
    expect(await first({ ...short, epochRemainder: 'update' })).toBeCloseTo(alone, 5);
    // As transformers had it before 5: divided by as many as others have.
    expect(await first(short)).toBeCloseTo(alone / 3, 5);
  });
});

describe('what is written', () => {
  test('a log row tells the interval it ends', async () => {
    const outputDir = temporary();
    const { run } = await started({ outputDir, loggingSteps: 2, saveStrategy: 'no' });
    const steps = await lastValueFrom(run.pipe(toArray()));
    const log = linesOf(join(outputDir, 'log.jsonl'));
    expect(log.map(({ step }) => step)).toEqual([2, 4, 6]);
    const [, second] = log;
    const [, , third, fourth] = steps;
    expect(second).toEqual({
      step: 4,
      epoch: fourth?.epoch,
      loss: ((third?.loss ?? 0) + (fourth?.loss ?? 0)) / 2,
      grad_norm: fourth?.gradNorm,
      learning_rate: fourth?.learningRate,
      num_tokens: steps.slice(0, 4).reduce((sum, { numTokens }) => sum + numTokens, 0),
      mean_token_accuracy: expect.any(Number),
      entropy: expect.any(Number),
    });
  });

  test('the final model lies in the output directory, checkpoints beside it, and only what limits allow', async () => {
    const outputDir = temporary();
    const { run, model } = await started({ outputDir, saveSteps: 2, saveTotalLimit: 2 });
    await lastValueFrom(run);
    expect(readdirSync(outputDir).sort()).toEqual([
      'README.md',
      'checkpoint-4',
      'checkpoint-6',
      'config.json',
      'log.jsonl',
      'model.safetensors',
    ]);
    expect(readdirSync(join(outputDir, 'checkpoint-4')).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'optimizer.safetensors',
      'rxtune_manifest.json',
      'trainer_state.json',
    ]);
    const { run: again, model: loaded } = await started({
      maxSteps: 6,
      resumeFromCheckpoint: join(outputDir, 'checkpoint-6'),
    });
    await lastValueFrom(again, { defaultValue: undefined });
    expect(numbersOf(loaded)).toEqual(numbersOf(model));
  });

  test('generation_config.json goes with the model as it came, and not with an adapter', async () => {
    const generationConfig = { eos_token_id: [2, 5], temperature: 0.7 };
    for (const [options, expected] of [
      [{}, generationConfig],
      [{ r: 2 }, undefined],
    ] as const) {
      const outputDir = temporary();
      const model = { ...(await tinyModel()), generationConfig };
      await lastValueFrom(
        sftTrainer({ model, trainDataset: rows }, { maxSteps: 1, saveSteps: 1, outputDir, ...options }),
      );
      for (const dir of [outputDir, join(outputDir, 'checkpoint-1')]) {
        const file = join(dir, 'generation_config.json');
        expect(existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined).toEqual(expected);
      }
    }
  });

  test('an adapter is saved alone', async () => {
    const outputDir = temporary();
    const { run } = await started({ outputDir, r: 2, saveStrategy: 'no' }, { modelName: 'tiny' });
    await lastValueFrom(run);
    expect(readdirSync(outputDir).sort()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
      'log.jsonl',
    ]);
    expect(JSON.parse(readFileSync(join(outputDir, 'adapter_config.json'), 'utf8'))).toMatchObject({
      r: 2,
      target_modules: ['q_proj', 'v_proj'],
      base_model_name_or_path: 'tiny',
      task_type: 'CAUSAL_LM',
    });
  });

  test('an output directory that cannot be written is told before anything is done', async () => {
    const file = join(temporary(), 'file');
    writeFileSync(file, '');
    const { run, events } = await started({ outputDir: join(file, 'out') });
    expect((await failure(run)).code).toBe('E_OUTPUT_DIR');
    expect(kinds(events)).toEqual([]);
  });
});

test('a run of a thousand million updates begins at once, and ends when it is stopped', async () => {
  for (const options of [{}, { streaming: true }] as const) {
    const { run, events } = await started({ maxSteps: 1e9, ...options });
    run.subscribe(({ step }) => step === 4 && run.stop());
    await lastValueFrom(run);
    expect(kinds(events).filter((kind) => kind === 'finished')).toEqual(['finished']);
    expect(events.flatMap((event) => (event.kind === 'begun' ? [event.begun.plan.totalSteps] : []))).toEqual([1e9]);
  }
});

describe('inputs', () => {
  test('pause holds the run between two updates, resume lets it go on', async () => {
    const { run } = await started({});
    const steps: Array<number> = [];
    const ended = lastValueFrom(run.pipe(toArray()));
    run.subscribe(({ step }) => {
      steps.push(step);
      if (step === 2) run.pause();
    });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(steps).toEqual([1, 2]);
    run.resume();
    expect((await ended).length).toBe(6);
  });

  test('stop ends it as if that had been the last update', async () => {
    const outputDir = temporary();
    const { run, events } = await started({ outputDir });
    run.subscribe(({ step }) => (step === 3 ? run.stop() : undefined));
    await lastValueFrom(run);
    expect(kinds(events).slice(-4)).toEqual(['3', 'log', 'epochEnded', 'finished']);
    expect(existsSync(join(outputDir, 'model.safetensors'))).toBe(true);
  });

  test('stop with a checkpoint leaves it to be resumed, without a final model', async () => {
    const outputDir = temporary();
    const { run } = await started({ outputDir });
    const finished = firstValueFrom(run.finished);
    run.subscribe(({ step }) => (step === 3 ? run.stop({ checkpoint: true }) : undefined));
    await lastValueFrom(run);
    expect(await finished).toMatchObject({ ended: 'left', steps: 3 });
    expect(readdirSync(outputDir).sort()).toEqual(['checkpoint-3', 'log.jsonl']);
  });

  test('a checkpoint is written when asked for', async () => {
    const outputDir = temporary();
    const { run } = await started({ outputDir, saveStrategy: 'no' });
    const written = lastValueFrom(run.checkpoints.pipe(toArray()));
    run.subscribe(({ step }) => (step === 2 ? run.checkpointNow() : undefined));
    expect((await written).map(({ step }) => step)).toEqual([2]);
  });

  test('a rate set by hand goes before the schedule, and can be given back', async () => {
    const optimizer: SftSetup['optimizer'] = (_, schedule) => {
      // A schedule may be asked at once.
      expect(schedule(0)).toBe(0.01);
      return chain(sgd(), scaleBy(schedule));
    };
    for (const setup of [{}, { optimizer }]) {
      const { run } = await started({ lrSchedulerType: 'constant' }, setup);
      run.subscribe(({ step }) => {
        if (step === 2) run.setLearningRate(0.5);
        if (step === 4) run.setLearningRate(undefined);
      });
      const steps = await lastValueFrom(run.pipe(toArray()));
      expect(steps.map(({ learningRate }) => learningRate)).toEqual([0.01, 0.01, 0.5, 0.5, 0.01, 0.01]);
    }
  });
});

describe('inputs that act within the update they are given in', () => {
  test('evaluateNow and logNow, from a callback', async () => {
    const model = await tinyModel();
    const seen: Array<string> = [];
    const run = sftTrainer(
      {
        model,
        trainDataset: rows,
        evalDataset: rows,
        callbacks: [
          (event, { evaluateNow, logNow }) => {
            if (event.kind === 'step') seen.push(String(event.step.step));
            if (event.kind === 'log' || event.kind === 'evaluation') seen.push(event.kind);
            if (event.kind === 'step' && event.step.step === 2) evaluateNow();
            if (event.kind === 'step' && event.step.step === 3) logNow();
          },
        ],
      },
      { perDeviceTrainBatchSize: 2, maxSteps: 4, loggingStrategy: 'no', maxLength: 16 },
    );
    await lastValueFrom(run);
    expect(seen).toEqual(['1', '2', 'evaluation', '3', 'log', '4']);
    disposeModel(model);
  });
});

describe('modelInit', () => {
  test('makes the model from the seed, and goes before model with a warning', async () => {
    const made: Array<number> = [];
    const modelInit = (seed: number): Promise<CausalLM> => {
      made.push(seed);
      return tinyModel();
    };
    const { run, events } = await started({ seed: 7 }, { modelInit });
    await lastValueFrom(run);
    expect(made).toEqual([7]);
    expect(kinds(events)[0]).toBe('W_MODEL_AND_INIT');
  });

  test('a model must come from somewhere', async () => {
    expect(await failure(sftTrainer({ trainDataset: rows }))).toMatchObject({ code: 'E_NO_MODEL' });
  });

  test('its failure is told', async () => {
    const modelInit = (): Promise<CausalLM> => Promise.reject(new Error('no weights today'));
    const { code, text } = await failure(sftTrainer({ trainDataset: rows, modelInit }));
    expect(code).toBe('E_MODEL_INIT');
    expect(text).toContain('no weights today');
  });
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

describe('faults', () => {
  const poisoned = async (): Promise<CausalLM> => {
    const model = await tinyModel();
    const table = model.weights['model.embed_tokens.weight'];
    const { tensor } = await import('@tensorflow/tfjs-core');
    const values = table?.dataSync().slice() ?? new Float32Array();
    // Token 13 stands for a broken number.
    values.fill(NaN, 13 * 16, 14 * 16);
    const weights = { ...model.weights, 'model.embed_tokens.weight': tensor(values, [40, 16]) };
    return { ...model, weights };
  };
  const data = [
    { input_ids: [1, 2, 3] },
    { input_ids: [4, 5, 6] },
    { input_ids: [7, 13, 8] },
    { input_ids: [9, 10, 11] },
  ];

  test('a loss that is not finite ends the run and names the rows', async () => {
    const { run } = await started({ shuffle: false }, { model: await poisoned(), trainDataset: data });
    const { code, text } = await failure(run);
    expect(code).toBe('E_NON_FINITE');
    expect(text).toContain('step 2');
    expect(text).toContain('row 2');
    expect(text).not.toContain('row 3');
  });

  test('or is left out and counted, and the run goes on', async () => {
    const model = await poisoned();
    const { run } = await started({ shuffle: false, nonFinite: 'skip', maxSteps: 4 }, { model, trainDataset: data });
    const finished = firstValueFrom(run.finished);
    const steps = await lastValueFrom(run.pipe(toArray()));
    expect(steps.map(({ loss }) => Number.isFinite(loss))).toEqual([true, false, true, false]);
    expect(await finished).toMatchObject({ skippedSteps: 2, steps: 4 });
  });

  test('a micro-batch that supervises nothing counts as such and moves nothing', async () => {
    const nothing = [{ input_ids: [1, 2, 3], labels: [1, -100, -100] }];
    const { run } = await started({}, { trainDataset: nothing });
    expect((await failure(run)).code).toBe('E_NO_ROWS');
  });

  test('evaluation without rows to evaluate on', async () => {
    for (const options of [{ evalSteps: 2 }, { evalOnStart: true }, { evalStrategy: 'epoch' as const }]) {
      const { run } = await started(options);
      const { code, text } = await failure(run);
      expect(code).toBe('E_NO_EVAL_DATASET');
      expect(text).toContain(Object.keys(options)[0] === 'evalOnStart' ? 'evalOnStart' : 'evalStrategy');
    }
  });

  test('a set of which no row is left is named', async () => {
    const { run } = await started({ evalSteps: 2 }, { evalDataset: { easy: rows, hard: [{ no: 'text' }] } });
    expect(await failure(run)).toMatchObject({ code: 'E_NO_ROWS', text: expect.stringContaining('evalDataset.hard') });
  });

  test('a callback that throws, before the run or in it', async () => {
    for (const kind of ['begun', 'step', 'finished'] as const) {
      const thrower = (event: RunEvent): void => {
        if (event.kind === kind) throw new TypeError('my fault');
      };
      const { run } = await started({}, { callbacks: [thrower] });
      const { code, text } = await failure(run);
      expect(code).toBe('E_CALLBACK');
      expect(text).toContain(`"${kind}": my fault`);
    }
  });

  test('a source that throws while rows are counted to be held back', async () => {
    const broken: Iterable<unknown> = {
      [Symbol.iterator]: () => {
        throw new TypeError('no such table');
      },
    };
    const { run } = await started({ evalSplit: 0.5, evalSteps: 1 }, { trainDataset: broken });
    expect(await failure(run)).toMatchObject({
      code: 'E_SOURCE_FAILED',
      text: expect.stringContaining('no such table'),
    });
  });

  test('options that are wrong are a usage error', async () => {
    const { run } = await started({ perDeviceTrainBatchSize: 0 });
    expect((await failure(run)).code).toBe('E_OPTIONS');
  });

  test('rows too few for one batch', async () => {
    const { run } = await started({ dataloaderDropLast: true, perDeviceTrainBatchSize: 99 });
    const { code, text } = await failure(run);
    expect(code).toBe('E_NO_BATCH');
    expect(text).toContain('"perDeviceTrainBatchSize": 6 rows make no batch of 99');
  });

  test('an engine other than the one the model is on', async () => {
    const { run } = await started({ engine: 'tensorflow' });
    expect((await failure(run)).code).toBe('E_ENGINE_CHOSEN');
  });

  test('a source that fails in the middle', async () => {
    const source = function* (): Generator {
      yield { input_ids: [1, 2, 3] };
      throw new Error('disk gone');
    };
    const { run } = await started({}, { trainDataset: source() });
    const { code, text } = await failure(run);
    expect(code).toBe('E_SOURCE_FAILED');
    expect(text).toContain('disk gone');
  });

  test('a generator cannot be streamed twice', async () => {
    const source = function* (): Generator {
      yield* rows;
    };
    const { run } = await started({ streaming: true, maxSteps: 9 }, { trainDataset: source() });
    expect((await failure(run)).code).toBe('E_STREAM_EMPTY');
  });

  test('a second adapter is told and not made', async () => {
    const { run, events } = await started({ maxSteps: 1, r: 2 });
    const begun = firstValueFrom(run.begun);
    await lastValueFrom(run);
    const { model } = await begun;
    const again = await started({ maxSteps: 1, r: 3 }, { model });
    await lastValueFrom(again.run);
    expect(kinds(events)).not.toContain('W_PEFT_CONFIG_IGNORED');
    expect(kinds(again.events)).toContain('W_PEFT_CONFIG_IGNORED');
  });

  test('rows that no update will read are told', async () => {
    const { run, events } = await started({ maxSteps: -1, numTrainEpochs: 1, gradientAccumulationSteps: 2 });
    await lastValueFrom(run);
    expect(kinds(events)).toContain('W_ROWS_LEFT_OVER');
  });
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

test('a run awaited: its summary, or its error as a Left', async () => {
  const { run } = await started({});
  expect(await orThrow(completed(run))).toMatchObject({ steps: 6, ended: 'finished', epoch: 2 });
  const { run: wrong } = await started({ perDeviceTrainBatchSize: -1 });
  expect(await completed(wrong)()).toMatchObject({ _tag: 'Left', left: { code: 'E_OPTIONS' } });
});
