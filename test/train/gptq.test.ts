/** Models that GPTQ cannot take, and what it leaves of those that it can. */
import { join, resolve } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import { chooseEngine } from '../../src/train/engine.js';
import { gptqRows } from '../../src/train/gptq.js';
import { loadModel } from '../../src/train/load.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const llama = join(golden, 'models', 'llama');
const rows = [{ inputIds: Int32Array.of(1, 2, 3, 4), labels: Int32Array.of(1, 2, 3, 4), seqLengths: [4] }];
const options = { bits: 4, groupSize: -1, descAct: false, sym: true, dampPercent: 0.01 } as const;

beforeAll(async () => {
  await orThrow(chooseEngine());
});

test.each([
  ['quantised already', { loadIn4bit: true }, rows, 'E_QUANTIZED'],
  ['with an adapter', { adapterDir: join(golden, 'adapters', 'llama-dora') }, rows, 'E_LORA_PRESENT'],
  ['without a row to calibrate on', {}, [], 'E_GPTQ'],
])('a model %s is refused', async (_, how, calibration, code) => {
  const { model } = await orThrow(loadModel(llama, how));
  const result = gptqRows(model, calibration, options);
  expect(E.isLeft(result) ? result.left.code : 'quantised').toBe(code);
});

test('the head, embeddings and norms stay as they are', async () => {
  const { model } = await orThrow(loadModel(llama));
  const kept = ['lm_head.weight', 'model.embed_tokens.weight', 'model.norm.weight'];
  const before = kept.map((name) => Array.from(model.weights[name]?.dataSync() ?? []));
  const quantized = await orThrow(() => Promise.resolve(gptqRows(model, rows, options)));
  expect(kept.map((name) => Array.from(quantized.model.weights[name]?.dataSync() ?? []))).toEqual(before);
  expect(quantized.layers).toHaveLength(14);
});
