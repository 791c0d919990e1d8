/** Whose coefficient the load-balancing loss counts with: the option's, or config.json's where TRL 0.7.10 is repeated. */
import { resolve } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { orThrow } from '../../src/errors.js';
import { loadTokenizer } from '../../src/formats/loadTokenizer.js';
import type { SftOptions } from '../../src/train/config.js';
import { loadModel } from '../../src/train/load.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import { startUnderTest } from '../engine.js';

const root = resolve(import.meta.dirname, '..', '..');
const inputIds = [5, 7, 11, 3, 2, 13, 8, 1];

/** Loss of the first step, and the part that is balancing, its coefficient left out. */
const firstStep = async (name: string, options: SftOptions) => {
  const { model } = await orThrow(loadModel(resolve(root, 'test', 'golden', 'models', name)));
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
  const without = await firstStep(name, { routerAuxLossCoef: 0 });
  expect(without.auxLoss).toBeUndefined();
  const usual = await firstStep(name, {});
  expect(usual.auxLoss).toBeGreaterThan(0);
  expect(usual.loss).toBeCloseTo(without.loss + 0.001 * (usual.auxLoss ?? NaN), 5);
  const parity = await firstStep(name, { parity: 'trl-0.7.10' });
  expect(parity.auxLoss !== undefined).toBe(asked);
});
