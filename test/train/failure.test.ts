/** What a run that failed leaves in its output directory. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { take, lastValueFrom } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { jsonl } from '../../src/formats/datasets/jsonl.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { chooseEngine } from '../../src/train/engine.js';
import { load } from '../../src/train/loading/load.js';
import type { SftSetup } from '../../src/train/run/run.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import { base, built, inTemporary, rxtune } from '../cli/rxtune.js';

const dir = mkdtempSync(join(tmpdir(), 'rxtune-failure-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
beforeAll(async () => {
  built();
  await orThrow(chooseEngine({ engine: 'cpu' }));
});

const errorIn = (outputDir: string): unknown => {
  const file = join(outputDir, 'error.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
};

const rows = [{ input_ids: [5, 6, 7, 8] }];

const ended = async (setup: Partial<SftSetup>, options: SftOptions): Promise<string> => {
  const { model } = await orThrow(load(base));
  const result = await completed(sftTrainer({ model, trainDataset: rows, ...setup }, { maxLength: 8, ...options }))();
  return result._tag === 'Left' ? result.left.code : 'done';
};

test('the error and the step it came after, until another run begins there', async () => {
  const outputDir = join(dir, 'out');
  const options = { outputDir, maxSteps: 3, saveStrategy: 'no' } as const;
  const broken = join(dir, 'broken.jsonl');
  writeFileSync(broken, '{"input_ids": [1, 2\n');

  expect(await ended({ trainDataset: jsonl(broken) }, options)).toBe('E_NO_ROWS');
  expect(errorIn(outputDir)).toMatchObject({ code: 'E_NO_ROWS', step: 0, message: expect.stringContaining(broken) });

  const failing = {
    callbacks: [
      ({ kind }: { readonly kind: string }) => {
        if (kind === 'log') throw new Error('the disk of the dashboard is full');
      },
    ],
  };
  expect(await ended(failing, { ...options, loggingSteps: 2 })).toBe('E_CALLBACK');
  expect(errorIn(outputDir)).toMatchObject({
    code: 'E_CALLBACK',
    step: 2,
    message: expect.stringContaining('dashboard'),
  });

  expect(await ended({}, options)).toBe('done');
  expect(errorIn(outputDir)).toBeUndefined();
});

test('nothing of a wrong call, of a run that was left, or where nothing is written', async () => {
  const outputDir = join(dir, 'wrong');
  expect(await ended({ trainDataset: jsonl(join(dir, 'no.jsonl')) }, { outputDir })).toBe('E_NO_FILE');
  expect(existsSync(outputDir)).toBe(false);
  const { model } = await orThrow(load(base));
  const options: SftOptions = { outputDir, maxLength: 8, maxSteps: 3 };
  await lastValueFrom(sftTrainer({ model, trainDataset: rows }, options).pipe(take(1)));
  expect(errorIn(outputDir)).toBeUndefined();
  expect(await ended({ trainDataset: [] }, {})).toBe('E_NO_ROWS');
});

test('on the command line, of a model that cannot be loaded: error.json and the report', () =>
  inTemporary(async (directory) => {
    const [out, page] = [join(directory, 'out'), join(directory, 'report.html')];
    const data = join(base, '..', 'train.jsonl');
    const call = ['sft', '--model', directory, '--train-dataset', data, '--output-dir', out, '--report', page];
    expect(await rxtune(...call)).toMatchObject({ code: 2, err: expect.stringContaining('[E_NO_FILE]') });
    expect(errorIn(out)).toMatchObject({ code: 'E_NO_FILE', step: 0 });
    const text = readFileSync(page, 'utf8');
    expect(text).toContain('"state":"failed"');
    expect(text).toMatch(/"warnings":\[.*\[E_NO_FILE\]/);
    expect(text).toContain('["ended","failed before the first step"]');
  }));
