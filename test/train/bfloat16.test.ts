/** Runs at bfloat16: near those at float32, in less memory, resumed to the bit, saved as files that read back. */
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import { engine, memory, setBackend } from '@tensorflow/tfjs-core';
import { orThrow } from '../../src/errors.js';
import { bfloat16ToFloat32, float32ToBfloat16 } from '../../src/formats/tensors/float16.js';
import { writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import { mergeLora } from '../../src/model/adapters/merge.js';
import type { CausalLM } from '../../src/model/model.js';
import { setPrecision } from '../../src/native/register.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { chooseEngine } from '../../src/train/engine.js';
import type { Precision } from '../../src/train/engine.js';
import { loadModel } from '../../src/train/loading/load.js';
import { saveModel } from '../../src/train/saving/save.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import { disposeModel, numbersOf, runOf, stepsOf, tinyModel } from '../../property-tests/train/tiny.js';
import { describeNative, startNative } from '../native.js';

const root = mkdtempSync(join(tmpdir(), 'rxtune-bfloat16-'));
afterAll(async () => {
  rmSync(root, { recursive: true, force: true });
  await setBackend('cpu');
});

const rows = Array.from({ length: 6 }, (_, i) => ({
  input_ids: Array.from({ length: 4 + i }, (__, t) => (7 * i + 3 * t) % 40),
}));

const adapter: SftOptions = { r: 4, loraAlpha: 8, targetModules: 'all-linear' };

const common: SftOptions = { perDeviceTrainBatchSize: 2, maxSteps: 5, maxLength: 16, shuffle: false };

const losses = async (model: CausalLM, options: SftOptions): Promise<ReadonlyArray<number>> =>
  (await stepsOf(runOf(model, rows, { ...common, ...options }))).map(({ loss }) => loss);

const nativeBytes = (): number => (engine().backend.memory() as unknown as { nativeBytes: number }).nativeBytes;

const matrices = ({ weights, trainable }: CausalLM): ReadonlyArray<string> =>
  Object.keys(weights).filter((name) => !trainable.includes(name) && (weights[name]?.rank ?? 0) >= 2);

const keeps = (values: ReadonlyArray<number>): ReadonlyArray<number> =>
  Array.from(bfloat16ToFloat32(float32ToBfloat16(Float32Array.from(values))));

describeNative('at bfloat16', () => {
  beforeEach(async () => {
    await startNative();
    setPrecision('float32');
  });
  afterEach(() => setPrecision('float32'));

  // PyTorch's autocast drifts away by 0.26 % in five steps of this llama and by 0.65 % in those of gemma3n, whose streams amplify it.
  test.each([
    ['gpt2', 1e-2],
    ['llama', 1e-2],
    ['opt', 1e-2],
    ['gemma3n', 2e-2],
  ])('%s, whole and with an adapter: losses within %d of those at float32', async (name, most) => {
    for (const mode of [{}, adapter]) {
      const [wanted, got] = [await tinyModel(name), await tinyModel(name)];
      const whole = await losses(wanted, { ...mode, precision: 'float32', disableDropout: true });
      const half = await losses(got, { ...mode, bf16: true, disableDropout: true } as SftOptions);
      half.forEach((loss, i) => expect(Math.abs(loss / (whole[i] ?? NaN) - 1)).toBeLessThan(most));
      // Without instructions for bfloat16 only what is held differs.
      if (mode === adapter) expect(half).not.toEqual(whole);
      disposeModel(wanted);
      disposeModel(got);
    }
  });

  test('what does not train takes half of the memory and reads as bfloat16 keeps it; what trains is float32', async () => {
    const before = { ...memory(), bytes: nativeBytes() };
    const model = await tinyModel();
    const full = nativeBytes();
    const original = numbersOf(model);
    const run = runOf(model, rows, { ...common, ...adapter, precision: 'bfloat16' });
    let trained: CausalLM | undefined;
    let held = 0;
    run.begun.subscribe(({ model: adapted }) => {
      trained = adapted;
      held = nativeBytes();
    });
    await stepsOf(run);
    if (trained === undefined) throw new Error('the run did not begin');
    const now = numbersOf(trained);
    for (const name of matrices(trained)) expect(now[name]).toEqual(keeps(original[name] ?? []));
    const base = Object.keys(original).filter((name) => trained?.weights[name]?.rank === 1);
    for (const name of base) expect(now[name]).toEqual(original[name]);
    const some = trained.trainable.flatMap((name) => now[name] ?? []);
    expect(some.some((x, i) => x !== 0 && x !== keeps(some)[i])).toBe(true);
    const own = trained.trainable.reduce((sum, name) => sum + (trained?.weights[name]?.size ?? 0), 0);
    // The adapter and its two moments came, half of the base went; blocks are rounded up to 64 bytes.
    expect(held - 3 * 4 * own).toBeLessThan(
      before.bytes + 0.65 * (full - before.bytes) + 64 * 4 * trained.trainable.length,
    );
    disposeModel(trained);
    expect(memory().numTensors).toBe(before.numTensors);
    expect(nativeBytes()).toBe(before.bytes);
  });

  test.each([
    ['the whole model', {}],
    ['an adapter', adapter],
    ['an adapter and a whole module', { ...adapter, modulesToSave: ['lm_head'], targetModules: ['q_proj'] }],
  ])('%s: stopped and resumed is never stopped, to the bit', async (name, mode) => {
    const go = async (outputDir: string, more: SftOptions, stopAt?: number): Promise<void> => {
      const model = await tinyModel();
      const run = runOf(model, rows, { ...common, ...mode, ...more, precision: 'bfloat16', outputDir });
      run.subscribe({
        next: ({ step }) => (step === stopAt ? run.stop({ checkpoint: true }) : undefined),
        error: () => undefined,
      });
      await stepsOf(run);
      disposeModel(model);
    };
    const dir = join(root, name);
    await go(join(dir, 'whole'), {});
    await go(join(dir, 'parts'), {}, 2);
    await go(join(dir, 'parts'), { resumeFromCheckpoint: true });
    const file = mode === adapter || 'r' in mode ? 'adapter_model.safetensors' : 'model.safetensors';
    expect(readFileSync(join(dir, 'parts', file))).toEqual(readFileSync(join(dir, 'whole', file)));
  });

  test('a held base saves as what it reads as, merges with its adapter, and both read back', async () => {
    const model = await tinyModel();
    const outputDir = join(root, 'adapter');
    const run = runOf(model, rows, { ...common, ...adapter, precision: 'bfloat16', outputDir });
    let trained: CausalLM | undefined;
    run.begun.subscribe((begun) => (trained = begun.model));
    await stepsOf(run);
    if (trained === undefined) throw new Error('the run did not begin');
    const { lora: _, ...plain } = trained;
    await orThrow(saveModel(join(root, 'base'), { ...plain, trainable: [] }));
    const base = await orThrow(loadModel(join(root, 'base')));
    const held = numbersOf(trained);
    for (const [name, values] of Object.entries(numbersOf(base.model))) expect(values).toEqual(held[name]);
    // The adapter that was saved, on the base that was saved, merged at float32: the same as merged here.
    const again = await orThrow(loadModel(join(root, 'base'), { adapterDir: outputDir }));
    setPrecision('float32');
    const [here, there] = [mergedNumbers(trained), mergedNumbers(again.model)];
    expect(here).toEqual(there);
    expect(here['model.layers.0.mlp.up_proj.weight']).not.toEqual(held['model.layers.0.mlp.up_proj.weight']);
    disposeModel(base.model);
  });

  test('the matrices of a bfloat16 checkpoint lie as they are from the start, and train as float32', async () => {
    const source = resolve(import.meta.dirname, '..', 'golden', 'models', 'llama');
    const dir = join(root, 'half');
    cpSync(source, dir, { recursive: true });
    const float = await tinyModel();
    const values = numbersOf(float);
    const bytes = nativeBytes();
    await orThrow(
      writeSafetensors(
        join(dir, 'model.safetensors'),
        Object.entries(values).map(([name, numbers]) => ({
          name,
          dtype: 'BF16',
          shape: float.weights[name]?.shape ?? [],
          data: () => Promise.resolve(Float32Array.from(numbers)),
        })),
      ),
    );
    disposeModel(float);
    const size = bytes - nativeBytes();
    const before = nativeBytes();
    const { model } = await orThrow(loadModel(dir));
    expect(nativeBytes() - before).toBeLessThan(0.65 * size);
    for (const [name, numbers] of Object.entries(numbersOf(model))) expect(numbers).toEqual(keeps(values[name] ?? []));
    const [first = NaN, ...others] = await losses(model, { learningRate: 1e-3 });
    expect(others.at(-1)).toBeLessThan(first);
    expect(numbersOf(model)['lm_head.weight']?.some((x, i, all) => x !== keeps(all)[i])).toBe(true);
    disposeModel(model);
    expect(nativeBytes()).toBe(before);
  });

  test('runs at once keep each its own precision, whatever is loaded meanwhile', async () => {
    const options = (precision: Precision): SftOptions => ({
      ...common,
      ...adapter,
      ...{ precision, gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 1, evalSteps: 1, loggingSteps: 1 },
    });
    const told = async (precision: Precision): Promise<ReadonlyArray<number>> => {
      const model = await tinyModel();
      const run = sftTrainer({ model, trainDataset: rows, evalDataset: rows.slice(0, 3) }, options(precision));
      const all: Array<number> = [];
      run.events.subscribe((event) => {
        if (event.kind === 'step') all.push(event.step.loss);
        if (event.kind === 'evaluation') all.push(event.evaluation.loss);
      });
      await orThrow(completed(run));
      disposeModel(model);
      return all;
    };
    const alone = [await told('bfloat16'), await told('float32')];
    expect(await Promise.all([told('bfloat16'), told('float32')])).toEqual(alone);
    expect(alone[0]).not.toEqual(alone[1]);
  });

  test('precision is told: as asked, as the engine runs, or that it cannot be had', async () => {
    const told = async (options: SftOptions): Promise<ReadonlyArray<string | undefined>> => {
      const model = await tinyModel();
      const run = sftTrainer({ model, trainDataset: rows }, { ...common, maxSteps: 1, ...options });
      const said: Array<string | undefined> = [];
      run.begun.subscribe(({ config }) => said.push(config.precision));
      run.warnings.subscribe(({ code }) => (code === 'W_PRECISION_IGNORED' ? said.push(code) : 0));
      await orThrow(completed(run));
      disposeModel(model);
      return said;
    };
    expect(await told({})).toEqual(['float32']);
    expect(await told({ precision: 'bfloat16' })).toEqual(['bfloat16']);
    expect(await told({})).toEqual(['bfloat16']);
    expect(await told({ precision: 'float32' })).toEqual(['float32']);
    await orThrow(chooseEngine({ engine: 'cpu' }));
    expect(await told({ precision: 'bfloat16' })).toEqual(['W_PRECISION_IGNORED', 'float32']);
  });
});

const mergedNumbers = (model: CausalLM): Readonly<Record<string, ReadonlyArray<number>>> => {
  const merged = mergeLora(model);
  if (merged._tag === 'Left') throw new Error(merged.left.message);
  const plain = merged.right.unload();
  const numbers = numbersOf(plain);
  disposeModel(plain);
  return numbers;
};
