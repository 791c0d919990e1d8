/** What is wrong with a run beside its model is told before the model is loaded. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDataset } from '../../src/formats/datasets/dataset.js';
import { jsonl } from '../../src/formats/datasets/jsonl.js';
import type { SftOptions } from '../../src/train/options/config.js';
import type { Dataset, SftSetup } from '../../src/train/run/run.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import { base, built, inTemporary, rxtune } from '../cli/rxtune.js';

const dir = mkdtempSync(join(tmpdir(), 'rxtune-before-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const here = (name: string): string => join(dir, name);
writeFileSync(here('rows.jsonl'), '{"input_ids":[1,2,3]}\n');
writeFileSync(here('rows.odd'), '');
writeFileSync(here('file'), '');
writeFileSync(here('turns.jinja'), '{{ messages }}');
mkdirSync(here('half'));

const rows = [{ input_ids: [1, 2, 3] }];

/** What a run ends in, and whether it came as far as its model. */
const ending = async (setup: Partial<SftSetup>, options: SftOptions = {}) => {
  let loaded = false;
  const run = sftTrainer(
    {
      trainDataset: rows,
      modelInit: () => {
        loaded = true;
        throw new Error('the model');
      },
      ...setup,
    },
    options,
  );
  const result = await completed(run)();
  return { loaded, ...(result._tag === 'Left' ? { code: result.left.code, field: result.left.details.field } : {}) };
};

describe('before the model', () => {
  test.each<readonly [string, Partial<SftSetup>, SftOptions, object]>([
    ['a file of rows', { trainDataset: jsonl(here('no.jsonl')) }, {}, { code: 'E_NO_FILE', field: 'trainDataset' }],
    ['any data set', { trainDataset: openDataset(here('no.jsonl')) }, {}, { code: 'E_NO_FILE', field: 'trainDataset' }],
    ['a pattern', { trainDataset: openDataset(here('no-*.jsonl')) }, {}, { code: 'E_NO_FILE' }],
    ['another ending', { trainDataset: openDataset(here('rows.odd')) }, {}, { code: 'E_UNKNOWN_FORMAT' }],
    ['an empty folder', { trainDataset: openDataset(here('half')) }, {}, { code: 'E_IS_DIRECTORY' }],
    [
      'a source of a mixture',
      {
        trainDataset: {
          mix: [jsonl(here('rows.jsonl')), jsonl(here('no.jsonl'))].map((dataset) => ({ dataset, weight: 1 })),
        },
      },
      {},
      { code: 'E_NO_FILE', field: 'trainDataset' },
    ],
    [
      'rows, not a path',
      { trainDataset: here('rows.jsonl') as never },
      {},
      { code: 'E_OPTIONS', field: 'trainDataset' },
    ],
    ['rows, not an object', { trainDataset: {} as never }, {}, { code: 'E_OPTIONS', field: 'trainDataset' }],
    ['rows to mix', { trainDataset: { mix: [{ dataset: 'a' as never, weight: 1 }] } }, {}, { field: 'trainDataset' }],
    ['rows to evaluate on, not a path', { evalDataset: 'a' as never }, {}, { code: 'E_OPTIONS', field: 'evalDataset' }],
    ['each set of them', { evalDataset: { easy: rows, hard: 'a' as never } }, {}, { field: 'evalDataset.hard' }],
    ['rows to evaluate on', { evalDataset: jsonl(here('no.jsonl')) }, {}, { code: 'E_NO_FILE', field: 'evalDataset' }],
    [
      'one evaluation set of several',
      { evalDataset: { easy: rows, hard: jsonl(here('no.jsonl')) } },
      {},
      { code: 'E_NO_FILE', field: 'evalDataset.hard' },
    ],
    ['two sources of evaluation', { evalDataset: rows }, { evalSplit: 1 }, { code: 'E_OPTIONS', field: 'evalSplit' }],
    ['a checkpoint', {}, { resumeFromCheckpoint: here('no') }, { code: 'E_NO_FILE', field: 'resumeFromCheckpoint' }],
    ['what is none', {}, { resumeFromCheckpoint: here('half') }, { code: 'E_DIRECTORY_INCOMPLETE' }],
    ['any checkpoint', {}, { resumeFromCheckpoint: true, outputDir: here('out') }, { code: 'E_NO_CHECKPOINT' }],
    ['a place for checkpoints', {}, { resumeFromCheckpoint: true }, { code: 'E_OPTIONS', field: 'outputDir' }],
    ['a file of a chat template', {}, { chatTemplate: here('no.jinja') }, { code: 'E_NO_FILE', field: 'chatTemplate' }],
    ['a template, not a folder', {}, { chatTemplate: here('half') }, { code: 'E_IS_DIRECTORY', field: 'chatTemplate' }],
    [
      'a name that is nearly one of the setup',
      { peftConfg: { r: 8 } } as Partial<SftSetup>,
      {},
      { code: 'E_OPTIONS', field: 'peftConfg' },
    ],
    ['an option beside the model', { maxSteps: 3 } as Partial<SftSetup>, {}, { code: 'E_OPTIONS', field: 'maxSteps' }],
    ['what belongs beside it', {}, { evalDataset: rows } as SftOptions, { code: 'E_OPTIONS', field: 'evalDataset' }],
    ['another name of one', { epochs: 3 } as Partial<SftSetup>, {}, { code: 'E_OPTIONS', field: 'epochs' }],
    ['a model, not what was loaded', { model: { model: {} } as never }, {}, { code: 'E_OPTIONS', field: 'model' }],
    ['a model, not the task of one', { model: (() => 1) as never }, {}, { code: 'E_OPTIONS', field: 'model' }],
    ['a list of callbacks', { callbacks: (() => undefined) as never }, {}, { code: 'E_OPTIONS', field: 'callbacks' }],
    ['a function', { formattingFunc: 'text' as never }, {}, { code: 'E_OPTIONS', field: 'formattingFunc' }],
    ['a place to write', {}, { outputDir: here('file/out') }, { code: 'E_OUTPUT_DIR' }],
  ])('%s', async (_name, setup, options, told) => {
    expect(await ending(setup, options)).toMatchObject({ loaded: false, ...told });
  });

  test('a path where rows belong is told with what reads it', async () => {
    const run = sftTrainer({ trainDataset: 'a.jsonl' as never });
    expect(await completed(run)()).toMatchObject({
      left: {
        kind: 'usage',
        message: 'trainDataset is a string, and rows are wanted',
        details: { actual: '"a.jsonl"', hint: 'openDataset("a.jsonl") reads them' },
      },
    });
    // @ts-expect-error A path is no data set, though a text may be iterated.
    const typed: Dataset = 'a.jsonl';
    expect(typed).toHaveLength(7);
  });

  test('what load gives beside model and tokenizer may come along, and so may names unlike any of the setup', async () => {
    const along = { warnings: [], engine: {}, located: {}, note: 'mine' } as Partial<SftSetup>;
    expect(await ending(along)).toMatchObject({ loaded: true, code: 'E_MODEL_INIT' });
  });

  test('what is there lets the model be loaded', async () => {
    const sets = { trainDataset: jsonl(here('rows.jsonl')), evalDataset: openDataset(here('rows.jsonl')) };
    expect(await ending(sets, { outputDir: here('out') })).toMatchObject({ loaded: true, code: 'E_MODEL_INIT' });
    for (const chatTemplate of [here('turns.jinja'), '{{ messages }}']) {
      expect(await ending(sets, { chatTemplate })).toMatchObject({ loaded: true, code: 'E_MODEL_INIT' });
    }
  });
});

describe('on the command line', () => {
  beforeAll(() => void built());

  // That the directory of the model holds none would be told first, if it were read first.
  test.each<readonly [ReadonlyArray<string>, string, number?]>([
    [['sft', '--train-dataset', 'no.jsonl'], '--train-dataset: no.jsonl does not exist [E_NO_FILE]'],
    [['evaluate', '--eval-dataset', 'no.jsonl'], 'no.jsonl does not exist [E_NO_FILE]'],
    [['quantize', '--output-dir', 'out', '--train-dataset', 'no.jsonl'], 'no.jsonl does not exist [E_NO_FILE]'],
    [['sft', '--train-dataset', here('rows.jsonl'), '--report', here('file/run.html')], '[E_FILE]', 1],
  ])('%j', async (argv, told, code = 2) => {
    const outcome = await rxtune(...argv, '--model', here('half'));
    expect(outcome.err).toContain(told);
    expect(outcome.code).toBe(code);
  });

  test('no directory is made for a run whose data is not there', () =>
    inTemporary(async (directory) => {
      const out = join(directory, 'out');
      const argv = ['sft', '--model', base, '--train-dataset', 'no.jsonl', '--output-dir', out];
      expect((await rxtune(...argv)).code).toBe(2);
      expect(readdirSync(directory)).toEqual([]);
    }));
});
