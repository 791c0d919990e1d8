/** What ends a run, or is told of it as it goes on. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { tinyModel } from '../../property-tests/train/tiny.js';
import type { CausalLM } from '../../src/model/model.js';
import type { RunEvent } from '../../src/train/run/run.js';
import { startUnderTest } from '../engine.js';
import { failure, kinds, rows, started } from './startedRun.js';

beforeAll(async () => {
  await startUnderTest();
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
