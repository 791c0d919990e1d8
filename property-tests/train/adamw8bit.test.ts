/** A whole run whose optimizer state is held in 8 bits. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { memory } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { lastValueFrom, tap, toArray } from 'rxjs';
import { isFatal, orThrow } from '../../src/errors.js';
import { readSafetensors } from '../../src/formats/tensors/safetensors.js';
import { adamw8bit } from '../../src/train/optimizers/adamw8bit.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { chain, clipByGlobalNorm, scaleBy } from '../../src/train/optimizers/optimizer.js';
import type { SftSetup } from '../../src/train/run/run.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { startUnderTest } from '../../test/engine.js';
import { disposeModel, tinyModel, tinyRow } from './tiny.js';

beforeAll(async () => {
  await startUnderTest();
});

const dirs: Array<string> = [];
const temporary = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-8bit-'));
  dirs.push(dir);
  return dir;
};
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

/** The tiny model's tensors are small: here all of them have 8 bits, or those of at least `minSize` numbers. */
const narrow =
  (minSize: number): NonNullable<SftSetup['optimizer']> =>
  (_, schedule) =>
    chain(clipByGlobalNorm(1), adamw8bit({ minSize, keeps32bit: () => false, weightDecay: 0.1 }), scaleBy(schedule));

const rows = Array.from({ length: 8 }, (_, i) => ({
  input_ids: Array.from({ length: 6 }, (__, t) => (5 * i + 3 * t) % 40),
}));

/** Losses of a run; `stopAt`: left with a checkpoint after that update. */
const losses = async (
  options: SftOptions,
  setup: Partial<SftSetup> = {},
  stopAt?: number,
): Promise<ReadonlyArray<number>> => {
  const model = await tinyModel();
  const run = sftTrainer(
    { model, trainDataset: rows, ...setup },
    { learningRate: 0.01, maxLength: 16, perDeviceTrainBatchSize: 2, saveStrategy: 'no', ...options },
  );
  const steps = await lastValueFrom(
    run.pipe(
      tap(({ step }) => (step === stopAt ? run.stop({ checkpoint: true }) : undefined)),
      toArray(),
    ),
  );
  disposeModel(model);
  return steps.map(({ loss }) => loss);
};

const hashes = (dir: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== 'README.md')
      .map(({ name }) => [
        name,
        createHash('sha256')
          .update(readFileSync(join(dir, name)))
          .digest('hex'),
      ]),
  );

describe('AdamW with moments in 8 bits', () => {
  test('learns as AdamW does', async () => {
    const options = { maxSteps: 40, weightDecay: 0.1 };
    const [wide, eight] = [await losses(options), await losses(options, { optimizer: narrow(1) })];
    const mean = (all: ReadonlyArray<number>): number => all.slice(-8).reduce((a, b) => a + b, 0) / 8;
    expect(mean(wide)).toBeLessThan((wide[0] ?? 0) / 2);
    expect(Math.abs(mean(eight) - mean(wide))).toBeLessThan(0.05 * (wide[0] ?? 0));
    // The first update sees no stored moment; later ones do.
    expect(eight.slice(0, 2)).toEqual(wide.slice(0, 2));
    expect(eight.slice(2)).not.toEqual(wide.slice(2));
  });

  test('a run stopped anywhere and resumed is the run that never stopped', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(tinyRow(), { minLength: 2, maxLength: 6 }),
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom(1, 200, 1 << 20),
        fc.boolean(),
        async (trainDataset, stopAt, minSize, adapter) => {
          const setup = { trainDataset, optimizer: narrow(minSize) };
          const options = { maxSteps: 6, ...(adapter ? { r: 2 } : {}) };
          const [whole, parts] = [temporary(), temporary()];
          await losses({ ...options, outputDir: whole }, setup);
          await losses({ ...options, outputDir: parts }, setup, stopAt);
          await losses({ ...options, outputDir: parts, resumeFromCheckpoint: true }, setup);
          expect(hashes(parts)).toEqual(hashes(whole));
        },
      ),
      { numRuns: 6 },
    );
  });

  test('a checkpoint holds a byte a number and moment, and the scales', async () => {
    const outputDir = temporary();
    const { numTensors } = memory();
    await losses({ outputDir, maxSteps: 2 }, { optimizer: narrow(1) }, 1);
    expect(memory().numTensors).toBe(numTensors);
    const file = join(outputDir, 'checkpoint-1', 'optimizer.safetensors');
    const { tensors } = await orThrow(readSafetensors(file));
    const model = await orThrow(readSafetensors(join(outputDir, 'checkpoint-1', 'model.safetensors')));
    for (const [name, { shape }] of model.tensors) {
      const size = shape.reduce((a, b) => a * b, 1);
      expect(tensors.get(`mCodes.${name}`)).toMatchObject({ dtype: 'U8', byteLength: 4 * Math.ceil(size / 4) });
      expect(tensors.get(`vAbsmax.${name}`)).toMatchObject({ dtype: 'F32', byteLength: 4 * Math.ceil(size / 256) });
    }
    expect(statSync(file).size).toBeLessThan(statSync(join(outputDir, 'checkpoint-1', 'model.safetensors')).size);
  });

  test('a checkpoint of 32 bits is not taken for one of 8', async () => {
    const outputDir = temporary();
    await losses({ outputDir, maxSteps: 2 }, {}, 1);
    const resumed = losses({ outputDir, maxSteps: 2, resumeFromCheckpoint: true }, { optimizer: narrow(1) });
    const failure = await resumed.catch((error: unknown) => error);
    expect(isFatal(failure) && failure.code).toBe('E_CHECKPOINT_MISFIT');
  });

  test('embeddings and small tensors keep 32 bits', () => {
    const { rule } = adamw8bit();
    const slots = (name: string, shape: ReadonlyArray<number>): ReadonlyArray<string> =>
      Object.keys(rule?.slots(shape, name) ?? {});
    expect(slots('model.layers.0.mlp.up_proj.weight', [64, 64])).toEqual(['mCodes', 'vCodes', 'mAbsmax', 'vAbsmax']);
    expect(slots('model.layers.0.mlp.up_proj.weight', [63, 65])).toEqual(['m', 'v']);
    for (const name of ['model.embed_tokens.weight', 'transformer.wpe.weight', 'wte.weight']) {
      expect(slots(name, [100, 100])).toEqual(['m', 'v']);
    }
    expect(slots('lm_head.weight', [100, 100])).toContain('mCodes');
    expect(rule?.slots([3, 2000], 'w')).toEqual({
      mCodes: { shape: [1500], dtype: 'int32' },
      vCodes: { shape: [1500], dtype: 'int32' },
      mAbsmax: [24],
      vAbsmax: [24],
    });
  });
});

test('option and names', async () => {
  const [named, other] = [
    await losses({ optim: 'adamw_8bit', maxSteps: 3 }),
    // Names of transformers are no values of the type; configuration files and flags bring them.
    await losses({ ...({ optim: 'paged_adamw_8bit' } as object), maxSteps: 3 }),
  ];
  expect(other).toEqual(named);
});
