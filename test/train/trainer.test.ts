/** What a run tells, what it writes, and what it does when told something. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { memory } from '@tensorflow/tfjs-core';
import { filter, firstValueFrom, lastValueFrom, take, toArray } from 'rxjs';
import { disposeModel, numbersOf, tinyModel } from '../../property-tests/train/tiny.js';
import { orThrow } from '../../src/errors.js';
import type { CausalLM } from '../../src/model/model.js';
import { chain, scaleBy } from '../../src/train/optimizers/optimizer.js';
import { sgd } from '../../src/train/optimizers/sgd.js';
import type { SftOptions } from '../../src/train/options/config.js';
import type { SftSetup } from '../../src/train/run/run.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import { startUnderTest } from '../engine.js';
import { failure, kinds, linesOf, rows, started, temporary } from './startedRun.js';

beforeAll(async () => {
  await startUnderTest();
});

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
    await firstValueFrom(run.pipe(filter(({ step }) => step === 2)));
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

test('a run awaited: its summary, or its error as a Left', async () => {
  const { run } = await started({});
  expect(await orThrow(completed(run))).toMatchObject({ steps: 6, ended: 'finished', epoch: 2 });
  const { run: wrong } = await started({ perDeviceTrainBatchSize: -1 });
  expect(await completed(wrong)()).toMatchObject({ _tag: 'Left', left: { code: 'E_OPTIONS' } });
});
