/** README.md of a run's output: what it says, that it says no more, and whose it is to write. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { lastValueFrom } from 'rxjs';
import { parse } from 'yaml';
import { orThrow } from '../../src/errors.js';
import { cardMark, modelCard } from '../../src/formats/checkpoints/modelCard.js';
import type { ModelCard } from '../../src/formats/checkpoints/modelCard.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { loadModel } from '../../src/train/loading/load.js';
import type { SftSetup } from '../../src/train/run/run.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { startUnderTest } from '../engine.js';

const llama = resolve(import.meta.dirname, '..', 'golden', 'models', 'llama');
const root = mkdtempSync(join(tmpdir(), 'rxtune-card-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeAll(async () => {
  await startUnderTest();
});

const rows = [{ input_ids: [1, 2, 3, 4] }, { input_ids: [5, 6, 7] }, { input_ids: [] }];

const cardOf = async (name: string, setup: Partial<SftSetup> = {}, options: SftOptions = {}): Promise<string> => {
  const dir = join(root, name);
  const { model } = await orThrow(loadModel(llama));
  const run = sftTrainer(
    {
      model,
      modelName: 'acme/tiny-llama',
      datasetNames: ['/home/ada/letters.jsonl', 'acme/chats@main:en:train'],
      ...{ trainDataset: rows },
      ...setup,
    },
    { maxLength: 16, maxSteps: 2, outputDir: dir, ...options },
  );
  await lastValueFrom(run);
  return readFileSync(join(dir, 'README.md'), 'utf8');
};

const frontMatter = (card: string): unknown => parse(card.split('---\n')[1] ?? '');

describe('the card of a run', () => {
  test('names base, data, counts, options and metrics, for the Hub and for people', async () => {
    const card = await cardOf(
      'shop',
      { evalDataset: rows.slice(0, 2) },
      {
        ...{ evalSteps: 2, weightDecay: 0.1 },
        // How the rows came about is not what was done.
        ...{ preparedCache: false, datasetNumProc: 1 },
      },
    );
    expect(frontMatter(card)).toEqual({
      base_model: 'acme/tiny-llama',
      datasets: ['acme/chats'],
      library_name: 'transformers',
      model_name: 'shop',
      pipeline_tag: 'text-generation',
      tags: ['rxtune', 'sft'],
    });
    expect(card).toContain('`letters.jsonl`, `acme/chats`');
    expect(card).toContain('| rows read | 3 |\n| rows refused | 1 |');
    expect(card).toContain('| tokens | 7 |\n| tokens trained | 5 |');
    expect(card).toContain('| `weightDecay` | 0.1 |');
    expect(card).not.toMatch(/preparedCache|datasetNumProc/);
    expect(card).toMatch(/\| eval_loss \| \d\.\d+ \|/);
    expect(card).toMatch(/\| mean training loss \| \d\.\d+ \|/);
    expect(card).toContain('AutoModelForCausalLM.from_pretrained("shop")');
    expect(card).toContain('rxtune generate --model shop');
  });

  test('of an adapter says so', async () => {
    const card = await cardOf('adapter', {}, { r: 2, targetModules: ['q_proj'] });
    expect(frontMatter(card)).toMatchObject({ library_name: 'peft', tags: ['rxtune', 'sft', 'lora'] });
    expect(card).toContain('A LoRA adapter of `acme/tiny-llama`');
    expect(card).toContain('AutoPeftModelForCausalLM.from_pretrained("adapter")');
    expect(card).toContain('rxtune generate --model acme/tiny-llama --adapter adapter');
    expect(card).toContain('| `targetModules` | ["q_proj"] |');
  });

  test('tells no place of this machine, and is the same for the same run', async () => {
    const chatTemplate = join(root, 'template.jinja');
    writeFileSync(chatTemplate, '{{ messages }}');
    const once = await cardOf('once', { modelName: llama }, { chatTemplate });
    expect(once).not.toContain(root);
    expect(once).not.toContain('/home');
    expect(once).not.toContain(llama);
    expect(once).toContain('A model of `llama`');
    expect(frontMatter(once)).not.toHaveProperty('base_model');
    const again = await cardOf('again/once', { modelName: llama }, { chatTemplate });
    expect(again).toBe(once);
  });

  test('leaves a README of somebody else alone, and writes its own anew', async () => {
    const dir = join(root, 'kept');
    mkdirSync(dir);
    writeFileSync(join(dir, 'README.md'), '# Mine\n');
    expect(await cardOf('kept')).toBe('# Mine\n');
    writeFileSync(join(dir, 'README.md'), `old\n${cardMark}\n`);
    expect(await cardOf('kept')).toContain('# kept');
  });
});

describe('modelCard', () => {
  const card: ModelCard = {
    name: 'a: b',
    baseModel: '- x',
    baseOnHub: true,
    datasets: [{ name: '#1', onHub: true }],
    adapter: false,
    chats: true,
    trainableParameters: 1234,
    totalParameters: 5000,
    data: {},
    options: { responseTemplate: ' | ### Answer:\n', layersToTransform: [1, 2] },
    metrics: { 'mean training loss': 1.23456789 },
  };

  test('survives names that YAML and Markdown would read otherwise', () => {
    const text = modelCard(card);
    expect(frontMatter(text)).toMatchObject({ base_model: '- x', datasets: ['#1'], model_name: 'a: b' });
    const words = modelCard({ ...card, name: 'null', baseModel: 'no', datasets: [{ name: 'On', onHub: true }] });
    expect(words).toContain('model_name: "null"\n');
    expect(words).toContain('base_model: "no"\n');
    expect(words).toContain('- "On"\n');
    expect(text).toContain('| `responseTemplate` |  \\| ### Answer:↵ |');
    expect(text).toContain('| `layersToTransform` | [1,2] |');
    expect(text).toContain('1,234 of 5,000 parameters (24.7 %)');
    expect(text).toContain('| mean training loss | 1.2346 |');
  });
});
