import { resolve } from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { dispose, memory } from '@tensorflow/tfjs-core';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { modelConfig } from '../../src/model/architectures.js';
import { evaluateLoss, lossAndGradients, logits } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { prepareWasm } from '../../src/model/kernels/wasmBackend.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { resizeTokenEmbeddings } from '../../src/model/resizeEmbeddings.js';
import { documents } from './batches.js';
import { loadModel, orThrow } from './loadModel.js';

beforeAll(async () => {
  orThrow(await prepareWasm()());
});

const tiny = (name: string): CausalLM => loadModel(resolve(import.meta.dirname, '..', 'golden', 'models', name));
const free = ({ weights }: CausalLM): void => dispose(Object.values(weights));
const numbers = ({ weights }: CausalLM, name: string): ReadonlyArray<number> =>
  Array.from(weights[name]?.dataSync() ?? []);
const at = (model: CausalLM): ReadonlyArray<ReadonlyArray<number>> => {
  const found = logits(model, documents([3, 39, 1, 7]));
  const values = found.arraySync() as number[][];
  found.dispose();
  return values;
};

/** Embedding and head of each: tied and not, with a bias, of another width than the layers. */
const tables = {
  llama: ['model.embed_tokens.weight', 'lm_head.weight'],
  qwen2: ['model.embed_tokens.weight'],
  phi: ['model.embed_tokens.weight', 'lm_head.weight', 'lm_head.bias'],
  opt_350m: ['model.decoder.embed_tokens.weight'],
  gpt_neox: ['gpt_neox.embed_in.weight', 'lm_head.weight'],
  gptj: ['transformer.wte.weight', 'lm_head.weight', 'lm_head.bias'],
  granite: ['model.embed_tokens.weight'],
  falcon: ['transformer.word_embeddings.weight'],
  gpt2_by_layer: ['transformer.wte.weight', 'lm_head.weight'],
  gemma4: ['model.embed_tokens.weight', 'model.embed_tokens_per_layer.weight'],
} as const;

describe.each(Object.entries(tables))('%s', (name, names) => {
  it('grown has old rows and logits, and rows for new tokens', () => {
    const small = tiny(name);
    const before = { logits: at(small), tables: names.map((table) => numbers(small, table)) };
    const tensors = memory().numTensors;
    const model = orThrow(resizeTokenEmbeddings(small, { rows: 45, seed: 7 }));
    expect(memory().numTensors).toBe(tensors);
    expect(model.config).toMatchObject({ vocabSize: 45, raw: { vocab_size: 45 } });
    const { raw: _raw, ...fields } = model.config;
    const { raw: _read, ...read } = orThrow(modelConfig(model.config.raw));
    expect(fields).toEqual(read);
    names.forEach((table, i) => {
      const old = before.tables[i] ?? [];
      const rows = numbers(model, table);
      expect(rows.slice(0, old.length)).toEqual(old);
      expect(rows).toHaveLength((old.length / 40) * 45);
    });
    expect(at(model).map((row) => row.slice(0, 40))).toEqual(before.logits);
    const { gradients, ...losses } = lossAndGradients(
      model,
      documents([3, 44, 41]),
      { rows: Int32Array.of(0, 1), labels: Int32Array.of(44, 41), weights: Float32Array.of(1, 1) },
      { seed: 1, step: 0, training: false },
    );
    for (const table of names) {
      const gradient = Array.from(gradients[table]?.dataSync() ?? []);
      const width = gradient.length / 45;
      expect(gradient.slice(44 * width, 45 * width).some((x) => x !== 0)).toBe(true);
    }
    dispose([...Object.values(gradients), ...Object.values(losses)]);
    free(model);
  });

  it('made smaller loses the last rows only', () => {
    const large = tiny(name);
    const before = at({ ...large, config: large.config }).map((row) => row.slice(0, 39));
    const model = orThrow(resizeTokenEmbeddings(large, { rows: 39 }));
    const found = logits(model, documents([3, 7, 1]));
    expect(found.shape).toEqual([3, 39]);
    expect((found.arraySync() as number[][])[0]).toEqual(before[0]);
    found.dispose();
    free(model);
  });
});

describe('new rows', () => {
  it('are drawn with the deviation of config.json, by the seed', () => {
    const draw = (seed: number): ReadonlyArray<number> => {
      const model = orThrow(resizeTokenEmbeddings(tiny('llama'), { rows: 340, seed }));
      const values = numbers(model, 'model.embed_tokens.weight').slice(40 * 16);
      free(model);
      return values;
    };
    const values = draw(3);
    const deviation = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
    expect(tiny('llama').config.raw['initializer_range']).toBe(0.02);
    expect(Math.abs(deviation / 0.02 - 1)).toBeLessThan(0.05);
    expect(draw(3)).toEqual(values);
    expect(draw(4)).not.toEqual(values);
  });

  it('begin at the mean of the others when asked to', () => {
    const before = tiny('phi');
    const mean = (name: string, column: number, width: number): number =>
      numbers(before, name).reduce((sum, x, i) => sum + (i % width === column ? x / 40 : 0), 0);
    const expected = [mean('lm_head.weight', 5, 16), mean('lm_head.bias', 0, 1)];
    const model = orThrow(resizeTokenEmbeddings(before, { rows: 42, init: 'mean' }));
    expect(numbers(model, 'lm_head.weight')[41 * 16 + 5]).toBeCloseTo(expected[0] ?? NaN, 6);
    expect(numbers(model, 'lm_head.bias')[40]).toBeCloseTo(expected[1] ?? NaN, 6);
    free(model);
  });
});

describe('resizing', () => {
  it('to the same size changes nothing', () => {
    const model = tiny('llama');
    expect(orThrow(resizeTokenEmbeddings(model, { rows: 40 }))).toBe(model);
    free(model);
  });

  it('of a table that has rows of images behind those of the tokens is refused', () => {
    const model = tiny('mllama');
    expect(resizeTokenEmbeddings(model, { rows: 48 })).toMatchObject({ left: { code: 'E_RESIZE', kind: 'usage' } });
    free(model);
  });

  it.each([0, -4, 2.5, NaN])('to %p rows is refused', (rows) => {
    const model = tiny('llama');
    expect(resizeTokenEmbeddings(model, { rows })).toMatchObject({ left: { code: 'E_RESIZE', kind: 'usage' } });
    free(model);
  });

  it('under an adapter is refused', () => {
    const model = orThrow(attachLora(tiny('llama'), orThrow(LoraConfig.decode({})), { seed: 1 }));
    expect(resizeTokenEmbeddings(model, { rows: 41 })).toMatchObject({ left: { code: 'E_LORA_PRESENT' } });
    const output = evaluateLoss(model, documents([1, 2]), {
      rows: Int32Array.of(0),
      labels: Int32Array.of(2),
      weights: Float32Array.of(1),
    });
    expect(Number.isFinite(output.total.dataSync()[0])).toBe(true);
    dispose(Object.values(output));
    free(model);
  });
});
