/** Two runs in one output directory. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lastValueFrom, take, toArray } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { chooseEngine } from '../../src/train/engine.js';
import { load } from '../../src/train/loading/load.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { base } from '../cli/rxtune.js';

const dir = mkdtempSync(join(tmpdir(), 'rxtune-in-use-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
beforeAll(async () => {
  await orThrow(chooseEngine({ engine: 'cpu' }));
});

const marks = (): ReadonlyArray<string> => readdirSync(dir).filter((name) => name.startsWith('.run.'));

test('a run is told of another that writes where it does, and of none that is over', async () => {
  const started = async (maxSteps: number) => {
    const { model } = await orThrow(load(base));
    const run = sftTrainer(
      { model, trainDataset: [{ input_ids: [5, 6, 7, 8] }] },
      { outputDir: dir, maxLength: 8, maxSteps, saveStrategy: 'no' },
    );
    const codes = lastValueFrom(run.warnings.pipe(toArray())).then((all) => all.map(({ code }) => code));
    return { run, codes };
  };
  // Of a process that is no more: no process has this number.
  writeFileSync(join(dir, '.run.2147483646-0a0b0c0d0.tmp'), '');
  const first = await started(1000);
  await lastValueFrom(first.run.pipe(take(1)));
  expect(await first.codes).not.toContain('W_OUTPUT_DIR_IN_USE');
  expect(marks()).toEqual([]);

  // Left before it has begun.
  const early = await started(2);
  early.run.subscribe().unsubscribe();
  await new Promise((done) => setTimeout(done, 300));
  expect(marks()).toEqual([]);

  const held = await started(2);
  held.run.pause();
  const ended = lastValueFrom(held.run);
  await new Promise((done) => held.run.begun.subscribe(done));
  expect(marks()).toHaveLength(1);
  const second = await started(1);
  await lastValueFrom(second.run);
  expect(await second.codes).toContain('W_OUTPUT_DIR_IN_USE');
  held.run.resume();
  await ended;
  expect(await held.codes).not.toContain('W_OUTPUT_DIR_IN_USE');
  expect(marks()).toEqual([]);
});
