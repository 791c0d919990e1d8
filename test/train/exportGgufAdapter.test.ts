/** Adapters as GGUF files, beside the files of their models. What llama.cpp makes of them: reference/check_gguf.mjs --lora. */
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { addAdapter, setActiveAdapters } from '../../src/model/adapters/adapters.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { moduleOf } from '../../src/model/adapters/moduleNames.js';
import { mergeAndUnload } from '../../src/model/adapters/merge.js';
import type { CausalLM } from '../../src/model/model.js';
import { ggufLayout } from '../../src/model/gguf/layouts.js';
import { loadModel } from '../../src/train/loading/load.js';
import { exportGguf } from '../../src/train/saving/exportGguf.js';
import { exportGgufAdapter } from '../../src/train/saving/exportGgufAdapter.js';
import { inTemporary } from '../cli/rxtune.js';
import { configs, modelOf } from '../../property-tests/arbitraries/models.js';
import { startUnderTest } from '../engine.js';
import { readGguf } from '../formats/ggufReader.js';
import type { GgufTensorRead } from '../formats/ggufReader.js';
import { orThrow as made } from '../model/loadModel.js';
import { letters as tokenizer } from './letters.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const models = join(golden, 'models');
const parameterAdapters = join(golden, 'parameterAdapters');

beforeAll(async () => {
  await startUnderTest();
});

const used: Array<CausalLM> = [];
afterEach(() => {
  for (const { weights } of used.splice(0)) dispose(Object.values(weights));
});

const loaded = async (name: string): Promise<CausalLM> => {
  const { model } = await orThrow(loadModel(join(models, name)));
  used.push(model);
  return model;
};

/** Halves of an adapter that are not zero. */
const adapted = (model: CausalLM, options: object): CausalLM => {
  const { right: config } = LoraConfig.decode({ r: 3, loraAlpha: 5, initLoraWeights: false, ...options }) as {
    readonly right: LoraConfig;
  };
  return made(attachLora(model, config, { seed: 1 }));
};

type Read = ReadonlyMap<string, GgufTensorRead>;

/**
 * What llama.cpp multiplies by: the weight, and B·A as often as the adapter counts, of each matrix of a tensor. Where experts
 * have scales, they multiply what the weight puts out, but not what B·A does.
 */
const withAdapter = (base: Read, halves: Read, alpha: number): ReadonlyMap<string, ReadonlyArray<number>> =>
  new Map(
    Array.from(base, ([name, { values, shape }]) => {
      const [a, b] = [halves.get(`${name}.lora_a`), halves.get(`${name}.lora_b`)];
      const sums = Array.from(values);
      if (a === undefined || b === undefined) return [name, sums];
      const [outputs = 0, inputs = 0] = shape.slice(-2);
      const rank = b.shape.at(-1) ?? 0;
      // An embedding's A has a row for every token.
      const flipped = name === 'token_embd.weight';
      const matrices = values.length / (outputs * inputs);
      const scales = name.endsWith('_exps.weight') ? base.get(name.replace(/weight$/, 'scale'))?.values : undefined;
      const sizes = flipped ? [outputs * rank, inputs * rank] : [rank * inputs, outputs * rank];
      expect([a.values.length, b.values.length]).toEqual(sizes.map((size) => size * matrices));
      for (let m = 0; m < matrices; m++)
        for (let row = 0; row < outputs; row++)
          for (let column = 0; column < inputs; column++)
            for (let i = 0; i < rank; i++) {
              const product = flipped
                ? (a.values[row * rank + i] ?? NaN) * (b.values[column * rank + i] ?? NaN)
                : (a.values[(m * rank + i) * inputs + column] ?? NaN) *
                  (b.values[(m * outputs + row) * rank + i] ?? NaN);
              const at = (m * outputs + row) * inputs + column;
              sums[at] = (sums[at] ?? NaN) + ((alpha / rank) * product) / (scales?.[m] ?? 1);
            }
      return [name, sums];
    }),
  );

/** The adapter beside the model is the model with its adapter added in. Resolves to the adapter's tensors. */
const isWhatMergingMakes = (name: string, base: CausalLM, other: CausalLM): Promise<Read> =>
  inTemporary(async (directory) => {
    const file = (of: string): string => join(directory, `${of}.gguf`);
    await orThrow(exportGguf(file('base'), base, { tokenizer, outtype: 'f32' }));
    await orThrow(exportGgufAdapter(file('adapter'), other, { outtype: 'f32', name }));
    const { model: merged } = made(mergeAndUnload(other));
    used.push(merged);
    await orThrow(exportGguf(file('merged'), merged, { tokenizer, outtype: 'f32' }));
    const { metadata, tensors: halves } = readGguf(file('adapter'));
    const { metadata: ofBase, tensors } = readGguf(file('base'));
    expect(metadata).toMatchObject({
      'general.type': 'adapter',
      'general.name': name,
      'general.architecture': ofBase['general.architecture'],
      'adapter.type': 'lora',
    });
    const sums = withAdapter(tensors, halves, Number(metadata['adapter.lora.alpha']));
    for (const half of halves.keys()) expect(tensors.has(half.replace(/\.lora_[ab]$/, ''))).toBe(true);
    for (const [tensor, { values }] of readGguf(file('merged')).tensors) {
      const apart = Array.from(values, (value, i) => Math.abs(value - (sums.get(tensor)?.[i] ?? NaN)));
      expect({ tensor, near: Math.max(...apart) < 1e-5 }).toEqual({ tensor, near: true });
    }
    return halves;
  });

const withOptions = async (name: string, options: object): Promise<Read> =>
  isWhatMergingMakes(name, await loaded(name), adapted(await loaded(name), options));

/** Modules that llama.cpp adds no adapter to. */
const bareOf = async (name: string): Promise<ReadonlyArray<string>> => {
  const { config, weights } = await loaded(name);
  const { tensors } = made(ggufLayout(config, weights));
  return tensors.flatMap(({ fixed = false, sources }) => (fixed ? sources.map(moduleOf) : []));
};

/** Those whose models are written with the settings that their tests have. */
const written = async (): Promise<ReadonlyArray<string>> => {
  const names: string[] = [];
  for (const name of readdirSync(models)) {
    const { model } = await orThrow(loadModel(join(models, name)));
    if (E.isRight(ggufLayout(model.config, model.weights))) names.push(name);
    dispose(Object.values(model.weights));
  }
  return names;
};

describe('an adapter beside a GGUF file', () => {
  test('changes the weights as adding it in does: of every model that is written', async () => {
    const names = await written();
    expect(names.length).toBeGreaterThan(45);
    for (const name of names) {
      const halves = await withOptions(name, { targetModules: 'all-linear', excludeModules: await bareOf(name) });
      expect(halves.size).toBeGreaterThan(0);
    }
  });

  test.each(['qwen3_5', 'qwen3_5_moe', 'qwen3_next'])('changes the rearranged heads of %s so', async (name) => {
    // Values as wide as keys, and layers by turns.
    const layers = { linear_value_head_dim: 6, layer_types: ['linear_attention', 'full_attention'] };
    const make = (): CausalLM => {
      const model = modelOf({ ...configs[name], ...layers, vocab_size: 40 }, 1);
      used.push(model);
      return model;
    };
    await isWhatMergingMakes(name, make(), adapted(make(), { targetModules: 'all-linear' }));
  });

  test.each(['mixtral-down', 'qwen3_moe'])(
    'changes experts as an adapter of their parameters does: %s',
    async (dir) => {
      const adapterDir = join(parameterAdapters, dir);
      const name = dir.replace(/-.*/, '');
      const { model } = await orThrow(loadModel(join(models, name), { adapterDir }));
      used.push(model);
      const halves = await isWhatMergingMakes(name, await loaded(name), model);
      expect([...halves.keys()].some((half) => half.includes('_exps.'))).toBe(true);
    },
  );

  test('has alphas and ranks of single modules as factors', async () => {
    const patterns = { rankPattern: { q_proj: 2 }, alphaPattern: { 'layers.1.self_attn.v_proj': 9 } };
    for (const useRslora of [false, true])
      await withOptions('llama', { targetModules: ['q_proj', 'v_proj'], useRslora, ...patterns });
  });

  test('changes the embedding where the head is another table, and the head', async () => {
    const halves = await withOptions('llama', { targetModules: ['embed_tokens', 'lm_head'] });
    expect([...halves.keys()].toSorted()).toEqual([
      'output.weight.lora_a',
      'output.weight.lora_b',
      'token_embd.weight.lora_a',
      'token_embd.weight.lora_b',
    ]);
  });

  test('has zeros for experts of a layer that have none', async () => {
    const targetModules = '.*layers\\.0\\..*experts\\.1\\.(w1|w2)';
    const halves = await withOptions('mixtral', { targetModules });
    const { values = [], shape } = halves.get('blk.0.ffn_gate_exps.weight.lora_a') ?? {};
    const [experts = 0] = shape ?? [];
    const each = values.length / experts;
    const filled = Array.from({ length: experts }, (_, e) =>
      Array.from(values.slice(e * each, (e + 1) * each)).some((x) => x !== 0),
    );
    expect(filled).toEqual(Array.from({ length: experts }, (_, e) => e === 1));
  });

  test.each([
    ['useDora', 'llama', { useDora: true }],
    ['bias', 'qwen2', { bias: 'all' }],
    ['modulesToSave', 'llama', { modulesToSave: ['lm_head'] }],
    ['trainableTokenIndices', 'llama', { trainableTokenIndices: [1, 2] }],
    ['initLoraWeights', 'llama', { initLoraWeights: 'olora' }],
    ['model.embed_tokens', 'gemma', { targetModules: ['embed_tokens'] }],
    ['model.layers.0.block_sparse_moe.experts.1.w1', 'mixtral', { rankPattern: { 'experts.1.w1': 1 } }],
    ['model.layers.0.block_sparse_moe.experts.0.w1', 'mixtral', { alphaPattern: { 'experts.1.w1': 7 } }],
  ])('is refused where %s is beyond llama.cpp', async (field, name, options) => {
    const model = adapted(await loaded(name), { targetModules: 'all-linear', ...options });
    used.push(model);
    expect(await exportGgufAdapter('/nowhere/adapter.gguf', model)()).toMatchObject({
      left: { code: 'E_GGUF_UNSUPPORTED', details: { field } },
    });
  });

  test('is refused at a map that llama.cpp adds none to', async () => {
    const made4 = modelOf({ ...configs['gemma4'], vocab_size: 40, vocab_size_per_layer_input: 40 }, 1);
    const model = adapted(made4, { targetModules: ['q_proj', 'per_layer_model_projection'] });
    used.push(model);
    expect(await exportGgufAdapter('/nowhere/adapter.gguf', model)()).toMatchObject({
      left: { code: 'E_GGUF_UNSUPPORTED', details: { field: 'model.per_layer_model_projection' } },
    });
  });

  test('is refused where a second one is in use', async () => {
    const first = made(addAdapter(await loaded('llama'), 'first', { r: 2 }));
    const both = made(setActiveAdapters(made(addAdapter(first, 'second', { r: 2 })), ['first', 'second']));
    used.push(both);
    expect(await exportGgufAdapter('/nowhere/adapter.gguf', both)()).toMatchObject({
      left: { code: 'E_GGUF_UNSUPPORTED', message: expect.stringContaining('one by one') },
    });
  });

  test('is refused where there is none', async () => {
    expect(await exportGgufAdapter('/nowhere/adapter.gguf', await loaded('llama'))()).toMatchObject({
      left: { code: 'E_LORA_ABSENT' },
    });
  });
});
