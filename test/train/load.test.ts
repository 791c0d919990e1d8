import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { memory, tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import { attachLora } from '../../src/model/adapter.js';
import { mergeLora } from '../../src/model/merge.js';
import { LoraConfig } from '../../src/model/lora.js';
import { startUnderTest } from '../engine.js';
import { checkVocabulary, load, loadModel, loadParts } from '../../src/train/load.js';
import { saveModel } from '../../src/train/save.js';
import { numbersOf } from '../../property-tests/train/tiny.js';
import { orThrow as eitherOrThrow } from '../model/loadModel.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const llama = resolve(golden, 'models', 'llama');

const root = mkdtempSync(join(tmpdir(), 'rxtune-load-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeAll(async () => {
  await startUnderTest();
});

let copies = 0;
/** A copy of the tiny Llama whose config.json is changed. */
const copyWith = (change: Readonly<Record<string, unknown>>): string => {
  const dir = join(root, String(copies++));
  cpSync(llama, dir, { recursive: true });
  const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, ...change }));
  return dir;
};

const namesIn = (file: string): ReadonlyArray<string> => {
  const bytes = readFileSync(file);
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE(0)))) as object;
  return Object.keys(header)
    .filter((name) => name !== '__metadata__')
    .sort();
};

const codeOf = async (dir: string): Promise<string> => {
  const result = await loadModel(dir)();
  return E.isLeft(result) ? result.left.code : 'loaded';
};

describe('loadModel', () => {
  test('what was saved loads as it was', async () => {
    const { model, warnings } = await orThrow(loadModel(llama));
    const dir = join(root, 'saved');
    await orThrow(saveModel(dir, model));
    const again = await orThrow(loadModel(dir));
    expect(numbersOf(again.model)).toEqual(numbersOf(model));
    expect(warnings).toEqual([]);
    expect(again.model.trainable).toEqual(model.trainable);
  });

  test("GPT-NeoX's head has the name in the file that the hub has for it", async () => {
    const { model, warnings } = await orThrow(loadModel(resolve(golden, 'models', 'gpt_neox')));
    const dir = join(root, 'neox');
    await orThrow(saveModel(dir, model));
    const names = namesIn(join(dir, 'model.safetensors'));
    expect(names).toContain('embed_out.weight');
    expect(names).not.toContain('lm_head.weight');
    const again = await orThrow(loadModel(dir));
    expect([warnings, again.warnings]).toEqual([[], []]);
    expect(numbersOf(again.model)).toEqual(numbersOf(model));
  });

  test('whole floats of config.json stay floats, which transformers tells from whole numbers', async () => {
    const { model } = await orThrow(loadModel(resolve(golden, 'models', 'mixtral')));
    const dir = join(root, 'floats');
    await orThrow(saveModel(dir, model));
    const text = readFileSync(join(dir, 'config.json'), 'utf8');
    for (const field of ['"router_jitter_noise": 0.0,', '"rope_theta": 1000000.0,', '"num_local_experts": 4,'])
      expect(text).toContain(field);
  });

  // reference/packed_experts.py
  test.each(['mixtral', 'qwen2_moe_mixed'])(
    'experts of %s that lie in one tensor are those that lie apart',
    async (name) => {
      const packed = await orThrow(loadModel(resolve(golden, 'packed_experts', name)));
      const apart = await orThrow(loadModel(resolve(golden, 'models', name)));
      expect([packed.warnings, apart.warnings]).toEqual([[], []]);
      expect(numbersOf(packed.model)).toEqual(numbersOf(apart.model));
      const dir = join(root, `apart-${name}`);
      await orThrow(saveModel(dir, packed.model));
      expect(namesIn(join(dir, 'model.safetensors'))).toEqual(
        namesIn(resolve(golden, 'models', name, 'model.safetensors')),
      );
    },
  );

  test('experts of another width than config.json says are refused by their names', async () => {
    const dir = join(root, 'misfit');
    cpSync(resolve(golden, 'packed_experts', 'mixtral'), dir, { recursive: true });
    const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;
    writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, intermediate_size: 25 }));
    const result = await loadModel(dir)();
    expect(E.isLeft(result) && [result.left.code, result.left.details]).toMatchObject([
      'E_WEIGHTS_SHAPE',
      { expected: '[4, 50, 16]', actual: '[4, 48, 16]' },
    ]);
  });

  test('an adapter that was saved loads as it was, and alone trains', async () => {
    const adapterDir = resolve(golden, 'runs', 'gpt2-lora-adapter');
    const base = resolve(golden, 'models', 'gpt2');
    const { model } = await orThrow(loadModel(base, { adapterDir }));
    expect(model.trainable.every((name) => name.includes('lora_'))).toBe(true);
    const dir = join(root, 'adapter');
    await orThrow(saveModel(dir, model));
    const again = await orThrow(loadModel(base, { adapterDir: dir, isTrainable: false }));
    expect(numbersOf(again.model)).toEqual(numbersOf(model));
    expect(again.model.trainable).toEqual([]);
  });

  test('a head that training parted from the embedding is saved and loaded as its own', async () => {
    const { model: base } = await orThrow(loadModel(resolve(golden, 'models', 'qwen2')));
    const adapted = attachLora(base, eitherOrThrow(LoraConfig.decode({ modulesToSave: ['lm_head'] })), 1);
    const { model, unload } = eitherOrThrow(mergeLora(eitherOrThrow(adapted)));
    const { 'lm_head.weight': head, ...others } = model.weights;
    const changed = tensor(
      Float32Array.from(head?.dataSync() ?? [], (x) => x + 1),
      head?.shape ?? [],
    );
    const dir = join(root, 'parted');
    await orThrow(saveModel(dir, { ...unload(), weights: { ...others, 'lm_head.weight': changed } }));
    const again = await orThrow(loadModel(dir));
    expect(again.warnings).toEqual([]);
    expect(again.model.config.tieWordEmbeddings).toBe(false);
    expect(again.model.weights['lm_head.weight']?.dataSync()).toEqual(changed.dataSync());
  });

  test.each([
    ['an unknown architecture', { model_type: 'mamba' }, 'E_UNKNOWN_ARCHITECTURE'],
    ['a field that is missing', { hidden_size: undefined }, 'E_MODEL_CONFIG'],
    ['more layers than weights', { num_hidden_layers: 3 }, 'E_WEIGHTS_MISSING'],
    ['another width', { intermediate_size: 25 }, 'E_WEIGHTS_SHAPE'],
  ])('%s', async (_, change, code) => {
    const before = memory().numTensors;
    expect(await codeOf(copyWith(change))).toBe(code);
    expect(memory().numTensors).toBe(before);
  });

  test('a directory that is not there', async () => {
    expect(await codeOf(join(root, 'nowhere'))).toMatch(/^E_/);
  });

  test('tensors that belong nowhere are told', async () => {
    const { warnings } = await orThrow(loadModel(copyWith({ num_hidden_layers: 1 })));
    expect(warnings.map(({ code }) => code)).toEqual(['W_UNEXPECTED_TENSORS']);
  });
});

describe('tokenizers', () => {
  test('load wants one, loadParts does without', async () => {
    const result = await load(llama)();
    expect(E.isLeft(result) && result.left.code).toBe('E_TOKENIZER_MISSING');
    expect((await orThrow(loadParts(llama))).tokenizer).toBeUndefined();
  });

  test('whose ids the embedding has no rows for are refused', async () => {
    const { model } = await orThrow(loadModel(llama));
    expect(E.isRight(checkVocabulary(model, { vocabSize: 40 }))).toBe(true);
    const wrong = checkVocabulary(model, { vocabSize: 41 });
    expect(E.isLeft(wrong) && wrong.left.code).toBe('E_VOCAB_MISMATCH');
  });
});
