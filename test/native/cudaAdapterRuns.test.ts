/**
 * Runs of adapters on an emulated card, where products read copies of the adapters as bfloat16 that optimizers keep up: each must end as
 * the same run does without copies, which rounds weights whenever it reads them; to the bit.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runInThisContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { addAdapter, setActiveAdapters } from '../../src/model/adapters/adapters.js';
import { isAdapterName } from '../../src/model/adapters/adapterNames.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { mergeLora } from '../../src/model/adapters/merge.js';
import type { CausalLM } from '../../src/model/model.js';
import { NativeBackend } from '../../src/native/backend.js';
import { registerNative } from '../../src/native/register.js';
import { chooseEngine } from '../../src/train/engine.js';
import { evaluateRows } from '../../src/train/evaluating/evaluate.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { disposeModel, numbersOf, runOf, stepsOf, tinyModel } from '../../property-tests/train/tiny.js';

const root = resolve(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'rxtune-card-adapters-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const built = process.platform === 'linux' && E.isRight(registerNative({ threads: 1 }));
const whenBuilt = built ? describe : describe.skip;

const rows = Array.from({ length: 4 }, (_, i) => ({ input_ids: [1 + i, 2 + i, 3 + i, 9 - i].slice(i % 2) }));
const prepared = rows.map(({ input_ids: ids }) => ({
  inputIds: Int32Array.from(ids),
  labels: Int32Array.from(ids),
  seqLengths: [ids.length],
}));

const options: SftOptions = { device: 'cuda', precision: 'bfloat16', maxLength: 8, maxSteps: 2 };

/** An adapter whose rows are whole vectors: others have no copies. */
const adapter = { r: 8, loraAlpha: 16, targetModules: 'all-linear' } as const;
const adapted = async (): Promise<CausalLM> =>
  orThrow(attachLora(await tinyModel(), orThrow(LoraConfig.decode(adapter)), { seed: 3 }));

const adaptersOf = (model: CausalLM): Readonly<Record<string, ReadonlyArray<number>>> =>
  Object.fromEntries(Object.entries(numbersOf(model)).filter(([name]) => isAdapterName(name)));

/** What was told of a run's steps, but for the time they took. */
const trained = async (model: CausalLM, more: SftOptions = {}): Promise<ReadonlyArray<number>> =>
  (await stepsOf(runOf(model, rows, { ...options, ...more }))).flatMap(({ loss, gradNorm }) => [loss, gradNorm]);

/** The loss, as a forward pass over the rows has it. */
const lossOf = async (model: CausalLM): Promise<number> => (await orThrow(evaluateRows(model, prepared))).loss;

const withoutCopies = async <A>(use: () => Promise<A>): Promise<A> => {
  const rounding = jest.spyOn(NativeBackend.prototype, 'round').mockImplementation(() => undefined);
  try {
    return await use();
  } finally {
    rounding.mockRestore();
  }
};

/** The same done twice, with copies and without. */
const expectSame = async <A>(use: () => Promise<A>): Promise<void> => {
  const rounded = jest.spyOn(NativeBackend.prototype, 'weights');
  const found = await use();
  expect(rounded).toHaveBeenCalled();
  rounded.mockRestore();
  expect(found).toEqual(await withoutCopies(use));
};

whenBuilt('copies of adapters through runs', () => {
  beforeAll(async () => {
    const compile = join(root, 'native', 'cuda', 'compile.mjs');
    const mock = execFileSync(process.execPath, [compile, 'mock'], { encoding: 'utf8' }).trim();
    const values = {
      RXTUNE_LIBCUDA: mock,
      RXTUNE_LIBCUBLASLT: mock,
      RXTUNE_CUDA_ATTENTION: 'wgmma',
      RXTUNE_CUDA_KERNELS: join(root, 'native', 'build', 'cuda', 'emulated.image'),
    };
    // The emulated card reads the process's own environment; jest gives tests a copy, which is what TypeScript reads.
    for (const env of [process.env, runInThisContext('process.env') as NodeJS.ProcessEnv]) Object.assign(env, values);
    const chosen = await chooseEngine({ engine: 'native', device: 'cuda' })();
    expect(E.isRight(chosen) && chosen.right.reason).toContain('CUDA: emulated card');
  });

  it.each<readonly [string, SftOptions]>([
    ['AdamW', {}],
    ['AdamW over two micro-batches', { gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 2 }],
    ['AdamW with its moments in 8 bits', { optim: 'adamw_8bit' }],
    ['Lion over two micro-batches', { optim: 'lion', gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 2 }],
    ['descent without a bound on the norm', { optim: 'sgd', momentum: 0.9, maxGradNorm: null }],
    ['dropout and passes made again', { gradientCheckpointing: true, loraDropout: 0.1 }],
  ])('%s', async (_, more) => {
    await expectSame(async () => {
      const model = await adapted();
      const told = await trained(model, more);
      const found = { told, after: adaptersOf(model), loss: await lossOf(model) };
      disposeModel(model);
      return found;
    });
  });

  it.each<readonly [string, SftOptions]>([
    ['AdamW', { maxSteps: 3 }],
    ['AdamW over two micro-batches', { maxSteps: 3, gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 2 }],
  ])('a run that goes on from a checkpoint ends as the one that was never stopped: %s', async (name, more) => {
    const outputDir = join(folder, name.replaceAll(' ', '-'));
    const whole = await adapted();
    const told = await trained(whole, { ...more, outputDir, saveSteps: 2 });
    // The model that goes on has trained something else meanwhile, on the same engine: its copies are of other numbers.
    const other = await adapted();
    await trained(other, { ...more, maxSteps: 1, learningRate: 0.5 });
    const went = await trained(other, { ...more, resumeFromCheckpoint: join(outputDir, 'checkpoint-2') });
    expect(went).toEqual(told.slice(4));
    expect(adaptersOf(other)).toEqual(adaptersOf(whole));
    const plain = await withoutCopies(async () => {
      const model = await adapted();
      await trained(model, more);
      const found = adaptersOf(model);
      disposeModel(model);
      return found;
    });
    expect(adaptersOf(other)).toEqual(plain);
    [whole, other].forEach(disposeModel);
  });

  it('a second run of a model, and a run of another model, begin with what the weights are', async () => {
    await expectSame(async () => {
      const [one, two] = [await adapted(), await adapted()];
      const told = [
        await trained(one),
        await trained(one, { learningRate: 0.1, seed: 7 }),
        await trained(two),
        await trained(one, { optim: 'lion' }),
      ];
      const after = [one, two].map(adaptersOf);
      [one, two].forEach(disposeModel);
      expect(told[2]).toEqual(told[0]);
      return { told, after };
    });
  });

  it.each([false, true])('adapters merged and taken out again between two runs, in place: %s', async (inPlace) => {
    await expectSame(async () => {
      const model = await adapted();
      const told: Array<unknown> = [await trained(model), await lossOf(model)];
      const merged = orThrow(mergeLora(model, { inPlace }));
      told.push(await lossOf(merged.model));
      const back = merged.unmerge();
      told.push(await lossOf(back), await trained(back), await lossOf(back), adaptersOf(back));
      disposeModel(back);
      return told;
    });
  });

  it('another adapter is added and trained, and the first is taken into use again', async () => {
    await expectSame(async () => {
      const model = await adapted();
      const told: Array<unknown> = [await trained(model)];
      const both = orThrow(addAdapter(model, 'other', adapter, { seed: 5 }));
      const other = orThrow(setActiveAdapters(both, 'other'));
      told.push(await trained(other), await lossOf(other));
      const first = orThrow(setActiveAdapters(other, 'default'));
      told.push(await lossOf(first), await trained(first), await lossOf(first));
      const together = orThrow(setActiveAdapters(first, ['default', 'other']));
      told.push(await lossOf(together), await trained(together), await lossOf(together));
      return told;
    });
  });
});
