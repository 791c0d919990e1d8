import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { orThrow } from '../../src/errors.js';
import { runLogs, truncateLog } from '../../src/train/logging/log.js';
import { addToInterval, emptyInterval, endsEpoch, isDue, rowOf } from '../../src/train/logging/metrics.js';

const dir = mkdtempSync(join(tmpdir(), 'rxtune-log-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test('a log is cut back to a step, and a line that a crash cut short goes with it', async () => {
  const file = join(dir, 'cut.jsonl');
  writeFileSync(file, '{"step":1}\n{"step":2}\n{"step":3}\n{"ste');
  await orThrow(truncateLog(file, 2));
  expect(readFileSync(file, 'utf8')).toBe('{"step":1}\n{"step":2}\n');
  writeFileSync(file, '{"step":0}\n{"step":1}\n');
  await orThrow(truncateLog(file, 0));
  expect(readFileSync(file, 'utf8')).toBe('{"step":0}\n');
  await orThrow(truncateLog(file, -1));
  expect(existsSync(file)).toBe(false);
  await orThrow(truncateLog(file, 7));
  expect(existsSync(file)).toBe(false);
});

test('lines are added whole, to the file they belong to', async () => {
  const logs = runLogs(dir);
  await orThrow(logs.write('log', { step: 1 }));
  await orThrow(logs.write('evaluations', { step: 1, eval_loss: 2 }));
  await orThrow(logs.sync());
  await orThrow(logs.write('log', { step: 2 }));
  await logs.close();
  expect(readFileSync(join(dir, 'log.jsonl'), 'utf8')).toBe('{"step":1}\n{"step":2}\n');
  expect(readFileSync(join(dir, 'evaluations.jsonl'), 'utf8')).toBe('{"step":1,"eval_loss":2}\n');
  await orThrow(logs.cut(1));
  expect(readFileSync(join(dir, 'log.jsonl'), 'utf8')).toBe('{"step":1}\n');
});

test('without an output directory nothing is written', async () => {
  const logs = runLogs(undefined);
  await orThrow(logs.write('log', { step: 1 }));
  await orThrow(logs.sync());
  await orThrow(logs.cut(0));
  await logs.close();
});

test('an interval weighs accuracy by tokens, losses by updates, and leaves out what was skipped', () => {
  const step = { step: 1, epoch: 0.5, learningRate: 1, gradNorm: 2, numTokens: 9 };
  const first = { ...step, loss: 1, numItems: 1, meanTokenAccuracy: 1, entropy: 4 };
  const second = { ...step, step: 2, loss: 3, numItems: 3, meanTokenAccuracy: 0, entropy: 0 };
  const skipped = { ...step, step: 3, loss: NaN, numItems: 5, meanTokenAccuracy: 1, entropy: 1 };
  const interval = [first, second, skipped, { ...first, gradNorm: Infinity }].reduce(addToInterval, emptyInterval);
  expect(rowOf(interval, skipped, 27)).toEqual({
    step: 3,
    epoch: 0.5,
    loss: 2,
    gradNorm: 2,
    learningRate: 1,
    numTokens: 27,
    meanTokenAccuracy: 0.25,
    entropy: 1,
  });
});

test('what is due when', () => {
  expect([1, 2, 3, 4].map((step) => isDue(step, 2))).toEqual([false, true, false, true]);
  expect(isDue(4, 0)).toBe(false);
  const plan = { microBatchesPerEpoch: 5 };
  expect([endsEpoch(plan, 2, 4), endsEpoch(plan, 4, 6), endsEpoch(plan, 3, 5)]).toEqual([false, true, true]);
});
