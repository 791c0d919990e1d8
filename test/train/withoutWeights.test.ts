/** What a run tells can be written as JSON, a line an event: for a log or dashboard of one's own. */
import { beforeAll, expect, test } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { chooseEngine } from '../../src/train/engine.js';
import { load } from '../../src/train/loading/load.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { base } from '../cli/rxtune.js';

beforeAll(async () => {
  await orThrow(chooseEngine({ engine: 'cpu' }));
});

test('events as JSON hold no weights; the event itself has the model', async () => {
  const { model } = await orThrow(load(base));
  const rows = [{ input_ids: [5, 6, 7, 8] }];
  const run = sftTrainer(
    { model, trainDataset: rows, evalDataset: rows, peftConfig: { r: 2 } },
    { maxLength: 8, maxSteps: 1, evalSteps: 1 },
  );
  const told = lastValueFrom(run.events.pipe(toArray()));
  await lastValueFrom(run);
  const lines = (await told).map((event) => JSON.stringify(event));
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(20_000);
  const begun = (await told).find((event) => event.kind === 'begun');
  expect(Object.keys(begun?.begun.model.weights ?? {}).length).toBeGreaterThan(10);
  const line: unknown = JSON.parse(lines[0] ?? '');
  expect(line).not.toHaveProperty('begun.model.weights');
  expect(line).toMatchObject({
    kind: 'begun',
    begun: {
      config: { maxLength: 8 },
      plan: { totalSteps: 1 },
      model: { config: { modelType: 'llama' }, lora: { r: 2 } },
    },
  });
});
