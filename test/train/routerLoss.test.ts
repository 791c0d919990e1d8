/**
 * Whose coefficient the load-balancing loss counts with: the option's, or config.json's where TRL 0.7.10 is repeated; and that a
 * checkpoint holds it.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { orThrow } from '../../src/errors.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { loadModel } from '../../src/train/loading/load.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import { startUnderTest } from '../engine.js';
import { temporaryDirectory } from '../formats/temporary.js';

const root = resolve(import.meta.dirname, '..', '..');
const inputIds = [5, 7, 11, 3, 2, 13, 8, 1];

const copies = temporaryDirectory();
let copied = 0;
/** The golden model; with a coefficient a copy of it whose config.json has that one. */
const directoryOf = (name: string, auxLossCoef?: number): string => {
  const dir = resolve(root, 'test', 'golden', 'models', name);
  if (auxLossCoef === undefined) return dir;
  const copy = join(copies, String(copied++));
  cpSync(dir, copy, { recursive: true });
  const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as object;
  writeFileSync(join(copy, 'config.json'), JSON.stringify({ ...config, router_aux_loss_coef: auxLossCoef }));
  return copy;
};

/** Loss in the first log row, and the part that is balancing, its coefficient left out. */
const firstRow = async (name: string, options: SftOptions, auxLossCoef?: number) => {
  const { model } = await orThrow(loadModel(directoryOf(name, auxLossCoef)));
  const tokenizer = await orThrow(loadTokenizer(resolve(root, 'examples', 'quickstart', 'base')));
  const trainDataset = [{ input_ids: inputIds, labels: inputIds }];
  const run = sftTrainer({ model, tokenizer, trainDataset }, { maxSteps: 1, loggingSteps: 1, ...options });
  const seen: Array<readonly [number, number | undefined]> = [];
  run.logs.subscribe(({ loss, auxLoss }) => seen.push([loss, auxLoss]));
  await orThrow(completed(run));
  const [loss = NaN, auxLoss] = seen[0] ?? [];
  return { loss, auxLoss };
};

beforeAll(async () => {
  await startUnderTest();
});

// Of these two only the second's config.json says output_router_logits.
test.each([
  ['mixtral', false],
  ['mixtral_balanced', true],
] as const)('%s', async (name, asked) => {
  const without = await firstRow(name, { routerAuxLossCoef: 0 });
  expect(without.auxLoss).toBeUndefined();
  const usual = await firstRow(name, {});
  expect(usual.auxLoss).toBeGreaterThan(0);
  expect(usual.loss).toBeCloseTo(without.loss + 0.001 * (usual.auxLoss ?? NaN), 5);
  const parity = await firstRow(name, { parity: 'trl-0.7.10' });
  expect(parity.auxLoss !== undefined).toBe(asked);
});

test('under parity the coefficient is that of config.json', async () => {
  const { router_aux_loss_coef: own } = JSON.parse(
    readFileSync(join(directoryOf('mixtral_balanced'), 'config.json'), 'utf8'),
  ) as { readonly router_aux_loss_coef: number };
  const parity = { parity: 'trl-0.7.10' } as const;
  const [given, more] = [
    await firstRow('mixtral_balanced', parity),
    await firstRow('mixtral_balanced', parity, own + 1.5),
  ];
  expect(more.auxLoss).toBe(given.auxLoss);
  expect(more.loss - given.loss).toBeCloseTo(1.5 * (given.auxLoss ?? NaN), 5);
  const none = await firstRow('mixtral_balanced', parity, 0);
  expect(none.auxLoss).toBeUndefined();
  expect(given.loss - none.loss).toBeCloseTo(own * (given.auxLoss ?? NaN), 5);
});

test('a run that goes on in the middle of a log row counts what was balanced before', async () => {
  const outputDir = join(copies, 'run');
  const options = { maxSteps: 2, loggingSteps: 2, outputDir } as const;
  const through = await firstRow('mixtral', { ...options, saveSteps: 1 });
  const checkpoint = join(outputDir, 'checkpoint-1');
  const { interval } = JSON.parse(readFileSync(join(checkpoint, 'trainer_state.json'), 'utf8')) as {
    readonly interval: Readonly<Record<string, number>>;
  };
  expect(interval['aux_loss']).toBeGreaterThan(0);
  expect(Object.keys(interval).filter((name) => /[A-Z]/.test(name))).toEqual([]);
  expect(through.auxLoss).toBeGreaterThan(0);
  const resumed = await firstRow('mixtral', { ...options, resumeFromCheckpoint: checkpoint });
  expect(resumed.auxLoss).toBeCloseTo(through.auxLoss ?? NaN, 5);
});

test('an evaluation tells it as the log does, where it is a part of the loss', async () => {
  const { model } = await orThrow(loadModel(directoryOf('mixtral')));
  const data = [{ input_ids: inputIds, labels: inputIds }];
  const told = async (routerAuxLossCoef: number) => {
    const run = sftTrainer(
      { model, trainDataset: data, evalDataset: data },
      { maxSteps: 1, learningRate: 0, evalOnStart: true, routerAuxLossCoef },
    );
    const seen: Array<Readonly<Record<string, number>>> = [];
    run.evaluations.subscribe(({ metrics }) => seen.push(metrics));
    run.logs.subscribe(({ auxLoss = NaN }) => seen.push({ auxLoss }));
    await orThrow(completed(run));
    return seen;
  };
  const [evaluation, log] = await told(0.1);
  expect(evaluation?.['eval_aux_loss']).toBeCloseTo(log?.['auxLoss'] ?? NaN, 5);
  const [without] = await told(0);
  expect(without).not.toHaveProperty('eval_aux_loss');
});
