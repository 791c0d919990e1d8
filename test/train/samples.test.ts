/** Evaluation with a real tokenizer: whose words cost what, where rows came from, and what the model says. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { openDataset } from '../../src/formats/datasets/dataset.js';
import type { Labelled } from '../../src/records.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { chooseEngine } from '../../src/train/engine.js';
import { load } from '../../src/train/loading/load.js';
import type { Loaded } from '../../src/train/loading/load.js';
import { makeRowNames } from '../../src/train/preparing/rowNames.js';
import { questionOf } from '../../src/train/generating/samples.js';
import { sftTrainer } from '../../src/train/trainer.js';

const shop = resolve(import.meta.dirname, '..', '..', 'examples', 'quickstart');
const heldout = join(shop, 'heldout.jsonl');

let loaded: Loaded;
const dir = mkdtempSync(join(tmpdir(), 'rxtune-samples-'));
beforeAll(async () => {
  await orThrow(chooseEngine());
  loaded = await orThrow(load(join(shop, 'base')));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const row = (labels: ReadonlyArray<number>, more: Partial<Labelled> = {}): Labelled => ({
  inputIds: Int32Array.from(labels, (_, t) => 10 + t),
  labels: Int32Array.from(labels),
  seqLengths: [labels.length],
  ...more,
});

const asked = (question: ReturnType<typeof questionOf>): ReadonlyArray<ReadonlyArray<number>> | undefined =>
  question === undefined ? undefined : [Array.from(question.prompt), Array.from(question.expected)];

describe('the question of a row', () => {
  test('asks for the last stretch that is trained', () => {
    expect(asked(questionOf(row([-100, 11, 12, -100, 14, 15, -100])))).toEqual([
      [10, 11, 12, 13],
      [14, 15],
    ]);
  });

  test('stays in the first document of a packed row', () => {
    const packed = row([-100, -100, 12, -100, 14], { seqLengths: [3, 2] });
    expect(asked(questionOf(packed))).toEqual([[10, 11], [12]]);
  });

  test('asks for the last answer where everything is trained and roles are told', () => {
    const names = makeRowNames();
    const [user, assistant] = [names.roles.numberOf('user'), names.roles.numberOf('assistant')];
    const roles = Uint8Array.from([user, user, assistant, user, assistant, assistant]);
    expect(asked(questionOf(row([10, 11, 12, 13, 14, 15], { roles }), names))).toEqual([
      [10, 11, 12, 13],
      [14, 15],
    ]);
  });

  test('asks for the second half of a text', () => {
    expect(asked(questionOf(row([10, 11, 12, 13, 14])))).toEqual([
      [10, 11, 12],
      [13, 14],
    ]);
    expect(questionOf(row([10]))).toBeUndefined();
  });
});

test('an evaluation tells roles, files, hardest rows with their text, and answers', async () => {
  const more = join(dir, 'more.jsonl');
  writeFileSync(more, readFileSync(heldout, 'utf8').split('\n').slice(0, 3).join('\n'));
  const outputDir = join(dir, 'out');
  const run = sftTrainer(
    {
      ...loaded,
      trainDataset: openDataset([more]),
      evalDataset: openDataset([heldout, more]),
    },
    {
      outputDir,
      maxLength: 256,
      maxSteps: 1,
      learningRate: 0,
      evalStrategy: 'steps',
      evalSamples: 3,
      evalSampleTokens: 40,
      evalHardest: 2,
      saveStrategy: 'no',
    },
  );
  const evaluations = firstValueFrom(run.evaluations);
  const samples = firstValueFrom(run.samples);
  await lastValueFrom(run);
  const { roles, sources, hardest, metrics } = await evaluations;
  expect(Object.keys(roles).toSorted()).toEqual(['assistant', 'template', 'user']);
  expect(Object.keys(sources)).toEqual([heldout, more]);
  expect(metrics['eval_role_assistant_loss']).toBe(roles['assistant']?.loss);
  expect(metrics['eval_source_more.jsonl_loss']).toBe(sources[more]?.loss);
  expect(hardest.length).toBe(2);
  for (const { file, line, tokens, loss } of hardest) {
    expect([heldout, more]).toContain(file);
    const written: unknown = JSON.parse(readFileSync(file ?? '', 'utf8').split('\n')[(line ?? 0) - 1] ?? '');
    const text = tokens.map((token) => token.text).join('');
    expect(JSON.stringify(written)).toContain(JSON.stringify(text.split('\n')[1]).slice(1, 20));
    const losses = tokens.flatMap((token) => (token.loss === undefined ? [] : [token.loss]));
    expect(losses.reduce((a, b) => a + b, 0) / losses.length).toBeCloseTo(loss, 4);
  }
  const told = await samples;
  expect(told.samples.length).toBe(3);
  const first = JSON.parse(readFileSync(heldout, 'utf8').split('\n')[0] ?? '') as {
    readonly messages: ReadonlyArray<{ readonly content: string }>;
  };
  const [sample] = told.samples;
  expect(sample?.prompt).toContain(first.messages[0]?.content);
  expect(sample?.expected.trim()).toBe(first.messages.at(-1)?.content);
  expect(sample?.numTokens).toBeLessThanOrEqual(40);
  const log = readFileSync(join(outputDir, 'samples.jsonl'), 'utf8').trimEnd().split('\n');
  expect(log.map((line) => (JSON.parse(line) as { readonly text: string }).text)).toEqual(
    told.samples.map(({ text }) => text),
  );
  expect(metrics['eval_stop_rate']).toBe(told.samples.filter(({ stopped }) => stopped).length / 3);
});

test.each([1, 120])('an answer within %i tokens either stopped by itself or was cut at the limit', async (limit) => {
  const run = sftTrainer(
    { ...loaded, trainDataset: openDataset([heldout]), evalDataset: openDataset([heldout]) },
    { maxLength: 256, maxSteps: 1, learningRate: 0, evalStrategy: 'steps', evalSamples: 3, evalSampleTokens: limit },
  );
  const told = firstValueFrom(run.samples);
  await lastValueFrom(run);
  for (const { stopped, numTokens } of (await told).samples) {
    expect(numTokens).toBeLessThanOrEqual(limit);
    expect(stopped || numTokens === limit).toBe(true);
    if (limit === 1) expect(stopped).toBe(false);
  }
});

test('an answer ends before a stop text, and so does what the row says', async () => {
  const answers = async (options: Pick<SftOptions, 'evalSampleStop'>) => {
    const run = sftTrainer(
      { ...loaded, trainDataset: openDataset([heldout]), evalDataset: openDataset([heldout]) },
      { maxLength: 256, maxSteps: 1, learningRate: 0, evalStrategy: 'steps', evalSamples: 2, ...options },
    );
    const told = firstValueFrom(run.samples);
    await lastValueFrom(run);
    return (await told).samples;
  };
  const whole = await answers({});
  const [first] = whole;
  // In the middle of what the model says; one that the row says, and one that nobody does.
  const stop = first?.text.slice(4, 7) ?? '';
  expect(stop).toHaveLength(3);
  const cut = await answers({ evalSampleStop: ['never said', stop, '"item"'] });
  for (const [i, { text, expected, stopped, numTokens }] of cut.entries()) {
    expect(text).toBe(whole[i]?.text.split(stop)[0]);
    expect(expected).toBe(whole[i]?.expected.split('"item"')[0]);
    expect(stopped).toBe(true);
    expect(numTokens).toBeLessThanOrEqual(whole[i]?.numTokens ?? 0);
  }
  expect(cut[0]?.numTokens).toBeLessThan(first?.numTokens ?? 0);
  // A text that both begin with leaves nothing to tell them apart by.
  const none = await answers({ evalSampleStop: [whole[0]?.text[0] ?? '', whole[0]?.expected[0] ?? ''] });
  expect(none[0]).toMatchObject({ text: '', expected: '', exact: true, stopped: true, numTokens: 1 });
  const rows = [{ input_ids: [1, 2, 3, 4] }];
  const unread = sftTrainer({ model: loaded.model, trainDataset: rows }, { evalSampleStop: ['x'], maxSteps: 1 });
  await expect(lastValueFrom(unread)).rejects.toMatchObject({ code: 'E_NO_TOKENIZER' });
});
