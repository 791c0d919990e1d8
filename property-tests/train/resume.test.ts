/** A run stopped at any update and resumed is the run that never stopped: the same weights, moments and log, to the bit. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { tap } from 'rxjs';
import { startUnderTest } from '../../test/engine.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { disposeModel, runOf, stepsOf, tinyModel, tinyRow } from './tiny.js';

beforeAll(async () => {
  await startUnderTest();
});

/** Both runs write to a directory called `run`: its name is the model card's title. */
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

/**
 * A whole run in its own process's stead: a fresh model each time. `stopAt`: left with a checkpoint after that update. Resolves to
 * the codes of its warnings.
 */
const go = async (
  rows: ReadonlyArray<unknown>,
  { model: name, ...options }: SftOptions & { readonly model?: string },
  stopAt?: number,
): Promise<ReadonlyArray<string>> => {
  const model = await tinyModel(name);
  const run = runOf(model, rows, options);
  const told: Array<string> = [];
  run.warnings.subscribe(({ code }) => told.push(code));
  const watched = run.pipe(tap(({ step }) => (step === stopAt ? run.stop({ checkpoint: true }) : undefined)));
  await stepsOf(Object.assign(watched, run));
  disposeModel(model);
  return told;
};

const setups = fc.record({
  rows: fc.array(tinyRow(), { minLength: 2, maxLength: 9 }),
  size: fc.integer({ min: 1, max: 3 }),
  accumulation: fc.integer({ min: 1, max: 3 }),
  parity: fc.constantFrom(undefined, 'trl-0.7.10' as const),
  epochRemainder: fc.constantFrom('carry' as const, 'update' as const),
  optim: fc.constantFrom(
    'adamw_torch' as const,
    'adamw_8bit' as const,
    'lion' as const,
    'sgd' as const,
    'adafactor' as const,
  ),
  adapter: fc.boolean(),
  loggingSteps: fc.integer({ min: 1, max: 3 }),
  groupByLength: fc.boolean(),
  // gpt2 has dropout of its own.
  model: fc.constantFrom('llama', 'gpt2'),
  packing: fc.constantFrom(undefined, 'bfd' as const, 'bfd_split' as const, 'wrapped' as const),
  gradientCheckpointing: fc.boolean(),
  seed: fc.nat(1000),
  stopAt: fc.integer({ min: 1, max: 6 }),
  again: fc.integer({ min: 1, max: 6 }),
});

type Setup = typeof setups extends fc.Arbitrary<infer S> ? S : never;

const optionsOf = (setup: Setup): SftOptions & { readonly model: string } => ({
  model: setup.model,
  gradientCheckpointing: setup.gradientCheckpointing,
  maxLength: 16,
  ...(setup.packing === undefined ? {} : { packing: true, packingStrategy: setup.packing }),
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
          await go(setup.rows, { ...options, outputDir: join(dir, 'whole', 'run') });
          const outputDir = join(dir, 'parts', 'run');
          await go(setup.rows, { ...options, outputDir }, setup.stopAt);
          await go(setup.rows, { ...options, outputDir, resumeFromCheckpoint: true }, setup.again);
          await go(setup.rows, { ...options, outputDir, resumeFromCheckpoint: true });
          expect(hashes(outputDir)).toEqual(hashes(join(dir, 'whole', 'run')));
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
          await go(setup.rows, { ...options, outputDir: join(dir, 'whole', 'run') });
          const outputDir = join(dir, 'parts', 'run');
          await go(setup.rows, { ...options, outputDir }, setup.stopAt);
          await go(setup.rows, { ...options, outputDir, resumeFromCheckpoint: true });
          expect(hashes(outputDir)).toEqual(hashes(join(dir, 'whole', 'run')));
        }),
      ),
      { numRuns: 6 },
    );
  });

  test('whatever happened to the newest checkpoint: the one before is taken, saying so', async () => {
    await fc.assert(
      fc.asyncProperty(
        setups,
        fc.nat(),
        fc.oneof(
          fc.record({ kind: fc.constant('cut' as const), at: fc.nat() }),
          fc.record({ kind: fc.constant('flipped' as const), at: fc.nat(), bit: fc.nat(7) }),
          fc.constant({ kind: 'removed' as const }),
        ),
        (setup, which, damage) =>
          inTemporary(async (dir) => {
            const options = { ...optionsOf(setup), saveStrategy: 'steps', saveSteps: 2 } as const;
            await go(setup.rows, { ...options, outputDir: join(dir, 'whole', 'run') });
            const outputDir = join(dir, 'parts', 'run');
            await go(setup.rows, { ...options, outputDir }, 5);
            const newest = join(outputDir, 'checkpoint-5');
            const files = readdirSync(newest);
            const file = join(newest, files[which % files.length] ?? '');
            const bytes = readFileSync(file);
            if (damage.kind === 'removed') rmSync(file);
            else if (damage.kind === 'cut') writeFileSync(file, bytes.subarray(0, damage.at % bytes.length));
            else {
              const at = damage.at % bytes.length;
              bytes[at] = (bytes[at] ?? 0) ^ (1 << damage.bit);
              writeFileSync(file, bytes);
            }
            const told = await go(setup.rows, { ...options, outputDir, resumeFromCheckpoint: true });
            expect(told).toContain('W_CHECKPOINT_SKIPPED');
            expect(hashes(outputDir)).toEqual(hashes(join(dir, 'whole', 'run')));
          }),
      ),
      { numRuns: 12 },
    );
  });

  test('what was logged after the last checkpoint is written again, not twice', async () => {
    await fc.assert(
      fc.asyncProperty(setups, (setup) =>
        inTemporary(async (dir) => {
          const options = { ...optionsOf(setup), loggingSteps: 1, saveStrategy: 'steps', saveSteps: 3 } as const;
          await go(setup.rows, { ...options, outputDir: join(dir, 'whole', 'run') });
          const outputDir = join(dir, 'parts', 'run');
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
