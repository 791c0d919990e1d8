import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { memory, tensor, zeros } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { orThrow } from '../../src/errors.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import { readSafetensors, writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import { parseJsonExactly, stringifyExactly } from '../../src/formats/json/writtenNumbers.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { addAdapter, setActiveAdapters } from '../../src/model/adapters/adapters.js';
import { architectureOf } from '../../src/model/architectures.js';
import { disposeModel } from '../../src/model/disposeModel.js';
import { mergeAndUnload, mergeLora } from '../../src/model/adapters/merge.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { withVocabSize } from '../../src/model/resizeEmbeddings.js';
import { withRopeScaling } from '../../src/model/attention/ropeConfig.js';
import { startUnderTest } from '../engine.js';
import { gptqRows, saveGptq } from '../../src/train/saving/gptq.js';
import { checkVocabulary, load, loadModel, loadParts } from '../../src/train/loading/load.js';
import { restoreWeights } from '../../src/train/run/resume.js';
import { saveModel } from '../../src/train/saving/save.js';
import { setupChatFormat } from '../../src/train/loading/setupChatFormat.js';
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

  test('they stay floats where a model is changed before it is saved', async () => {
    const fresh = async () => (await orThrow(loadModel(resolve(golden, 'models', 'mixtral')))).model;
    const texts = [stringifyExactly(withVocabSize((await fresh()).config, 48).raw, 2)];
    const tokenizer = await orThrow(loadTokenizer(resolve(golden, '..', '..', 'examples', 'quickstart', 'base')));
    const generationConfig = parseJsonExactly('{"temperature": 1.0}') as Readonly<Record<string, unknown>>;
    const chat = eitherOrThrow(setupChatFormat({ model: { ...(await fresh()), generationConfig }, tokenizer }));
    expect(stringifyExactly(chat.model.generationConfig, 2)).toContain('"temperature": 1.0,');
    texts.push(stringifyExactly(chat.model.config.raw, 2));
    const ropeScaling = parseJsonExactly('{"rope_type": "linear", "factor": 2.0}') as { readonly factor: number };
    const stretched = stringifyExactly(withRopeScaling((await fresh()).config.raw, ropeScaling), 2);
    expect(stretched.match(/"factor": 2\.0|"rope_theta": 1000000\.0/g)).toHaveLength(3);
    texts.push(stretched);
    const rows = [{ inputIds: Int32Array.of(1, 2), labels: Int32Array.of(1, 2), seqLengths: [2] }];
    const options = { bits: 4, groupSize: 8, descAct: false, sym: true, dampPercent: 0.01 } as const;
    const packed = join(root, 'packed-floats');
    await orThrow(saveGptq(packed, eitherOrThrow(gptqRows(await fresh(), rows, options))));
    texts.push(readFileSync(join(packed, 'config.json'), 'utf8'));
    for (const text of texts) expect(text).toContain('"router_jitter_noise": 0.0');
    expect(texts).toHaveLength(4);
  });

  test('nor does a head that gets a table of its own forget them', async () => {
    const { model } = await orThrow(loadModel(resolve(golden, 'models', 'granite')));
    const lora = eitherOrThrow(LoraConfig.decode({ targetModules: ['embed_tokens'] }));
    const { model: merged } = eitherOrThrow(mergeAndUnload(eitherOrThrow(attachLora(model, lora, { seed: 1 }))));
    expect(merged.config.raw).toMatchObject({ tie_word_embeddings: false });
    expect(stringifyExactly(merged.config.raw, 2)).toContain('"embedding_multiplier": 3.0,');
  });

  // reference/packed_experts.py
  test.each(['mixtral', 'qwen2_moe_mixed', 'phimoe', 'minimax_m2'])(
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

  test("gpt-oss's experts are read of transformers' layout, which they are written in again", async () => {
    const packed = await orThrow(loadModel(resolve(golden, 'packed_experts', 'gpt_oss')));
    const apart = await orThrow(loadModel(resolve(golden, 'models', 'gpt_oss')));
    expect([packed.warnings, apart.warnings]).toEqual([[], []]);
    expect(numbersOf(packed.model)).toEqual(numbersOf(apart.model));
    const dir = join(root, 'joined');
    await orThrow(saveModel(dir, apart.model));
    const shards = readdirSync(resolve(golden, 'packed_experts', 'gpt_oss')).filter((name) => name.includes('-of-'));
    expect(namesIn(join(dir, 'model.safetensors'))).toEqual(
      shards.flatMap((name) => namesIn(resolve(golden, 'packed_experts', 'gpt_oss', name))).toSorted(),
    );
    const again = await orThrow(loadModel(dir));
    expect(numbersOf(again.model)).toEqual(numbersOf(apart.model));
  });

  test("Qwen3-VL's experts are read inputs first, as files have them, and outputs first, as transformers 5 writes them", async () => {
    const packed = await orThrow(loadModel(resolve(golden, 'packed_experts', 'qwen3_vl_moe')));
    const apart = await orThrow(loadModel(resolve(golden, 'models', 'qwen3_vl_moe')));
    expect([packed.warnings, apart.warnings]).toEqual([[], []]);
    expect(numbersOf(packed.model)).toEqual(numbersOf(apart.model));
    const { fileLayout } = architectureOf(apart.model.config);
    const name = 'model.layers.0.mlp.experts.down_proj';
    for (const shape of [
      [5, 16, 12],
      [5, 12, 16],
    ]) {
      const file = join(root, `${shape.join('-')}.safetensors`);
      const data = Float32Array.from({ length: 5 * 16 * 12 }, (_, i) => i);
      await orThrow(writeSafetensors(file, [{ name, dtype: 'F32', shape, data: () => Promise.resolve(data) }]));
      const { tensors } = await orThrow(readSafetensors(file));
      const read = eitherOrThrow(fileLayout?.read(tensors) ?? E.right(tensors));
      const third = read.get('model.layers.0.mlp.experts.2.down_proj.weight');
      expect(third?.shape).toEqual([16, 12]);
      const values = third === undefined ? [] : await orThrow(third.read());
      expect(values[13]).toBe(2 * 16 * 12 + (shape[1] === 16 ? 13 : 17));
    }
  });

  test.each(['nemotron_h_experts', 'olmo_hybrid', 'hy_v3', 'laguna_columns', 'granitemoe_swa'])(
    '%s is read under the names that its files have, which it is written in again',
    async (name) => {
      const there = await orThrow(loadModel(resolve(golden, 'packed_experts', name)));
      const here = await orThrow(loadModel(resolve(golden, 'models', name)));
      expect([there.warnings, here.warnings]).toEqual([[], []]);
      expect(numbersOf(there.model)).toEqual(numbersOf(here.model));
      const dir = join(root, `names-${name}`);
      await orThrow(saveModel(dir, here.model));
      // In layers that attend transformers writes a name of the others.
      const names = namesIn(resolve(golden, 'packed_experts', name, 'model.safetensors')).map((one) =>
        one.replace('layers.1.feedforward_layer_norm', 'layers.1.post_attention_layernorm'),
      );
      expect(namesIn(join(dir, 'model.safetensors'))).toEqual(names.toSorted());
      const again = await orThrow(loadModel(dir));
      expect(numbersOf(again.model)).toEqual(numbersOf(here.model));
    },
  );

  test("Gemma 4's experts are written together, as its files have them, and read so", async () => {
    const { model } = await orThrow(loadModel(resolve(golden, 'models', 'gemma4_experts')));
    const dir = join(root, 'gemma4-experts');
    await orThrow(saveModel(dir, model));
    const names = namesIn(join(dir, 'model.safetensors')).filter((name) => name.includes('experts'));
    expect(names).toEqual(
      [0, 1].flatMap((i) => ['down_proj', 'gate_up_proj'].map((name) => `model.layers.${i}.experts.${name}`)),
    );
    const again = await orThrow(loadModel(dir));
    expect(again.warnings).toEqual([]);
    expect(numbersOf(again.model)).toEqual(numbersOf(model));
  });

  test('maps to keys and values that files of Gemma 4 have in layers that read those of others are left out', async () => {
    const dir = join(root, 'gemma4-more');
    const { model } = await orThrow(loadModel(resolve(golden, 'models', 'gemma4')));
    const more = Object.fromEntries(
      ['k_proj', 'v_proj', 'k_norm'].map((name) => [`model.layers.4.self_attn.${name}.weight`, zeros([2, 2])]),
    );
    await orThrow(saveModel(dir, { ...model, weights: { ...model.weights, ...more } }));
    expect(namesIn(join(dir, 'model.safetensors'))).toContain('model.layers.4.self_attn.k_norm.weight');
    const again = await orThrow(loadModel(dir));
    expect(again.warnings).toEqual([]);
    expect(numbersOf(again.model)).toEqual(numbersOf(model));
  });

  test.each(['gpt_oss', 'gemma4_experts', 'gpt_neox'])(
    'a checkpoint of %s goes back into the model as that has its tensors',
    async (name) => {
      const { model } = await orThrow(loadModel(resolve(golden, 'models', name)));
      const dir = join(root, `checkpoint-${name}`);
      await orThrow(saveModel(dir, model));
      const blank = {
        ...model,
        weights: Object.fromEntries(
          Object.entries(model.weights).map(([key, weight]) => [
            key,
            // What never trains is as the model came with it.
            model.trainable.includes(key) ? zeros(weight.shape) : weight,
          ]),
        ),
      };
      await orThrow(restoreWeights(dir, blank));
      expect(numbersOf(blank)).toEqual(numbersOf(model));
    },
  );

  test('experts in MXFP4 are the numbers that transformers makes of them', async () => {
    const coded = await orThrow(loadModel(resolve(golden, 'packed_experts', 'gpt_oss_mxfp4')));
    const decoded = await orThrow(loadModel(resolve(golden, 'packed_experts', 'gpt_oss_decoded')));
    expect(coded.warnings).toEqual([]);
    expect(numbersOf(coded.model)).toEqual(numbersOf(decoded.model));
    const dir = join(root, 'plain');
    await orThrow(saveModel(dir, coded.model));
    expect(JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8'))).not.toHaveProperty('quantization_config');
  });

  test('matrices in float8 are the numbers that PyTorch makes of them and the scales of their blocks', async () => {
    const coded = await orThrow(loadModel(resolve(golden, 'packed_experts', 'float8')));
    const decoded = await orThrow(loadModel(resolve(golden, 'packed_experts', 'float8_decoded')));
    expect(coded.warnings).toEqual([]);
    expect(numbersOf(coded.model)).toEqual(numbersOf(decoded.model));
    const dir = join(root, 'widened');
    await orThrow(saveModel(dir, coded.model));
    expect(JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8'))).not.toHaveProperty('quantization_config');
  });

  test.each([
    [{ fmt: 'e5m2' }, 'E_QUANTIZATION', { field: 'quantization_config.fmt' }],
    [{ weight_block_size: null }, 'E_QUANTIZATION', { field: 'quantization_config.weight_block_size' }],
    [{ weight_block_size: [8] }, 'E_QUANTIZATION', { field: 'quantization_config.weight_block_size' }],
    [{ weight_block_size: [8, 8] }, 'E_WEIGHTS_SHAPE', { expected: '[2, 3]' }],
  ])('float8 with %j is refused', async (change, code, details) => {
    const dir = join(root, `float8-${JSON.stringify(change).replace(/\W/g, '')}`);
    cpSync(resolve(golden, 'packed_experts', 'float8'), dir, { recursive: true });
    const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as {
      readonly quantization_config: object;
    };
    const changed = { ...config, quantization_config: { ...config.quantization_config, ...change } };
    writeFileSync(join(dir, 'config.json'), JSON.stringify(changed));
    const result = await loadModel(dir)();
    expect(E.isLeft(result) && [result.left.code, result.left.details]).toMatchObject([code, details]);
  });

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
    const adapted = attachLora(base, eitherOrThrow(LoraConfig.decode({ modulesToSave: ['lm_head'] })), { seed: 1 });
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
    ['an unknown architecture', { model_type: 'rwkv' }, 'E_UNKNOWN_ARCHITECTURE'],
    ['a field that is missing', { hidden_size: undefined }, 'E_MODEL_CONFIG'],
    ['more layers than weights', { num_hidden_layers: 3 }, 'E_WEIGHTS_MISSING'],
    ['another width', { intermediate_size: 25 }, 'E_WEIGHTS_SHAPE'],
  ])('%s', async (_, change, code) => {
    const before = memory().numTensors;
    const dir = copyWith(change);
    const place = expect.objectContaining({ file: expect.stringContaining(dir) });
    for (const either of [loadModel, loadParts])
      expect(await either(dir)()).toMatchObject({ left: { code, details: place } });
    expect(memory().numTensors).toBe(before);
  });

  test('a directory that is not there', async () => {
    const nowhere = join(root, 'nowhere');
    const told = {
      code: 'E_NO_FILE',
      message: `${nowhere} does not exist`,
      details: { hint: expect.stringContaining('Hub') },
    };
    expect(await loadModel(nowhere)()).toMatchObject({ left: told });
    for (const either of [loadParts, load]) expect(await either(nowhere)()).toMatchObject({ left: told });
    for (const nothing of [undefined as never, ''])
      expect(await load(nothing)()).toMatchObject({ left: { code: 'E_OPTIONS', kind: 'usage' } });
  });

  test('a directory that holds an adapter says so, and what it was trained on', async () => {
    const dir = join(root, 'only-adapter');
    cpSync(resolve(golden, 'runs', 'gpt2-lora-adapter'), dir, { recursive: true });
    const config = join(dir, 'adapter_config.json');
    const before = JSON.parse(readFileSync(config, 'utf8')) as object;
    writeFileSync(config, JSON.stringify({ ...before, base_model_name_or_path: 'some/base' }));
    expect(await loadParts(dir)()).toMatchObject({
      left: {
        code: 'E_NO_FILE',
        message: expect.stringContaining('adapter'),
        details: { hint: expect.stringContaining('some/base') },
      },
    });
  });

  test('a model that is disposed leaves nothing in memory, nor do its adapters', async () => {
    const before = memory().numTensors;
    const load = async () => (await orThrow(loadModel(resolve(golden, 'models', 'gpt2')))).model;
    disposeModel(await load());
    expect(memory().numTensors).toBe(before);
    const adapted = pipe(
      addAdapter(await load(), 'one', { r: 2, bias: 'all' }),
      E.flatMap((model) => addAdapter(model, 'two', { r: 4, modulesToSave: ['lm_head'] })),
      E.flatMap((model) => setActiveAdapters(model, ['two'])),
    );
    const model = eitherOrThrow(adapted);
    disposeModel(model);
    disposeModel(model);
    expect(memory().numTensors).toBe(before);
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
