/** A run of a tiny model over six short rows, and what tests ask of it. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { tinyModel } from '../../property-tests/train/tiny.js';
import { isFatal, render } from '../../src/errors.js';
import type { CausalLM } from '../../src/model/model.js';
import type { SftOptions } from '../../src/train/options/config.js';
import type { RunEvent, SftSetup } from '../../src/train/run/run.js';
import { sftTrainer } from '../../src/train/trainer.js';
import type { SftRun } from '../../src/train/trainer.js';

const dirs: Array<string> = [];
export const temporary = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-trainer-'));
  dirs.push(dir);
  return dir;
};
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

export const rows = Array.from({ length: 6 }, (_, i) => ({
  input_ids: Array.from({ length: 4 + i }, (__, t) => (7 * i + 3 * t) % 40),
}));

export const started = async (
  options: SftOptions,
  setup: Partial<SftSetup> = {},
): Promise<{ readonly run: SftRun; readonly model: CausalLM; readonly events: Array<RunEvent> }> => {
  const model = await tinyModel();
  const run = sftTrainer(
    { model, trainDataset: rows, ...setup },
    { perDeviceTrainBatchSize: 2, maxSteps: 6, learningRate: 0.01, ...options },
  );
  const events: Array<RunEvent> = [];
  run.events.subscribe((event) => events.push(event));
  return { run, model, events };
};

export const kinds = (events: ReadonlyArray<RunEvent>): ReadonlyArray<string> =>
  events.map((event) =>
    event.kind === 'step' ? String(event.step.step) : event.kind === 'warning' ? event.warning.code : event.kind,
  );

export const linesOf = (path: string): ReadonlyArray<Readonly<Record<string, number>>> =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Readonly<Record<string, number>>);

export const failure = async (run: SftRun): Promise<{ readonly code: string; readonly text: string }> => {
  try {
    await lastValueFrom(run.pipe(toArray()));
  } catch (error) {
    if (isFatal(error)) return { code: error.code, text: render(error) };
    throw error;
  }
  throw new Error('the run did not fail');
};
