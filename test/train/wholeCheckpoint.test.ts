/** Checkpoints of models that see images too: the text model trains, the rest stays as it came. */
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { add, mul, tidy } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { numbersOf } from '../../property-tests/train/tiny.js';
import { orThrow } from '../../src/errors.js';
import { readSafetensors, writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import type { StoredTensor } from '../../src/formats/tensors/safetensors.js';
import { readCheckpointTensors, writeCheckpointTensors } from '../../src/formats/tensors/shards.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { addAdapter, setActiveAdapters } from '../../src/model/adapters/adapters.js';
import { modelConfig } from '../../src/model/architectures.js';
import { logits } from '../../src/model/causalLm.js';
import { makeCausalLm } from '../../src/model/model.js';
import type { CausalLM } from '../../src/model/model.js';
import { combineAdapters } from '../../src/model/adapters/combineAdapters.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { mergeAndUnload } from '../../src/model/adapters/merge.js';
import { withVocabSize } from '../../src/model/resizeEmbeddings.js';
import { gptqRows } from '../../src/train/saving/gptq.js';
import { loadAdapter, loadModel } from '../../src/train/loading/load.js';
import { restoreWeights } from '../../src/train/run/resume.js';
import { saveModel } from '../../src/train/saving/save.js';
import { startUnderTest } from '../engine.js';
import { documents } from '../model/batches.js';
import { orThrow as eitherOrThrow } from '../model/loadModel.js';

const models = resolve(import.meta.dirname, '..', 'golden', 'models');
const names = [
  'gemma3_image',
  'mistral3',
  'qwen2_vl',
  'qwen2_5_vl',
  'qwen3_vl',
  'qwen3_5_image',
  'qwen3_5_moe_image',
  'llama4_image',
  'aria_image',
  // As its files hold its experts.
  '../packed_experts/qwen3_vl_moe',
  'lfm2_vl',
  'smolvlm',
  'llava',
  'idefics2',
  'internvl',
  'glm4v',
];

const root = mkdtempSync(join(tmpdir(), 'rxtune-whole-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeAll(async () => {
  await startUnderTest();
});

let copies = 0;
const freshDir = (): string => {
  const dir = join(root, String(copies++));
  mkdirSync(dir);
  return dir;
};

const modelOf = async (dir: string): Promise<CausalLM> => (await orThrow(loadModel(dir))).model;

/** The model, every weight of which is another. */
const trained = (model: CausalLM): CausalLM => ({
  ...model,
  weights: Object.fromEntries(
    Object.entries(model.weights).map(([name, weight]) => [name, tidy(() => add(mul(weight, 1.25), 0.01))]),
  ),
});

const tensorsIn = async (dir: string): Promise<ReadonlyMap<string, StoredTensor>> =>
  (await orThrow(readCheckpointTensors(dir))).tensors;

const isText = (name: string): boolean =>
  /(^|\.)(language_model|text_model)\.|^model\.(layers|norm|embed)|^lm_head/.test(name);

/** What of a directory is not the text model's: names, dtypes, shapes and a digest of the bytes. */
const othersIn = async (dir: string): Promise<ReadonlyArray<readonly unknown[]>> =>
  await Promise.all(
    Array.from(await tensorsIn(dir))
      .filter(([name]) => !isText(name))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(async ([name, { dtype, shape, readBytes }]) => [
        name,
        dtype,
        shape,
        createHash('sha256')
          .update(await orThrow(readBytes()))
          .digest('hex'),
      ]),
  );

const json = (file: string): Record<string, unknown> =>
  JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;

/** A copy of a model's directory whose config.json is changed. */
const copyOf = (name: string, change: (raw: Record<string, unknown>) => object): string => {
  const dir = freshDir();
  cpSync(join(models, name), dir, { recursive: true });
  writeFileSync(join(dir, 'config.json'), JSON.stringify(change(json(join(dir, 'config.json')))));
  return dir;
};

const ids = [7, 3, 22, 9, 14, 30];
const logitsOf = (model: CausalLM): ReadonlyArray<number> => {
  const values = logits(model, documents(ids));
  return Array.from(values.dataSync());
};

const faultOf = async (run: () => Promise<E.Either<Error, unknown>>): Promise<unknown> => {
  const result = await run();
  return E.isLeft(result) ? result.left : 'done';
};

describe.each(names)('%s', (name) => {
  test('is saved whole: trained text weights under the names that they had, all else bit for bit', async () => {
    const { model, warnings } = await orThrow(loadModel(join(models, name)));
    expect(warnings).toEqual([]);
    const changed = trained(model);
    const dir = freshDir();
    await orThrow(saveModel(dir, changed));
    const [before, after] = [await tensorsIn(join(models, name)), await tensorsIn(dir)];
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    const others = await othersIn(dir);
    expect(others.length).toBeGreaterThan(3);
    expect(others).toEqual(await othersIn(join(models, name)));
    const again = await modelOf(dir);
    expect(numbersOf(again)).toEqual(numbersOf(changed));
    expect(Object.keys(again.weights).some((key) => /vis|projector/.test(key))).toBe(false);
    expect({ ...json(join(dir, 'config.json')), torch_dtype: undefined }).toEqual({
      ...json(join(models, name, 'config.json')),
      torch_dtype: undefined,
    });
  });

  test('goes on from a checkpoint of its own', async () => {
    const changed = trained(await modelOf(join(models, name)));
    const dir = freshDir();
    await orThrow(saveModel(dir, changed));
    const begun = await modelOf(join(models, name));
    const weights = { ...begun.weights };
    await orThrow(restoreWeights(dir, { ...begun, weights }));
    expect(numbersOf({ ...begun, weights })).toEqual(numbersOf(changed));
  });
});

test('may be saved over itself, and once more', async () => {
  const dir = copyOf('llava', (raw) => raw);
  const before = await othersIn(dir);
  const model = await modelOf(dir);
  await orThrow(saveModel(dir, model));
  // As if another program had put the file in another order: every tensor lies elsewhere.
  const renamed = [...(await tensorsIn(dir)).values()].map((stored) => ({
    name: stored.name,
    dtype: stored.dtype,
    shape: stored.shape,
    data: () => orThrow(stored.readBytes()),
  }));
  const padded = [...renamed, { name: 'a', dtype: 'F64' as const, shape: [3], data: new Uint8Array(24) }];
  await orThrow(writeSafetensors(join(dir, 'other.safetensors'), padded));
  renameSync(join(dir, 'other.safetensors'), join(dir, 'model.safetensors'));
  await orThrow(saveModel(dir, trained(model)));
  expect(await othersIn(dir)).toEqual(before);
});

test('tensors of half the size stay so, in shards too', async () => {
  const dir = freshDir();
  cpSync(join(models, 'gemma3_image', 'config.json'), join(dir, 'config.json'));
  const half = [...(await tensorsIn(join(models, 'gemma3_image'))).values()].map(({ name, shape, read }) => ({
    name,
    dtype: 'BF16' as const,
    shape,
    data: () => orThrow(read()),
  }));
  await orThrow(writeCheckpointTensors(dir, half, { maxShardBytes: 10_000 }));
  const out = freshDir();
  await orThrow(saveModel(out, trained(await modelOf(dir))));
  expect(await othersIn(out)).toEqual(await othersIn(dir));
  expect((await tensorsIn(out)).get('language_model.model.norm.weight')?.dtype).toBe('F32');
});

test('files that prepare images are kept', async () => {
  const dir = copyOf('gemma3_image', (raw) => raw);
  writeFileSync(join(dir, 'preprocessor_config.json'), '{"do_resize": true}');
  writeFileSync(join(dir, 'processor_config.json'), '{"image_seq_length": 4}');
  const out = freshDir();
  await orThrow(saveModel(out, await modelOf(dir)));
  expect(readFileSync(join(out, 'preprocessor_config.json'), 'utf8')).toBe('{"do_resize": true}');
  expect(readFileSync(join(out, 'processor_config.json'), 'utf8')).toBe('{"image_seq_length": 4}');
});

test('parts that are gone are missed by their names', async () => {
  const dir = copyOf('smolvlm', (raw) => raw);
  const model = await modelOf(dir);
  const text = [...(await tensorsIn(dir)).values()]
    .filter(({ name }) => isText(name))
    .map(({ name, dtype, shape, readBytes }) => ({ name, dtype, shape, data: () => orThrow(readBytes()) }));
  await orThrow(writeCheckpointTensors(dir, text));
  expect(await faultOf(saveModel(freshDir(), model))).toMatchObject({
    code: 'E_WEIGHTS_MISSING',
    details: { file: dir, expected: expect.stringMatching(/^model\.(connector|vision_model)\./) as unknown },
  });
});

test('a model made of tensors alone has nothing to be saved with', async () => {
  const { config, weights } = await modelOf(join(models, 'qwen3_vl'));
  const outside = Object.fromEntries(
    Object.entries(weights).map(([name, weight]) => [name.replace('model.', 'model.language_model.'), weight]),
  );
  const model = eitherOrThrow(makeCausalLm(config, outside));
  expect(logitsOf(model)).toEqual(logitsOf(await modelOf(join(models, 'qwen3_vl'))));
  expect(await faultOf(saveModel(freshDir(), model))).toMatchObject({ code: 'E_WEIGHTS_MISSING' });
});

test('fewer bits are for adapters: what is quantised is not saved whole', async () => {
  const { model } = await orThrow(loadModel(join(models, 'llava'), { loadIn4bit: true }));
  expect(await faultOf(saveModel(freshDir(), model))).toMatchObject({ code: 'E_QUANTIZED' });
  const rows = [{ inputIds: Int32Array.of(1, 2), labels: Int32Array.of(1, 2), seqLengths: [2] }];
  const options = { bits: 4, groupSize: 8, descAct: false, sym: true, dampPercent: 0.01 } as const;
  const plain = await modelOf(join(models, 'llava'));
  expect(gptqRows(plain, rows, options)).toMatchObject({ left: { code: 'E_QUANTIZED' } });
  const adapted = eitherOrThrow(attachLora(model, eitherOrThrow(LoraConfig.decode({ r: 2 })), { seed: 1 }));
  const dir = freshDir();
  await orThrow(saveModel(dir, adapted));
  expect(json(join(dir, 'adapter_config.json'))['target_modules']).toContain(
    'model.language_model.layers.1.self_attn.v_proj',
  );
});

describe('config.json', () => {
  const text = (raw: Record<string, unknown>): Record<string, unknown> => raw['text_config'] as Record<string, unknown>;

  test("Qwen2-VL's without text_config, as the hub has it, is the same model", async () => {
    const dir = copyOf('qwen2_vl', (raw) => {
      const { text_config: _text, ...others } = raw;
      const { model_type: _type, rope_parameters, dtype: _dtype, layer_types: _types, ...own } = text(raw);
      const { rope_theta, mrope_section } = rope_parameters as Record<string, unknown>;
      return { ...own, ...others, rope_theta, rope_scaling: { type: 'mrope', mrope_section } };
    });
    const flat = await modelOf(dir);
    expect(logitsOf(flat)).toEqual(logitsOf(await modelOf(join(models, 'qwen2_vl'))));
    expect(withVocabSize(flat.config, 48).raw).toMatchObject({ vocab_size: 48 });
    const out = freshDir();
    await orThrow(saveModel(out, flat));
    expect(json(join(out, 'config.json'))).toMatchObject({ rope_scaling: { type: 'mrope' }, hidden_size: 32 });
  });

  test('another vocabulary, another scaling and a head of its own are said where they are read', async () => {
    const { model } = await orThrow(
      loadModel(join(models, 'qwen3_vl'), { ropeScaling: { rope_type: 'linear', factor: 2 } }),
    );
    expect(model.config.raw).toMatchObject({
      model_type: 'qwen3_vl',
      text_config: { rope_scaling: { rope_type: 'linear', factor: 2, rope_theta: 100 } },
    });
    expect(model.config.raw).not.toHaveProperty('rope_scaling');
    const resized = withVocabSize(model.config, 48).raw;
    expect(text(resized)['vocab_size']).toBe(48);
    expect(resized).not.toHaveProperty('vocab_size');
    const lora = eitherOrThrow(LoraConfig.decode({ targetModules: ['q_proj'], modulesToSave: ['lm_head'] }));
    const gemma = await modelOf(join(models, 'gemma3_image'));
    const { model: merged } = eitherOrThrow(mergeAndUnload(eitherOrThrow(attachLora(gemma, lora, { seed: 1 }))));
    const dir = freshDir();
    await orThrow(saveModel(dir, merged));
    expect([...(await tensorsIn(dir)).keys()]).toContain('language_model.lm_head.weight');
    expect(json(join(dir, 'config.json'))).toMatchObject({
      tie_word_embeddings: false,
      text_config: { tie_word_embeddings: false },
    });
    expect(numbersOf(await modelOf(dir))).toEqual(numbersOf(merged));
  });

  test('a head of other values than the embedding is no tied one, whatever a class ties by itself', async () => {
    const dir = copyOf('mistral3', ({ tie_word_embeddings: _tied, ...raw }) => raw);
    const model = await modelOf(dir);
    expect(model.config.tieWordEmbeddings).toBe(false);
    expect(logitsOf(model)).toEqual(logitsOf(await modelOf(join(models, 'mistral3'))));
    expect(model.config.raw).toMatchObject({ tie_word_embeddings: false });
  });

  test('numbers that it tells twice are told as they are written', async () => {
    const dir = copyOf('gemma3_image', (raw) => ({
      ...raw,
      dtype: 'bfloat16',
      text_config: { ...text(raw), dtype: 'bfloat16' },
    }));
    const out = freshDir();
    await orThrow(saveModel(out, await modelOf(dir)));
    expect(json(join(out, 'config.json'))).toMatchObject({ torch_dtype: 'float32', text_config: { dtype: 'float32' } });
  });

  test.each([
    ['a text model of other names', { model_type: 'gpt2' }, 'text_config.model_type'],
    ['a text model that sees images itself', { model_type: 'qwen3_vl' }, 'text_config.model_type'],
    ['a field that its type has not', { model_type: 'qwen2', hidden_act: 'sine' }, 'hidden_act'],
  ])('%s is refused by its field', (_, change, field) => {
    const raw = json(join(models, 'llava', 'config.json'));
    const small = { n_positions: 32, n_embd: 16, n_layer: 2, n_head: 4 };
    const result = modelConfig({ ...raw, text_config: { ...text(raw), ...small, ...change } });
    expect(result).toMatchObject({ left: { code: 'E_MODEL_CONFIG', details: { field } } });
  });
});

describe('adapters', () => {
  const attached = async (options: object): Promise<CausalLM> =>
    eitherOrThrow(
      attachLora(await modelOf(join(models, 'gemma3_image')), eitherOrThrow(LoraConfig.decode(options)), { seed: 1 }),
    );
  const modules = ({ trainable }: CausalLM): ReadonlyArray<string> =>
    trainable.flatMap((name) => (name.includes('.lora_A') ? [name.replace(/\.lora_A.*/, '')] : []));

  test('are chosen by the names of the class, of which expressions and patterns may be made', async () => {
    const model = await attached({
      r: 2,
      targetModules: String.raw`model\.language_model\.layers\.1\..*(q|down)_proj`,
      rankPattern: { 'model.language_model.layers.1.mlp.down_proj': 3 },
    });
    expect(modules(model)).toEqual(['model.layers.1.self_attn.q_proj', 'model.layers.1.mlp.down_proj']);
    expect(model.weights['model.layers.1.mlp.down_proj.lora_A.weight']?.shape[0]).toBe(3);
    expect(model.weights['model.layers.1.self_attn.q_proj.lora_A.weight']?.shape[0]).toBe(2);
  });

  /** What patterns of ranks say of each target, as PEFT searches: at the end of a module's path. */
  const ranksOf = ({ rank_pattern: patterns, target_modules: targets }: Readonly<Record<string, unknown>>) =>
    (targets as ReadonlyArray<string>).map(
      (target) =>
        Object.entries(patterns as Readonly<Record<string, number>>).find(([pattern]) =>
          new RegExp(`^(.*\\.)?(${pattern})$`).test(target),
        )?.[1],
    );

  test('are written with patterns that name the same in the class, by whichever names they were given', async () => {
    const dir = freshDir();
    const named = ['model.language_model.layers.0', 'layers.1', 'model.layers.2'];
    const rankPattern = Object.fromEntries(named.map((start) => [`${start}.self_attn.q_proj`, 3]));
    await orThrow(saveModel(dir, await attached({ r: 2, targetModules: ['q_proj'], rankPattern })));
    const { tensors } = await orThrow(readSafetensors(join(dir, 'adapter_model.safetensors')));
    expect([...tensors.values()].filter(({ shape }) => shape.includes(3))).toHaveLength(6);
    expect(ranksOf(json(join(dir, 'adapter_config.json')))).toEqual([3, 3, 3]);
  });

  test('that were combined are written so, too', async () => {
    const dir = freshDir();
    const both = pipe(
      addAdapter(await modelOf(join(models, 'gemma3_image')), 'one', { r: 1, targetModules: ['q_proj', 'v_proj'] }),
      E.flatMap((model) => addAdapter(model, 'two', { r: 2, targetModules: ['q_proj'] })),
      E.flatMap((model) => combineAdapters(model, 'both', { one: 1, two: 1 })),
      E.flatMap((model) => setActiveAdapters(model, ['both'])),
    );
    await orThrow(saveModel(dir, eitherOrThrow(both)));
    const config = json(join(dir, 'adapter_config.json'));
    const { tensors } = await orThrow(readSafetensors(join(dir, 'adapter_model.safetensors')));
    const targets = config['target_modules'] as ReadonlyArray<string>;
    const ranks = targets.map((target) => tensors.get(`base_model.model.${target}.lora_A.weight`)?.shape[0]);
    expect(new Set(ranks)).toEqual(new Set([3, 1]));
    expect(ranksOf(config).map((rank) => rank ?? config['r'])).toEqual(ranks);
  });

  test('are written by paths that name no map of another part, and read again', async () => {
    const model = await attached({ r: 2, targetModules: 'all-linear', excludeModules: ['o_proj'] });
    const dir = freshDir();
    await orThrow(saveModel(dir, model));
    const config = json(join(dir, 'adapter_config.json'));
    const targets = config['target_modules'] as ReadonlyArray<string>;
    expect(targets).toHaveLength(18);
    expect(targets.every((target) => target.startsWith('model.language_model.layers.'))).toBe(true);
    const plain = await modelOf(join(models, 'gemma3_image'));
    const { model: again } = await orThrow(loadAdapter(plain, dir));
    expect(numbersOf(again)).toEqual(numbersOf(model));
    const begun = await attached({
      r: 2,
      targetModules: 'all-linear',
      excludeModules: ['o_proj'],
      initLoraWeights: false,
    });
    await orThrow(restoreWeights(dir, begun));
    expect(numbersOf(begun)).toEqual(numbersOf(model));
  });

  test('with the names of other versions of transformers are read; of the other parts they are refused', async () => {
    const dir = freshDir();
    await orThrow(saveModel(dir, await attached({ r: 2, targetModules: ['q_proj'], initLoraWeights: false })));
    const { tensors } = await orThrow(readSafetensors(join(dir, 'adapter_model.safetensors')));
    const rewritten = async (name: (name: string) => string, more: string[] = []): Promise<unknown> => {
      const all = [...tensors.values()].map((stored) => ({
        name: name(stored.name),
        dtype: stored.dtype,
        shape: stored.shape,
        data: () => orThrow(stored.readBytes()),
      }));
      const extra = more.map((own) => ({ name: own, dtype: 'F32' as const, shape: [2, 2], data: new Float32Array(4) }));
      await orThrow(writeSafetensors(join(dir, 'adapter_model.safetensors'), [...all, ...extra]));
      const plain = await modelOf(join(models, 'gemma3_image'));
      return await faultOf(loadAdapter(plain, dir));
    };
    const old = (name: string): string => name.replace('model.language_model.', 'language_model.model.');
    expect(await rewritten(old)).toBe('done');
    const vision = ['A', 'B'].map((half) => `base_model.model.model.vision_tower.q_proj.lora_${half}.weight`);
    expect(await rewritten((name) => name, vision)).toMatchObject({
      code: 'E_LORA_WEIGHTS',
      details: { actual: expect.stringContaining('vision_tower') as unknown },
    });
  });
});
