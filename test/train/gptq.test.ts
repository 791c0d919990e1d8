/** Models that GPTQ cannot take, and what it leaves of those that it can. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { memory } from '@tensorflow/tfjs-core';
import { numbersOf, runOf, stepsOf } from '../../property-tests/train/tiny.js';
import { orThrow } from '../../src/errors.js';
import { readSafetensors } from '../../src/formats/tensors/safetensors.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { logits } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { generate } from '../../src/model/generate.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { mergeLora } from '../../src/model/adapters/merge.js';
import { dequantizeModel } from '../../src/model/quantize/base.js';
import type { GptqOptions } from '../../src/model/quantize/gptq.js';
import { chooseEngine } from '../../src/train/engine.js';
import { evaluateRows } from '../../src/train/evaluating/evaluate.js';
import { gptqRows, saveGptq } from '../../src/train/saving/gptq.js';
import { loadModel } from '../../src/train/loading/load.js';
import { saveModel } from '../../src/train/saving/save.js';
import { documents } from '../model/batches.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const llama = join(golden, 'models', 'llama');
const rows = [{ inputIds: Int32Array.of(1, 2, 3, 4), labels: Int32Array.of(1, 2, 3, 4), seqLengths: [4] }];
const options = { bits: 4, groupSize: -1, descAct: false, sym: true, dampPercent: 0.01 } as const;

const root = mkdtempSync(join(tmpdir(), 'rxtune-gptq-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
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

test('an expert that no token of the calibration goes to is rounded to the nearest', async () => {
  const { model } = await orThrow(loadModel(join(golden, 'models', 'mixtral')));
  const one = [{ inputIds: Int32Array.of(5), labels: Int32Array.of(5), seqLengths: [1] }];
  const { layers, model: quantized } = await orThrow(() => Promise.resolve(gptqRows(model, one, options)));
  const experts = layers.filter(({ module }) => module.includes('.experts.'));
  expect(experts).toHaveLength(2 * 4 * 3);
  const unseen = experts.filter(({ error, nearestError }) => error === 0 && nearestError === 0);
  for (const { module } of unseen)
    expect(quantized.weights[`${module}.weight`]?.dataSync().some((value) => value !== 0)).toBe(true);
  // Of four experts a token goes to two.
  expect(unseen.map(({ module }) => module.replace(/^.*\./, ''))).toEqual(
    Array.from({ length: 4 }, () => ['w1', 'w3', 'w2']).flat(),
  );
});

const logitsOf = (model: CausalLM): ReadonlyArray<number> => {
  const found = logits(model, documents([3, 1, 4, 1, 5], [9, 2, 6]));
  const values = Array.from(found.dataSync());
  found.dispose();
  return values;
};

const ways: ReadonlyArray<readonly [string, Partial<GptqOptions>]> = [
  ['4 bits in groups, symmetric: held packed', { groupSize: 8 }],
  ['4 bits, zeros of their own', { groupSize: 8, sym: false }],
  ['4 bits in act-order', { groupSize: 8, descAct: true }],
  ['8 bits a row: held packed', { bits: 8 }],
  ['8 bits in groups, zeros of their own, in act-order', { bits: 8, groupSize: 8, sym: false, descAct: true }],
];

let made = 0;
/** A quantised model in memory, and the directory that it was saved into. */
const quantizedAs = async (name: string, how: Partial<GptqOptions>) => {
  const { model } = await orThrow(loadModel(join(golden, 'models', name)));
  const asked = { ...options, ...how };
  const quantized = await orThrow(() => Promise.resolve(gptqRows(model, rows, asked)));
  const dir = join(root, String(made++));
  await orThrow(saveGptq(dir, quantized));
  return { quantized: quantized.model, dir };
};

const filesOf = async (dir: string) => {
  const { tensors } = await orThrow(readSafetensors(join(dir, 'model.safetensors')));
  const parts = await Promise.all(
    Array.from(tensors.values(), async ({ name, dtype, shape, readBytes }) => {
      const bytes = await orThrow(readBytes());
      return [name, { dtype, shape, bytes: Buffer.from(bytes).toString('hex') }] as const;
    }),
  );
  const { quantization_config: how } = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Readonly<
    Record<string, unknown>
  >;
  return { tensors: Object.fromEntries(parts), how };
};

/** Linear maps of each, the head and routers left out. */
const maps: Readonly<Record<string, number>> = { llama: 14, gpt2: 8, opt: 12, mixtral: 2 * (4 + 4 * 3) };

describe.each(Object.keys(maps))('%s loaded again', (name) => {
  test.each(ways)('%s: is the quantised model in memory, and saves as it was', async (_, how) => {
    const { quantized, dir } = await quantizedAs(name, how);
    const { model, warnings } = await orThrow(loadModel(dir));
    expect(warnings).toEqual([]);
    expect(Object.keys(model.quantized?.scales ?? {})).toHaveLength(maps[name] ?? NaN);
    const [got, wanted] = [logitsOf(model), logitsOf(quantized)];
    // Products of a row or two, as experts have them, add up in another order where the weight lies packed.
    if (name === 'mixtral') got.forEach((value, i) => expect(value).toBeCloseTo(wanted[i] ?? NaN, 4));
    else expect(got).toEqual(wanted);
    const again = join(root, String(made++));
    await orThrow(saveModel(again, model));
    expect(await filesOf(again)).toEqual(await filesOf(dir));
    expect(numbersOf(dequantizeModel(model))).toEqual(numbersOf(quantized));
  });
});

interface Golden {
  readonly inputIds: ReadonlyArray<number>;
  readonly logits: ReadonlyArray<number>;
  readonly generated: ReadonlyArray<number>;
}

/** Checkpoints of reference/gptq_checkpoints.py. */
describe.each(['v1_4bit', 'v2_8bit', 'old_4bit'])('%s, packed by another program', (name) => {
  test('computes and generates what transformers does with the unpacked weights', async () => {
    const dir = join(golden, 'gptq_models', name);
    const told = JSON.parse(readFileSync(join(dir, 'golden.json'), 'utf8')) as Golden;
    const { model, warnings } = await orThrow(loadModel(dir));
    expect(warnings).toEqual([]);
    const found = logits(model, documents([...told.inputIds]));
    const values = found.dataSync();
    expect(values.length).toBe(told.logits.length);
    told.logits.forEach((x, i) => expect(Math.abs((values[i] ?? NaN) - x)).toBeLessThan(1e-4));
    found.dispose();
    const ids: number[] = [];
    const how = { maxNewTokens: told.generated.length, stopIds: [], temperature: 0 };
    for await (const id of generate(model, Int32Array.from(told.inputIds), how)) ids.push(id);
    expect(ids).toEqual(told.generated);
    // Written in its own version of the format.
    const again = join(root, String(made++));
    await orThrow(saveModel(again, model));
    const reloaded = await orThrow(loadModel(again));
    expect(numbersOf(reloaded.model)).toEqual(numbersOf(model));
  });
});

describe('a model of GPTQ weights', () => {
  test('is evaluated as it was in memory', async () => {
    const { quantized, dir } = await quantizedAs('llama', { groupSize: 8, descAct: true });
    const { model } = await orThrow(loadModel(dir));
    const perplexity = async (of: CausalLM) => (await orThrow(evaluateRows(of, rows, { size: 1 }))).perplexity;
    expect(await perplexity(model)).toBe(await perplexity(quantized));
  });

  test.each(ways)('%s: learns by an adapter, its own weights stay', async (_, how) => {
    const { dir } = await quantizedAs('llama', how);
    const { model } = await orThrow(loadModel(dir));
    const before = numbersOf(model);
    const dataset = [{ input_ids: [1, 2, 3, 4, 5, 6], labels: [1, 2, 3, 4, 5, 6] }];
    const asked = { maxSteps: 10, usePeft: true, targetModules: 'all-linear', learningRate: 0.02 } as const;
    const losses = (await stepsOf(runOf(model, dataset, asked))).map(({ loss }) => loss);
    expect(losses[9]).toBeLessThan((losses[0] ?? 0) - 0.2);
    expect(numbersOf(model)).toEqual(before);
    await expect(stepsOf(runOf(model, dataset, { maxSteps: 1 }))).rejects.toMatchObject({
      code: 'E_QUANTIZED_TRAINING',
    });
  });

  test.each([[false], [true]])(
    'with an adapter merged is a plain model, and itself again (in place: %s)',
    async (inPlace) => {
      const { dir } = await quantizedAs('gpt2', { groupSize: 8 });
      const { model } = await orThrow(loadModel(dir));
      const lora = await orThrow(TE.fromEither(LoraConfig.decode({ r: 2, initLoraWeights: false })));
      const attached = await orThrow(TE.fromEither(attachLora(model, lora, { seed: 1 })));
      const expected = logitsOf(attached);
      const near = (of: CausalLM): void =>
        logitsOf(of).forEach((x, i) => expect(Math.abs(x - (expected[i] ?? NaN))).toBeLessThan(1e-5));
      const before = memory().numTensors;
      const merged = await orThrow(TE.fromEither(mergeLora(attached, { inPlace })));
      expect(merged.warnings.map(({ code }) => code)).toEqual(['W_MERGE_DEQUANTIZED']);
      expect(merged.model.quantized).toBeUndefined();
      near(merged.model);
      const again = merged.unmerge();
      near(again);
      expect(memory().numTensors).toBe(before);
      expect(again.quantized === undefined).toBe(inPlace);
      const other = await orThrow(TE.fromEither(mergeLora(again, { inPlace })));
      const plain = other.unload();
      near(plain);
      expect(memory().numTensors).toBe(
        before - Object.keys(attached.weights).filter((name) => name.includes('lora')).length,
      );
      expect(plain.trainable).toContain('transformer.h.0.attn.c_attn.weight');
    },
  );

  test('is not quantised a second time', async () => {
    const { dir } = await quantizedAs('llama', {});
    const { model, warnings } = await orThrow(loadModel(dir, { loadIn4bit: true }));
    expect(warnings.map(({ code }) => code)).toEqual(['W_QUANTIZED_ALREADY']);
    const result = gptqRows(model, rows, options);
    expect(E.isLeft(result) && result.left.code).toBe('E_QUANTIZED');
  });

  test.each([
    ['bits', { bits: 3 }],
    ['group_size', { group_size: 0 }],
    ['checkpoint_format', { checkpoint_format: 'marlin' }],
    ['dynamic', { dynamic: { lm_head: { bits: 8 } } }],
    // What is said and what is there differ.
    ['parts', { group_size: 4 }],
    ['parts', { bits: 8 }],
  ])('is refused for %s that are not read, with the way out', async (field, change) => {
    const { dir } = await quantizedAs('llama', {});
    const changed = join(root, String(made++));
    cpSync(dir, changed, { recursive: true });
    const config = JSON.parse(readFileSync(join(changed, 'config.json'), 'utf8')) as Readonly<
      Record<'quantization_config', object>
    >;
    const said = { ...config, quantization_config: { ...config.quantization_config, ...change } };
    writeFileSync(join(changed, 'config.json'), JSON.stringify(said));
    const refusal = await loadModel(changed)();
    expect(refusal).toMatchObject({ left: { code: 'E_QUANTIZATION' } });
    if (field !== 'parts')
      expect(refusal).toMatchObject({
        left: { details: { field: `quantization_config.${field}`, hint: expect.stringContaining('made from') } },
      });
  });
});
