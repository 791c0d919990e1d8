/** Quantised bases from file to file: loaded, trained on, saved as bitsandbytes lays them out, and opened again. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { orThrow } from '../../src/errors.js';
import { readSafetensors } from '../../src/formats/tensors/safetensors.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { mergeLora } from '../../src/model/adapters/merge.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { dequantizeModel } from '../../src/model/quantize/base.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { chooseEngine } from '../../src/train/engine.js';
import { loadModel } from '../../src/train/loading/load.js';
import type { LoadOptions } from '../../src/train/loading/load.js';
import { saveModel } from '../../src/train/saving/save.js';
import { numbersOf, runOf, stepsOf } from '../../property-tests/train/tiny.js';

const models = resolve(import.meta.dirname, '..', 'golden', 'models');
const root = mkdtempSync(join(tmpdir(), 'rxtune-quantized-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeAll(async () => {
  await orThrow(chooseEngine());
});

const nf4: LoadOptions = { loadIn4bit: true, bnb4bitQuantType: 'nf4' };
const ways: ReadonlyArray<readonly [string, LoadOptions]> = [
  ['nf4', nf4],
  ['nf4, double', { ...nf4, bnb4bitUseDoubleQuant: true }],
  ['fp4', { loadIn4bit: true }],
  ['int8', { loadIn8bit: true }],
];
const rows = [
  { input_ids: [1, 2, 3, 4, 5, 6], labels: [1, 2, 3, 4, 5, 6] },
  { input_ids: [6, 5, 4], labels: [-100, 5, 4] },
];

describe.each(['llama', 'gpt2', 'opt', 'qwen2_moe_mixed'])('%s', (name) => {
  test.each(ways)('%s: what was saved loads as it was, without options', async (way, options) => {
    const { model } = await orThrow(loadModel(join(models, name), options));
    const dir = join(root, `${name} ${way}`);
    await orThrow(saveModel(dir, model));
    const again = await orThrow(loadModel(dir));
    expect(numbersOf(again.model)).toEqual(numbersOf(model));
    expect(again.model.quantized?.scales).toEqual(model.quantized?.scales);
    expect(again.model.quantized?.config).toEqual(model.quantized?.config);
    const asked = await orThrow(loadModel(dir, nf4));
    expect(asked.warnings.map(({ code }) => code)).toContain('W_QUANTIZED_ALREADY');
    const plain = join(root, `${name} ${way} plain`);
    await orThrow(saveModel(plain, dequantizeModel(again.model)));
    const config = JSON.parse(readFileSync(join(plain, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config).not.toHaveProperty('quantization_config');
    expect((await orThrow(loadModel(plain))).model.quantized).toBeUndefined();
  });
});

test('routers stay as they are', async () => {
  const { model } = await orThrow(loadModel(join(models, 'mixtral'), nf4));
  const quantized = Object.keys(model.quantized?.scales ?? {});
  expect(quantized).toHaveLength(2 * (4 + 4 * 3));
  expect(quantized.some((name) => name.endsWith('.block_sparse_moe.gate.weight'))).toBe(false);
});

test("files have bitsandbytes' names, types and shapes", async () => {
  const { model } = await orThrow(loadModel(join(models, 'gpt2'), { ...nf4, bnb4bitUseDoubleQuant: true }));
  const dir = join(root, 'layout');
  await orThrow(saveModel(dir, model));
  const { tensors } = await orThrow(readSafetensors(join(dir, 'model.safetensors')));
  const weight = 'transformer.h.0.attn.c_attn.weight';
  const found = Object.fromEntries(
    Array.from(tensors)
      .filter(([key]) => key.startsWith(weight))
      .map(([key, { dtype, shape }]) => [key.slice(weight.length), [dtype, shape]]),
  );
  // Conv1D is stored turned: 48 outputs, 16 inputs.
  expect(found).toEqual({
    '': ['U8', [384, 1]],
    '.absmax': ['U8', [12]],
    '.nested_absmax': ['F32', [1]],
    '.nested_quant_map': ['F32', [256]],
    '.quant_map': ['F32', [16]],
    '.quant_state.bitsandbytes__nf4': ['U8', [expect.any(Number)]],
  });
  const state = await orThrow(
    tensors.get(`${weight}.quant_state.bitsandbytes__nf4`)?.readBytes() ?? TE.right(new Uint8Array()),
  );
  expect(new TextDecoder().decode(state)).toMatch(
    /^\{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": \[48, 16\], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0\.\d+\}$/,
  );
  const eight = await orThrow(loadModel(join(models, 'gpt2'), { loadIn8bit: true }));
  await orThrow(saveModel(dir, eight.model));
  const int8 = (await orThrow(readSafetensors(join(dir, 'model.safetensors')))).tensors;
  const parts = ['weight', 'SCB', 'weight_format'].map((part) => int8.get(weight.replace(/weight$/, part)));
  expect(parts.map((part) => [part?.dtype, part?.shape])).toEqual([
    ['I8', [48, 16]],
    ['F32', [48]],
    ['U8', []],
  ]);
});

describe('training', () => {
  test.each(ways)('%s: an adapter learns, the base stays', async (_, options) => {
    const { model } = await orThrow(loadModel(join(models, 'llama'), options));
    const before = numbersOf(model);
    const steps = await stepsOf(
      runOf(model, rows, { maxSteps: 12, usePeft: true, targetModules: 'all-linear', learningRate: 0.02 }),
    );
    const losses = steps.map(({ loss }) => loss);
    expect(losses[11]).toBeLessThan((losses[0] ?? 0) - 0.2);
    const after = numbersOf(model);
    for (const name of Object.keys(before)) expect(after[name]).toEqual(before[name]);
  });

  test.each([
    ['without an adapter', {}, 'E_QUANTIZED_TRAINING'],
    ['a quantised module whole', { usePeft: true, modulesToSave: ['up_proj'] }, 'E_LORA_TARGET'],
  ] satisfies ReadonlyArray<readonly [string, SftOptions, string]>)('%s is refused', async (_, options, code) => {
    const { model } = await orThrow(loadModel(join(models, 'llama'), nf4));
    await expect(stepsOf(runOf(model, rows, { maxSteps: 1, ...options }))).rejects.toMatchObject({ code });
  });

  test('quantisation asked for after loading is refused, and done where the trainer loads', async () => {
    const { model } = await orThrow(loadModel(join(models, 'llama')));
    const asked = { maxSteps: 1, loadIn4bit: true, usePeft: true };
    await expect(stepsOf(runOf(model, rows, asked))).rejects.toMatchObject({ code: 'E_OPTIONS' });
  });
});

test('an adapter trained on 4 bits is merged into the unquantised base without a warning', async () => {
  const { model } = await orThrow(loadModel(join(models, 'llama'), nf4));
  const lora = await orThrow(TE.fromEither(LoraConfig.decode({ r: 2 })));
  const attached = await orThrow(TE.fromEither(attachLora(model, lora, { seed: 1 })));
  const dir = join(root, 'qlora');
  await orThrow(saveModel(dir, attached));
  const { model: plain } = await orThrow(loadModel(join(models, 'llama'), { adapterDir: dir }));
  const merged = await orThrow(TE.fromEither(mergeLora(plain)));
  expect(merged.warnings).toEqual([]);
});
