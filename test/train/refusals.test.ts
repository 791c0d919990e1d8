/** What a run tells of rows that it refused. */
import { beforeAll, expect, test } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { render } from '../../src/errors.js';
import { makeRejects } from '../../src/streams/rejects.js';
import type { SftOptions } from '../../src/train/options/config.js';
import type { RunEvent, SftSetup } from '../../src/train/run/run.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { disposeModel, tinyModel } from '../../property-tests/train/tiny.js';
import { startUnderTest } from '../engine.js';

beforeAll(() => startUnderTest());

const good = [1, 2, 3, 4].map((i) => ({ input_ids: [i, i + 1, i + 2] }));
const untrained = { input_ids: [1, 2, 3], labels: [-100, -100, -100] };
const wrong = { input_ids: 'no ids' };
const rows = [good[0], wrong, good[1], untrained, good[2], untrained, good[3]];

const eventsOf = async (options: SftOptions, setup: Partial<SftSetup> = {}): Promise<ReadonlyArray<RunEvent>> => {
  const model = await tinyModel();
  const run = sftTrainer(
    { model, trainDataset: rows, ...setup },
    { maxLength: 16, maxRejectRate: 1, perDeviceTrainBatchSize: 1, maxSteps: 4, ...options },
  );
  const events: Array<RunEvent> = [];
  run.events.subscribe((event) => events.push(event));
  await lastValueFrom(run.pipe(toArray()));
  disposeModel(model);
  return events;
};

const refusedIn = (events: ReadonlyArray<RunEvent>): ReadonlyArray<string> =>
  events.flatMap((event) =>
    event.kind === 'warning' && event.warning.code === 'W_ROWS_REFUSED' ? [render(event.warning)] : [],
  );

const summaryOf = (events: ReadonlyArray<RunEvent>): unknown =>
  events.flatMap((event) => (event.kind === 'finished' ? [event.summary] : []))[0];

test('one warning at the end tells how many rows were refused, and why', async () => {
  const events = await eventsOf({});
  expect(refusedIn(events)).toEqual([
    expect.stringMatching(
      /^refused and left out: 3 of 7 rows of trainDataset \(2 E_NO_LABELS, 1 E_\w+\) \[W_ROWS_REFUSED\]\n {2}actual: {3}the first: .*input_ids/,
    ),
  ]);
  expect(events.slice(-2).map(({ kind }) => kind)).toEqual(['warning', 'finished']);
  expect(summaryOf(events)).toMatchObject({ rejected: 3, rejectedByReason: { E_NO_LABELS: 2 } });
});

test('evaluation sets are told beside', async () => {
  const sets = { evalDataset: { easy: [...good, untrained], hard: good } };
  const events = await eventsOf({ evalOnStart: true }, sets);
  expect(refusedIn(events)[0]).toContain('rows of trainDataset (2 E_NO_LABELS, 1 E_');
  expect(refusedIn(events)[0]).toContain('; 1 of 5 rows of evalDataset.easy (1 E_NO_LABELS) [');
  expect(summaryOf(events)).toMatchObject({ rejected: 4, rejectedByReason: { E_NO_LABELS: 3 } });
});

test('streamed rows are counted over one pass, however many there are', async () => {
  const events = await eventsOf({ streaming: true, maxSteps: 10 });
  expect(refusedIn(events)[0]).toMatch(/^refused and left out: 3 rows of trainDataset \(2 E_NO_LABELS, 1 E_\w+\)/);
  expect(summaryOf(events)).toMatchObject({ rejected: 3 });
});

test('who has a side door of their own is told by it alone, and each set counts its own', async () => {
  const rejects = makeRejects();
  const events = await eventsOf({ evalOnStart: true }, { rejects, evalDataset: [...good, untrained] });
  expect(refusedIn(events)).toEqual([]);
  expect(rejects.counts().rejected).toBe(4);
  expect(summaryOf(events)).toMatchObject({ rejected: 4 });
  const [begun] = events.flatMap((event) => (event.kind === 'begun' ? [event.begun] : []));
  expect(begun?.trainSummary).toMatchObject({ rejected: 3, fullyMasked: 2 });
  expect(begun?.evalSummaries['']).toMatchObject({ rejected: 1, fullyMasked: 1 });
});

test('where no row is refused nothing is said', async () => {
  const events = await eventsOf({}, { trainDataset: good });
  expect(refusedIn(events)).toEqual([]);
  expect(summaryOf(events)).toMatchObject({ rejected: 0, rejectedByReason: {} });
});
