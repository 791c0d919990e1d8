/** One checkpoint in the forms in which checkpoints come: other prefixes, buffers, a tied head, shards, other number formats. */
import { copyFileSync, cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import { orThrow } from '../../src/errors.js';
import type { TensorToWrite } from '../../src/formats/tensors/safetensors.js';
import { readCheckpointTensors, writeCheckpointTensors } from '../../src/formats/tensors/shards.js';
import { logits } from '../../src/model/causalLm.js';
import { chooseEngine } from '../../src/train/engine.js';
import { loadModel } from '../../src/train/loading/load.js';
import { documents } from '../model/batches.js';

const models = resolve(import.meta.dirname, '..', 'golden', 'models');
const root = mkdtempSync(join(tmpdir(), 'rxtune-variants-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeAll(async () => {
  await orThrow(chooseEngine());
});

type Change = (tensors: ReadonlyArray<TensorToWrite>) => ReadonlyArray<TensorToWrite>;

let made = 0;
const variant = async (name: string, change: Change, maxShardBytes?: number): Promise<string> => {
  const dir = join(root, String(made++));
  cpSync(join(models, name), dir, { recursive: true });
  const { tensors } = await orThrow(readCheckpointTensors(join(models, name)));
  const all = Array.from(tensors.values(), ({ name: key, shape, read }) => ({
    name: key,
    dtype: 'F32' as const,
    shape,
    data: () => orThrow(read()),
  }));
  await orThrow(writeCheckpointTensors(dir, change(all), maxShardBytes === undefined ? {} : { maxShardBytes }));
  return dir;
};

const logitsOf = async (dir: string): Promise<{ readonly values: Float32Array; readonly warnings: number }> => {
  const { model, warnings } = await orThrow(loadModel(dir));
  const found = logits(model, documents([3, 1, 4, 1, 5], [9, 2, 6]));
  const values = Float32Array.from(found.dataSync());
  found.dispose();
  dispose(Object.values(model.weights));
  return { values, warnings: warnings.length };
};

const renamed =
  (from: RegExp, to: string): Change =>
  (tensors) =>
    tensors.map((tensor) => ({ ...tensor, name: tensor.name.replace(from, to) }));

const withExtra =
  (...extra: ReadonlyArray<readonly [string, ReadonlyArray<number>]>): Change =>
  (tensors) => [
    ...tensors,
    ...extra.map(([name, shape]) => ({
      name,
      shape,
      dtype: 'F32' as const,
      data: () => Promise.resolve(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(7)),
    })),
  ];

const forms: ReadonlyArray<readonly [string, string, Change]> = [
  ["the hub's gpt2, whose names begin at h. and wte.", 'gpt2', renamed(/^transformer\./, '')],
  ['OPT whose names begin at decoder.', 'opt_350m', renamed(/^model\./, '')],
  ['Llama saved from its base model', 'llama', renamed(/^model\./, '')],
  ['GPT-Neo without its prefix', 'gpt_neo', renamed(/^transformer\./, '')],
  [
    'GPT-2 with masks among its tensors',
    'gpt2',
    withExtra(['transformer.h.0.attn.bias', [1, 1, 32, 32]], ['transformer.h.1.attn.masked_bias', [1]]),
  ],
  [
    'GPT-Neo with masks among its tensors',
    'gpt_neo',
    withExtra(
      ['transformer.h.0.attn.attention.bias', [1, 1, 32, 32]],
      ['transformer.h.1.attn.attention.masked_bias', [1]],
    ),
  ],
  ['Llama with rotary frequencies', 'llama', withExtra(['model.layers.0.self_attn.rotary_emb.inv_freq', [2]])],
  ['a tied model that stores its head too, which is not read', 'qwen2', withExtra(['lm_head.weight', [40, 16]])],
  ['a tied OPT that stores its head too', 'opt', withExtra(['lm_head.weight', [40, 16]])],
];

describe('a checkpoint computes the same, without a warning, as', () => {
  test.each(forms)('%s', async (_, name, change) => {
    const plain = await logitsOf(join(models, name));
    const other = await logitsOf(await variant(name, change));
    expect(other).toEqual({ values: plain.values, warnings: 0 });
  });

  test('several files and their index', async () => {
    const dir = await variant('llama', (all) => all, 6000);
    expect(readdirSync(dir).filter((file) => file.startsWith('model-')).length).toBeGreaterThan(2);
    expect(readdirSync(dir)).toContain('model.safetensors.index.json');
    expect(await logitsOf(dir)).toEqual(await logitsOf(join(models, 'llama')));
  });
});

/** The checkpoint without its safetensors, and with files that torch.save wrote (reference/torch_files.py). */
const pickled = (name: string, files: Readonly<Record<string, string>>): string => {
  const dir = join(root, `pickled_${name}`);
  cpSync(join(models, name), dir, { recursive: true });
  rmSync(join(dir, 'model.safetensors'));
  for (const [to, from] of Object.entries(files)) copyFileSync(join(models, '..', 'torch', from), join(dir, to));
  return dir;
};

describe('pickled weights', () => {
  test('compute the same, whole with a tied head and masks, and in shards of both kinds', async () => {
    const gpt2 = pickled('gpt2', { 'pytorch_model.bin': 'gpt2.bin' });
    expect(await logitsOf(gpt2)).toEqual(await logitsOf(join(models, 'gpt2')));
    const shards = [1, 2].map((i) => `pytorch_model-0000${i}-of-00002.bin`);
    const llama = pickled('llama', {
      'pytorch_model.bin.index.json': 'llama.index.json',
      ...Object.fromEntries(shards.map((name) => [name, name])),
    });
    expect(await logitsOf(llama)).toEqual(await logitsOf(join(models, 'llama')));
  });

  test('that want more than tensors are refused before anything of them is read, with the way out', async () => {
    const dir = pickled('opt', { 'pytorch_model.bin': 'refused_runs_code.bin' });
    expect(await loadModel(dir)()).toMatchObject({
      left: { code: 'E_PICKLE_GLOBAL', details: { field: 'posix.system', hint: expect.stringContaining('save_file') } },
    });
  });

  test('under names of other programs are refused, with the way out', async () => {
    const dir = pickled('qwen2', {});
    writeFileSync(join(dir, 'model.ckpt'), 'PK');
    expect(await loadModel(dir)()).toMatchObject({
      left: { code: 'E_PICKLE_ONLY', details: { hint: expect.stringContaining('save_pretrained') } },
    });
  });
});
