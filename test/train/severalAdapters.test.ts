/** Several adapters over one model compute what PEFT computes with them: one by one, together, left out and combined. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ones } from '@tensorflow/tfjs-core';
import type { Either } from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import {
  addAdapter,
  deleteAdapter,
  listAdapters,
  onlyAdapter,
  setActiveAdapters,
  withoutAdapter,
} from '../../src/model/adapters/adapters.js';
import { logits, lossAndGradients } from '../../src/model/causalLm.js';
import { combineAdapters } from '../../src/model/adapters/combineAdapters.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { mergeAndUnload, mergeLora } from '../../src/model/adapters/merge.js';
import type { CausalLM } from '../../src/model/model.js';
import { loadAdapter, loadModel } from '../../src/train/loading/load.js';
import { saveAdapters, saveModel } from '../../src/train/saving/save.js';
import { unpadded } from '../model/batches.js';
import { engines, start } from '../model/engines.js';
import { orThrow as right } from '../model/loadModel.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const saved = join(golden, 'severalAdapters');
const root = mkdtempSync(join(tmpdir(), 'rxtune-several-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const recorded = JSON.parse(readFileSync(join(saved, 'golden.json'), 'utf8')) as {
  readonly ids: ReadonlyArray<ReadonlyArray<number>>;
  readonly labels: ReadonlyArray<ReadonlyArray<number>>;
  readonly loss: number;
  readonly logits: Readonly<Record<string, ReadonlyArray<number>>>;
  readonly gradients: Readonly<Record<string, ReadonlyArray<number>>>;
};
const { sequence, targets } = unpadded({ input_ids: recorded.ids, labels: recorded.labels });

const near = (got: ArrayLike<number>, expected: ReadonlyArray<number> = [], relative = 1e-4): void => {
  expect(got).toHaveLength(expected.length);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1e-3);
  expected.forEach((x, i) => expect(Math.abs((got[i] ?? NaN) - x)).toBeLessThanOrEqual(relative * largest));
};

const computed = (model: CausalLM): ReadonlyArray<number> => {
  const values = logits(model, sequence);
  const numbers = Array.from(values.dataSync());
  values.dispose();
  return numbers;
};

const base = async (): Promise<CausalLM> => (await orThrow(loadModel(join(golden, 'models', 'llama')))).model;
const both = async (): Promise<CausalLM> => {
  let model = await base();
  for (const name of ['first', 'second']) ({ model } = await orThrow(loadAdapter(model, join(saved, name), { name })));
  return model;
};
const active = (model: CausalLM, ...names: ReadonlyArray<string>): CausalLM => right(setActiveAdapters(model, names));
const codeOf = (result: Either<FatalError, unknown>): string => (result._tag === 'Left' ? result.left.code : 'none');

describe.each(engines)('on %s', (engine) => {
  beforeAll(() => start(engine));

  test('each has the logits of PEFT, alone and together, and the base has its own', async () => {
    const model = await both();
    expect(listAdapters(model).map(({ name, active: inUse }) => [name, inUse])).toEqual([
      ['first', true],
      ['second', false],
    ]);
    near(computed(model), recorded.logits['first']);
    near(computed(active(model, 'second')), recorded.logits['second']);
    near(computed(active(model, 'first', 'second')), recorded.logits['both']);
    near(computed(active(model, 'second', 'first')), recorded.logits['both']);
    near(computed(right(withoutAdapter(active(model, 'first', 'second')))), recorded.logits['none']);
    near(computed(active(model)), recorded.logits['none']);
  });

  test('together they have the loss and every gradient of PEFT', async () => {
    const model = active(await both(), 'first', 'second');
    const { gradients, total } = lossAndGradients(model, sequence, targets, { seed: 1, step: 0, training: false });
    expect(total.dataSync()[0]).toBeCloseTo(recorded.loss, 4);
    const called = (name: string): string =>
      name.replace(/\.(lora_[AB])\.first\.weight$/, '.$1.weight').replace(/(lora_embedding_[AB])\.first$/, '$1');
    expect(Object.keys(gradients).sort()).toEqual(Object.keys(recorded.gradients).map(called).sort());
    for (const [name, expected] of Object.entries(recorded.gradients))
      near(gradients[called(name)]?.dataSync() ?? [], expected, 1e-3);
  });

  test.each(['cat', 'linear'] as const)('%s combines them as PEFT does', async (combinationType) => {
    const mixed = right(combineAdapters(await both(), 'mixed', { first: 0.7, second: -0.4 }, { combinationType }));
    near(computed(active(mixed, 'mixed')), recorded.logits[combinationType]);
    near(computed(active(mixed, 'second')), recorded.logits['second']);
  });

  test('merged together they give the same logits, and come out again as they were', async () => {
    const model = active(await both(), 'first', 'second');
    const before = computed(model);
    const merged = right(mergeLora(model));
    near(computed(merged.model), recorded.logits['both']);
    expect(computed(merged.unmerge())).toEqual(before);
    const { model: plain } = right(mergeAndUnload(model));
    near(computed(plain), recorded.logits['both']);
    expect(plain.adapters).toBeUndefined();
  });

  test('saved, they lie as PEFT lays them out, and are read again', async () => {
    const dir = join(root, engine);
    const files = await orThrow(saveAdapters(dir, await both()));
    expect([...files].sort()).toEqual([
      'first/adapter_config.json',
      'first/adapter_model.safetensors',
      'second/adapter_config.json',
      'second/adapter_model.safetensors',
    ]);
    const { model } = await orThrow(loadAdapter(await base(), join(dir, 'second')));
    near(computed(model), recorded.logits['second']);
  });
});

describe('adapters by name', () => {
  const own = { r: 2, targetModules: ['q_proj'], modulesToSave: ['lm_head'] };

  test('what one trains of the base is its own: the base and the others stay what they are', async () => {
    const model = right(addAdapter(right(addAdapter(await base(), 'one', own)), 'two', { ...own, bias: 'all' }));
    const before = computed(right(withoutAdapter(model)));
    const head = model.weights['lm_head.weight'];
    head?.dispose();
    Object.assign(model.weights, { 'lm_head.weight': ones(head?.shape ?? []) });
    expect(computed(model)).not.toEqual(before);
    expect(computed(active(model, 'two'))).toEqual(before);
    expect(computed(right(withoutAdapter(active(model, 'two'))))).toEqual(before);
    // Trained where it lay, it comes back as it was left.
    expect(
      active(active(model, 'two'), 'one')
        .weights['lm_head.weight']?.dataSync()
        .every((x) => x === 1),
    ).toBe(true);
    expect(model.trainable.filter((name) => !name.includes('lora_'))).toEqual(['lm_head.weight']);
  });

  test('a deleted one is gone, the base alone is what is left', async () => {
    const model = await both();
    const rest = right(deleteAdapter(active(model, 'first', 'second'), 'first'));
    near(computed(rest), recorded.logits['second']);
    const none = right(deleteAdapter(rest, 'second'));
    near(computed(none), recorded.logits['none']);
    expect([listAdapters(none), none.trainable, none.lora]).toEqual([[], [], undefined]);
  });

  test('one that a loader put on without a name is called default', async () => {
    const { model } = await orThrow(loadAdapter(await base(), join(saved, 'first')));
    const more = right(addAdapter(model, 'fresh', { r: 1 }));
    expect(listAdapters(more).map(({ name, active: inUse }) => [name, inUse])).toEqual([
      ['default', true],
      ['fresh', false],
    ]);
    near(computed(active(more, 'fresh')), recorded.logits['none']);
    near(computed(right(withoutAdapter(model))), recorded.logits['none']);
    expect(Object.keys(right(onlyAdapter(more, 'fresh')).adapters?.all ?? {})).toEqual(['fresh']);
  });

  test('what cannot be is refused', async () => {
    const model = right(addAdapter(await both(), 'dora', { r: 2, useDora: true }));
    expect(codeOf(addAdapter(model, 'first', {}))).toBe('E_LORA_NAME');
    expect(codeOf(addAdapter(model, 'a.b', {}))).toBe('E_LORA_NAME');
    expect(codeOf(setActiveAdapters(model, 'nobody'))).toBe('E_LORA_NAME');
    expect(codeOf(setActiveAdapters(model, ['first', 'dora']))).toBe('E_LORA_ACTIVE');
    expect(codeOf(combineAdapters(model, 'x', { dora: 1, first: 1 }))).toBe('E_LORA_COMBINE');
    expect(codeOf(combineAdapters(model, 'x', {}))).toBe('E_LORA_COMBINE');
    const two = right(addAdapter(right(addAdapter(await base(), 'one', own)), 'two', own));
    expect(codeOf(setActiveAdapters(two, ['one', 'two']))).toBe('E_LORA_ACTIVE');
    const rows = right(addAdapter(model, 'rows', { r: 2, trainableTokenIndices: [3] }));
    expect(codeOf(setActiveAdapters(rows, ['rows', 'first']))).toBe('E_LORA_ACTIVE');
    expect(codeOf(await saveModel(join(root, 'none'), active(model, 'first', 'second'))())).toBe('E_LORA_ACTIVE');
    const alone = right(attachLora(await base(), right(LoraConfig.decode(own)), { seed: 1 }));
    expect(codeOf(withoutAdapter(alone))).toBe('E_LORA_BASE');
  });
});
