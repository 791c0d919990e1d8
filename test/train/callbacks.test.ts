/** Callbacks and their flags, in the order of transformers' Trainer (reference/callback_order.py). */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { camel } from '../../src/cli/names.js';
import type { SftOptions } from '../../src/train/options/config.js';
import type { TrainerControl } from '../../src/train/run/controls.js';
import { nextEpoch } from '../../src/train/run/epochs.js';
import type { RunCallback, RunEvent, SftSetup } from '../../src/train/run/run.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { disposeModel, tinyModel } from '../../property-tests/train/tiny.js';
import { startUnderTest } from '../engine.js';

beforeAll(async () => {
  await startUnderTest();
});

const dirs: Array<string> = [];
const temporary = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-callbacks-'));
  dirs.push(dir);
  return dir;
};
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

const rows = Array.from({ length: 6 }, (_, i) => ({ input_ids: [i, i + 1, i + 2] }));

/** An event as the golden file has it; what transformers has no event for is left out. */
const toldAs = (event: RunEvent, step: number): ReadonlyArray<string> => {
  switch (event.kind) {
    case 'step':
      return [`step ${event.step.step}`];
    case 'epochBegun':
    case 'epochEnded':
      return [`${event.kind} ${event.epoch.index}`];
    case 'log':
    case 'evaluation':
    case 'checkpoint':
      return [`${event.kind} ${step}`];
    default:
      return [];
  }
};

/** What a run tells its callback, in order. `flags` by `step:N` or `epoch:N` (its end, from 0). */
const told = async (
  options: SftOptions,
  flags: Readonly<Record<string, Partial<TrainerControl>>> = {},
  setup: Partial<SftSetup> = {},
): Promise<ReadonlyArray<string>> => {
  const model = await tinyModel();
  const events: Array<string> = [];
  let step = 0;
  const callback: RunCallback = (event) => {
    if (event.kind === 'step') step = event.step.step;
    if (event.kind === 'warning') events.push(event.warning.code);
    events.push(...toldAs(event, step));
    if (event.kind === 'step') return flags[`step:${step}`];
    if (event.kind === 'epochEnded') return flags[`epoch:${event.epoch.index}`];
    return undefined;
  };
  const run = sftTrainer(
    { model, trainDataset: rows, callbacks: [callback], ...setup },
    { perDeviceTrainBatchSize: 2, numTrainEpochs: 2, maxLength: 8, outputDir: temporary(), ...options },
  );
  await lastValueFrom(run.pipe(toArray()));
  disposeModel(model);
  return events;
};

interface Case {
  readonly options: Readonly<Record<string, unknown>>;
  readonly flags: Readonly<Record<string, Readonly<Record<string, boolean>>>>;
  readonly events: ReadonlyArray<string>;
}

const golden = JSON.parse(readFileSync(new URL('../golden/callbackOrder.json', import.meta.url), 'utf8')) as {
  readonly cases: ReadonlyArray<Case>;
};

const camelled = <A>(record: Readonly<Record<string, A>>): Readonly<Record<string, A>> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [camel(key), value]));

/** A checkpoint is the last thing of its update here, also where an epoch ends with it. */
const checkpointsLast = (events: ReadonlyArray<string>): ReadonlyArray<string> => {
  const last: Array<string> = [];
  for (const event of events) {
    const before = last[last.length - 1] ?? '';
    if (event.startsWith('epochEnded') && before.startsWith('checkpoint')) last.splice(-1, 1, event, before);
    else last.push(event);
  }
  return last;
};

describe('the order of events, and what flags do, are those of transformers', () => {
  test.each(golden.cases.map((one) => [JSON.stringify([one.options, one.flags]), one] as const))(
    '%s',
    async (_, one) => {
      const flags = Object.fromEntries(Object.entries(one.flags).map(([key, value]) => [key, camelled(value)]));
      const options = camelled(one.options) as SftOptions;
      const events = await told(options, flags, {
        evalDataset: rows.slice(0, 2),
      });
      expect(events).toEqual(checkpointsLast(one.events));
    },
  );
});

describe('flags', () => {
  test('an input asked for is not called off by the next update', async () => {
    const callbacks: ReadonlyArray<RunCallback> = [
      (event, inputs) => (event.kind === 'log' && event.log.step === 1 ? inputs.evaluateNow() : undefined),
    ];
    const events: Array<string> = [];
    let step = 0;
    const watch: RunCallback = (event) => {
      if (event.kind === 'step') step = event.step.step;
      events.push(...toldAs(event, step));
    };
    await told(
      { maxSteps: 2, saveStrategy: 'no' },
      {},
      { callbacks: [...callbacks, watch], evalDataset: rows.slice(0, 2) },
    );
    expect(events).toEqual([...['epochBegun 0', 'step 1', 'log 1', 'evaluation 1', 'step 2', 'log 2', 'epochEnded 0']]);
  });

  test('what is asked for is not another one’s to call off', async () => {
    const asking: RunCallback = (event) =>
      event.kind === 'step' && event.step.step === 2 ? { shouldSave: true } : undefined;
    const never: RunCallback = () => ({ shouldSave: false });
    const written: Array<number> = [];
    const watch: RunCallback = (event) => {
      if (event.kind === 'checkpoint') written.push(event.checkpoint.step);
    };
    await told({ maxSteps: 3, saveSteps: 1 }, {}, { callbacks: [asking, never, watch] });
    expect(written).toEqual([2]);
  });

  test('what is called off is called off for one update', async () => {
    const logged: Array<number> = [];
    const never: RunCallback = (event) => {
      if (event.kind !== 'log') return undefined;
      logged.push(event.log.step);
      return { shouldLog: false };
    };
    await told({ maxSteps: 3, saveStrategy: 'no' }, {}, { callbacks: [never] });
    expect(logged).toEqual([1, 2, 3]);
  });

  test('an epoch that is ended leaves its rows unread, and the next begins anew', async () => {
    const read: Array<number> = [];
    const model = await tinyModel();
    const run = sftTrainer(
      { model, trainDataset: Array.from({ length: 9 }, (_, i) => ({ input_ids: [i, i + 1, i + 2] })) },
      { perDeviceTrainBatchSize: 1, gradientAccumulationSteps: 2, numTrainEpochs: 3, maxLength: 8, shuffle: false },
    );
    const epochs: Array<readonly [string, number, number]> = [];
    run.events.subscribe((event) => {
      if (event.kind === 'epochBegun' || event.kind === 'epochEnded') {
        epochs.push([event.kind, event.epoch.index, event.epoch.step]);
      }
    });
    run.subscribe(({ step, epoch }) => {
      read.push(epoch * 9);
      if (step === 2) run.stopEpoch();
    });
    await lastValueFrom(run);
    disposeModel(model);
    // Asked for after the second update, the epoch ends with the third; micro-batch 9 makes an update of its own.
    expect(read.map(Math.round)).toEqual([2, 4, 6, 10, 12, 14, 16, 18, 20, 22, 24, 26]);
    expect(epochs.slice(0, 3)).toEqual([
      ['epochBegun', 0, 0],
      ['epochEnded', 0, 3],
      ['epochBegun', 1, 3],
    ]);
  });

  test('a run with an epoch cut, stopped and resumed, is the run that never stopped', async () => {
    const flags = { 'step:2': { shouldEpochStop: true } };
    const options = { numTrainEpochs: 3, saveStrategy: 'no', loggingStrategy: 'epoch' } as const;
    const hashes = (dir: string): Readonly<Record<string, string>> =>
      Object.fromEntries(
        readdirSync(dir, { withFileTypes: true })
          .filter((entry) => entry.isFile() && entry.name !== 'README.md')
          .map(({ name }) => [
            name,
            createHash('sha256')
              .update(readFileSync(join(dir, name)))
              .digest('hex'),
          ]),
      );
    const whole = temporary();
    await told({ ...options, outputDir: whole }, flags);
    for (const stopAt of [1, 2, 3, 5]) {
      const parts = temporary();
      const stopping: RunCallback = (event, inputs) => {
        if (event.kind === 'step' && event.step.step === stopAt) inputs.stop({ checkpoint: true });
        return event.kind === 'step' ? flags[`step:${event.step.step}` as 'step:2'] : undefined;
      };
      await told({ ...options, outputDir: parts }, {}, { callbacks: [stopping] });
      await told({ ...options, outputDir: parts, resumeFromCheckpoint: true }, flags);
      expect(hashes(parts)).toEqual(hashes(whole));
    }
  });

  test('a streamed dataset has no epoch to end: a warning says so, and the run goes on', async () => {
    const events = await told(
      { streaming: true, maxSteps: 3, saveStrategy: 'no', loggingStrategy: 'no' },
      { 'step:1': { shouldEpochStop: true } },
    );
    expect(events).toEqual(['epochBegun 0', 'step 1', 'W_EPOCH_STREAMED', 'step 2', 'step 3', 'epochEnded 0']);
  });

  test('where the next epoch begins', () => {
    expect([0, 1, 9, 10].map((at) => nextEpoch(at, 9))).toEqual([0, 9, 9, 18]);
  });
});

describe('the end of a run that is no multiple', () => {
  const ending = { maxSteps: 5, loggingSteps: 2, evalSteps: 2, saveSteps: 2, numTrainEpochs: 3 } as const;

  test('by steps: nothing more than the strategies say, as transformers 4.36', async () => {
    const events = await told(ending, {}, { evalDataset: rows.slice(0, 2) });
    expect(events.filter((event) => !event.startsWith('epoch'))).toEqual([
      ...['step 1', 'step 2', 'log 2', 'evaluation 2', 'checkpoint 2', 'step 3'],
      ...['step 4', 'log 4', 'evaluation 4', 'checkpoint 4', 'step 5'],
    ]);
  });

  test('by epochs: an epoch that is left unfinished ends with the run', async () => {
    const by = { loggingStrategy: 'epoch', evalStrategy: 'epoch', saveStrategy: 'epoch', maxSteps: 5 } as const;
    const events = await told(by, {}, { evalDataset: rows.slice(0, 2) });
    expect(events.slice(-5)).toEqual(['step 5', 'epochEnded 1', 'log 5', 'evaluation 5', 'checkpoint 5']);
  });

  test('the last evaluation of later versions is asked for with a flag', async () => {
    const last: RunCallback = (event) =>
      event.kind === 'step' && event.step.step === 5 ? { shouldEvaluate: true } : undefined;
    const evaluated: Array<number> = [];
    const watch: RunCallback = (event) => {
      if (event.kind === 'evaluation') evaluated.push(event.evaluation.step);
    };
    await told(ending, {}, { evalDataset: rows.slice(0, 2), callbacks: [last, watch] });
    expect(evaluated).toEqual([2, 4, 5]);
  });
});
