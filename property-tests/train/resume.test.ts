/** A run stopped at any update and resumed is the run that never stopped: the same weights, moments and log, to the bit. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { tap } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { chooseEngine } from '../../src/train/engine.js';
import type { SftOptions } from '../../src/train/config.js';
import { disposeModel, runOf, stepsOf, tinyModel, tinyRow } from './tiny.js';

beforeAll(async () => {
  await orThrow(chooseEngine());
});

const inTemporary = async <A>(use: (dir: string) => Promise<A>): Promise<A> => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-resume-'));
  try {
    return await use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
};

const hashOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

const hashes = (dir: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => [name, hashOf(join(dir, name))]),
  );

/** A whole run in its own process's stead: a fresh model each time. `stopAt`: left with a checkpoint after that update. */
const go = async (rows: ReadonlyArray<unknown>, options: SftOptions, stopAt?: number): Promise<void> => {
  const model = await tinyModel();
  const run = runOf(model, rows, options);
  const watched = run.pipe(tap(({ step }) => (step === stopAt ? run.stop({ checkpoint: true }) : undefined)));
  await stepsOf(Object.assign(watched, run));
  disposeModel(model);
};

const setups = fc.record({
  rows: fc.array(tinyRow(), { minLength: 2, maxLength: 9 }),
  size: fc.integer({ min: 1, max: 3 }),
  accumulation: fc.integer({ min: 1, max: 3 }),
  parity: fc.constantFrom(undefined, 'trl-0.7.10' as const),
  epochRemainder: fc.constantFrom('carry' as const, 'update' as const),
  optim: fc.constantFrom('adamw_torch' as const, 'lion' as const, 'sgd' as const, 'adafactor' as const),
  adapter: fc.boolean(),
  loggingSteps: fc.integer({ min: 1, max: 3 }),
  groupByLength: fc.boolean(),
  seed: fc.nat(1000),
  stopAt: fc.integer({ min: 1, max: 6 }),
  again: fc.integer({ min: 1, max: 6 }),
});

const optionsOf = (setup: typeof setups extends fc.Arbitrary<infer S> ? S : never): SftOptions => ({
  perDeviceTrainBatchSize: setup.size,
  gradientAccumulationSteps: setup.accumulation,
  epochRemainder: setup.epochRemainder,
  optim: setup.optim,
  momentum: 0.9,
  loggingSteps: setup.loggingSteps,
  groupByLength: setup.groupByLength,
  seed: setup.seed,
  maxSteps: 7,
  warmupSteps: 2,
  weightDecay: 0.1,
  neftuneNoiseAlpha: 5,
  saveStrategy: 'no',
  lossMean: setup.parity === undefined ? 'token' : 'microBatch',
  ...(setup.adapter ? { r: 2, loraDropout: 0.3 } : {}),
});

describe('resuming', () => {
  test('in memory: twice stopped anywhere, also mid-epoch, equals never stopped', async () => {
    await fc.assert(
      fc.asyncProperty(setups, (setup) =>
        inTemporary(async (dir) => {
          const options = optionsOf(setup);
          await go(setup.rows, { ...options, outputDir: join(dir, 'whole') });
          const outputDir = join(dir, 'parts');
          await go(setup.rows, { ...options, outputDir }, setup.stopAt);
          await go(setup.rows, { ...options, outputDir, resumeFromCheckpoint: true }, setup.again);
          await go(setup.rows, { ...options, outputDir, resumeFromCheckpoint: true });
          expect(hashes(outputDir)).toEqual(hashes(join(dir, 'whole')));
        }),
      ),
      { numRuns: 12 },
    );
  });

  test('streamed: the shuffle buffer and the place in the source are found again', async () => {
    await fc.assert(
      fc.asyncProperty(setups, fc.integer({ min: 1, max: 5 }), (setup, shuffleBuffer) =>
        inTemporary(async (dir) => {
          const options = { ...optionsOf(setup), streaming: true, shuffleBuffer };
          await go(setup.rows, { ...options, outputDir: join(dir, 'whole') });
          const outputDir = join(dir, 'parts');
          await go(setup.rows, { ...options, outputDir }, setup.stopAt);
          await go(setup.rows, { ...options, outputDir, resumeFromCheckpoint: true });
          expect(hashes(outputDir)).toEqual(hashes(join(dir, 'whole')));
        }),
      ),
      { numRuns: 6 },
    );
  });

  test('what was logged after the last checkpoint is written again, not twice', async () => {
    await fc.assert(
      fc.asyncProperty(setups, (setup) =>
        inTemporary(async (dir) => {
          const options = { ...optionsOf(setup), loggingSteps: 1, saveStrategy: 'steps', saveSteps: 3 } as const;
          await go(setup.rows, { ...options, outputDir: join(dir, 'whole') });
          const outputDir = join(dir, 'parts');
          // Left where it was, as by a kill: what came after checkpoint 3 has to be done again.
          await go(setup.rows, { ...options, maxSteps: 5, outputDir });
          await go(setup.rows, { ...options, outputDir, resumeFromCheckpoint: true });
          const lines = readFileSync(join(outputDir, 'log.jsonl'), 'utf8').trimEnd().split('\n');
          expect(lines.map((line) => (JSON.parse(line) as { readonly step: number }).step)).toEqual([
            1, 2, 3, 4, 5, 6, 7,
          ]);
        }),
      ),
      { numRuns: 4 },
    );
  });
});
