/** Faults of runs that other tests do not come by: an engine that fails, files that cannot be what they should be. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { fill } from '@tensorflow/tfjs-core';
import { lastValueFrom, toArray } from 'rxjs';
import { isFatal } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { quantizeModel } from '../../src/model/quantize/base.js';
import { decodeQuantization, QuantizationConfig } from '../../src/model/quantize/config.js';
import { adamw } from '../../src/train/optimizers/adamw.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { evaluateRows } from '../../src/train/evaluating/evaluate.js';
import { truncateLog } from '../../src/train/logging/log.js';
import { chain } from '../../src/train/optimizers/optimizer.js';
import type { SftSetup } from '../../src/train/run/run.js';
import { answerRows } from '../../src/train/generating/samples.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { decodeTrainerState } from '../../src/train/saving/trainerState.js';
import { disposeModel, tinyModel } from '../../property-tests/train/tiny.js';
import { startUnderTest } from '../engine.js';

beforeAll(async () => {
  await startUnderTest();
});

const dir = mkdtempSync(join(tmpdir(), 'rxtune-rare-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const rows = [1, 2, 3].map((i) => ({ input_ids: [i, i + 1, i + 2] }));
const prepared = rows.map(({ input_ids: ids }) => ({
  inputIds: Int32Array.from(ids),
  labels: Int32Array.of(-100, ...ids.slice(1)),
  seqLengths: [ids.length],
}));

/** What a run of one update ends with, and the warnings before. */
const run = async (
  options: SftOptions,
  setup: Partial<SftSetup> = {},
): Promise<{ readonly failed?: FatalError; readonly warned: ReadonlyArray<string> }> => {
  const started = sftTrainer({ model: await tinyModel(), trainDataset: rows, ...setup }, { maxSteps: 1, ...options });
  const warned: Array<string> = [];
  started.warnings.subscribe(({ code }) => warned.push(code));
  try {
    await lastValueFrom(started.pipe(toArray()));
    return { warned };
  } catch (failed) {
    if (isFatal(failed)) return { failed, warned };
    throw failed;
  }
};

test('rows longer than the model: refused where positions are learnt, warned about where they turn', async () => {
  expect((await run({ maxLength: 4096 })).warned).toContain('W_MAX_LENGTH');
  const { failed } = await run({ maxLength: 4096 }, { model: await tinyModel('gpt2') });
  expect(failed).toMatchObject({ code: 'E_MAX_LENGTH', kind: 'usage' });
});

test('dropout on attention weights that config.json asks for is told to be left out, unless none is asked for', async () => {
  const dropped = async (options: SftOptions) => {
    const model = await tinyModel('gpt2');
    return (await run(options, { model: { ...model, config: { ...model.config, attentionDropout: 0.1 } } })).warned;
  };
  expect(await dropped({ maxLength: 8 })).toContain('W_ATTENTION_DROPOUT');
  expect(await dropped({ maxLength: 8, disableDropout: true })).not.toContain('W_ATTENTION_DROPOUT');
});

test('an optimizer of your own that throws is told as such', async () => {
  expect((await run({}, { optimizer: () => chain(adamw()) })).failed).toMatchObject({
    code: 'E_CALLBACK',
    message: expect.stringMatching(/^optimizer failed: nothing in the chain gives a learning rate/),
    details: { field: 'optimizer' },
  });
});

test('an update that throws names its step', async () => {
  const optimizer: SftSetup['optimizer'] = () => ({
    ...chain(adamw({ learningRate: 1e-3 })),
    apply: () => {
      throw new Error('the device is gone');
    },
  });
  expect((await run({}, { optimizer })).failed).toMatchObject({
    code: 'E_STEP',
    message: 'step 1 failed: the device is gone',
  });
});

test('an evaluation, or an answer, that the engine cannot make is an error, not a throw', async () => {
  const model = await tinyModel();
  disposeModel(model);
  expect(await evaluateRows(model, prepared)()).toMatchObject({ left: { code: 'E_EVALUATE' } });
  expect(await answerRows(model, prepared, { count: 1, maxNewTokens: 2 })()).toMatchObject({
    left: { code: 'E_GENERATE' },
  });
  const whole = await tinyModel();
  const norm = whole.weights['model.norm.weight'];
  const damaged = { ...whole, weights: { ...whole.weights, 'model.norm.weight': fill(norm?.shape ?? [], NaN) } };
  expect(await answerRows(damaged, prepared, { count: 1, maxNewTokens: 2 })()).toMatchObject({
    left: { code: 'E_NON_FINITE' },
  });
  disposeModel(whole);
});

test('a log that is a directory cannot be cut', async () => {
  const file = join(dir, 'log.jsonl');
  mkdirSync(file);
  expect(await truncateLog(file, 3)()).toMatchObject({ left: { code: 'E_LOG_WRITE', details: { file } } });
});

test('a trainer state that lacks what it needs is refused with the field', () => {
  expect(decodeTrainerState('trainer_state.json')({ format: 1 })).toMatchObject({
    left: { code: 'E_TRAINER_STATE', details: { file: 'trainer_state.json', field: 'global_step' } },
  });
});

test('a model is quantised once, and only as this library can read', async () => {
  const options = QuantizationConfig.decode({ loadIn8bit: true });
  if (options._tag === 'Left') throw options.left;
  const model = await tinyModel();
  const once = quantizeModel(model, options.right);
  if (once._tag === 'Left') throw once.left;
  expect(quantizeModel(once.right, options.right)).toMatchObject({ left: { code: 'E_QUANTIZED', kind: 'usage' } });
  expect(decodeQuantization({ quantization_config: { quant_method: 'awq' } })).toMatchObject({
    left: { code: 'E_QUANTIZATION', details: { actual: 'awq' } },
  });
  expect(decodeQuantization({ quantization_config: { load_in_4bit: 'yes' } })).toMatchObject({
    left: { code: 'E_QUANTIZATION' },
  });
});
