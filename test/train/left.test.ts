/** Runs that are left, at any moment, and runs that cannot begin: nothing more is told or written, and nothing stays. */
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { memory } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { Subscription } from 'rxjs';
import { disposeModel, runOf, stepsOf, tinyModel } from '../../property-tests/train/tiny.js';
import { batchRows } from '../../src/operators/batch.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { adamw } from '../../src/train/optimizers/adamw.js';
import { chain } from '../../src/train/optimizers/optimizer.js';
import type { RunEvent, SftSetup } from '../../src/train/run/run.js';
import { disposeState, initState } from '../../src/train/step/state.js';
import { trainStep } from '../../src/train/step/step.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import { startUnderTest } from '../engine.js';

beforeAll(async () => {
  await startUnderTest();
});

const dir = mkdtempSync(join(tmpdir(), 'rxtune-left-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let made = 0;
const fresh = (): string => join(dir, `run-${made++}`);

const rows = Array.from({ length: 8 }, (_, i) => ({
  input_ids: Array.from({ length: 4 + i }, (__, t) => (7 * i + 3 * t) % 40),
}));

const options: SftOptions = {
  perDeviceTrainBatchSize: 1,
  gradientAccumulationSteps: 2,
  maxSteps: 4,
  maxLength: 16,
  loggingSteps: 1,
  evalSteps: 1,
  saveSteps: 1,
};

const turn = (): Promise<void> => new Promise((go) => setImmediate(go));

/** Until it has been so for a while; where it never is, whoever asked finds out. */
const until = async (isSo: () => boolean, whole = 1): Promise<void> => {
  for (let i = 0, since = 0; i < 600 && since < whole; i++) {
    since = isSo() ? since + 1 : 0;
    await new Promise((go) => setTimeout(go, 10));
  }
};

/** Files that the process has open in a directory, where the system tells. */
const openIn = (place: string): ReadonlyArray<string> =>
  existsSync('/proc/self/fd')
    ? readdirSync('/proc/self/fd').flatMap((fd) => {
        try {
          const path = readlinkSync(`/proc/self/fd/${fd}`);
          return path.startsWith(place) ? [path] : [];
        } catch {
          return [];
        }
      })
    : [];

const filesIn = (place: string): ReadonlyArray<string> =>
  existsSync(place) ? readdirSync(place, { recursive: true }).map(String).toSorted() : [];

const checkpointsIn = (place: string): ReadonlyArray<string> =>
  filesIn(place).filter((file) => /^checkpoint-\d+$/.test(file));

/** A run that is left when `leave` says so of what was told so far: what was told and written after that, and what is still held. */
const afterLeaving = async (
  more: SftOptions,
  leave: (told: ReadonlyArray<RunEvent>, go: () => void) => void,
): Promise<Readonly<Record<string, unknown>>> => {
  const model = await tinyModel();
  const outputDir = fresh();
  const before = memory().numTensors;
  const told: Array<RunEvent> = [];
  const late: Array<string> = [];
  const subscription = new Subscription();
  let whole: ReadonlyArray<string> | undefined;
  const go = (): void => {
    if (whole !== undefined) return;
    whole = checkpointsIn(outputDir);
    subscription.unsubscribe();
  };
  const callback = (event: RunEvent): void => {
    if (whole !== undefined) late.push(event.kind);
    told.push(event);
    leave(told, go);
  };
  const run = sftTrainer(
    { model, trainDataset: rows, evalDataset: rows.slice(0, 3), callbacks: [callback] },
    { ...options, reportTo: ['tensorboard'], outputDir, ...more },
  );
  subscription.add(run.subscribe());
  leave(told, go);
  await until(() => whole !== undefined);
  // What was running runs out.
  const half = (): ReadonlyArray<string> => filesIn(outputDir).filter((file) => file.endsWith('.tmp'));
  await until(() => memory().numTensors === before && openIn(outputDir).length + half().length === 0, 20);
  const left = {
    late,
    checkpoints: checkpointsIn(outputDir).filter((one) => whole?.includes(one) === false),
    half: half(),
    open: openIn(outputDir),
    tensors: memory().numTensors - before,
  };
  disposeModel(model);
  return left;
};

const nothing = { late: [], checkpoints: [], half: [], open: [], tensors: 0 };

describe('a run that is left', () => {
  // begun, epochBegun, then of each update step, log, evaluation, checkpoint; at the end epochEnded before the checkpoint, and finished.
  test.each([
    ['adamw_torch', 0],
    ['adamw_torch', 2],
    ['adamw_torch', 3],
    ['adamw_torch', 4],
    ['adamw_torch', 5],
    ['adamw_torch', 12],
    ['adamw_torch', 16],
    ['adamw_torch', 17],
    // Nothing that it holds would keep an update from being made.
    ['sgd', 1],
    ['sgd', 2],
    ['sgd', 3],
    ['sgd', 4],
    ['sgd', 17],
  ] as const)('tells and writes no more, and keeps nothing (%s, at event %s)', async (optim, at) => {
    expect(await afterLeaving({ optim }, (told, go) => (told.length === at + 1 ? go() : undefined))).toEqual(nothing);
  });

  test.each([0, 1, 2, 3, 5, 8])('while a checkpoint is being written (%s turns after its update)', async (turns) => {
    const left = await afterLeaving({}, (told, go) => {
      if (told.at(-1)?.kind !== 'evaluation' || told.length > 6) return;
      void (async () => {
        for (let i = 0; i < turns; i++) await turn();
        go();
      })();
    });
    expect(left).toEqual(nothing);
  });

  test.each([0, 1, 2, 4, 8, 16])('while it begins (%s turns after the call)', async (turns) => {
    const left = await afterLeaving({}, (told, go) => {
      if (told.length > 0) return;
      void (async () => {
        for (let i = 0; i < turns; i++) await turn();
        go();
      })();
    });
    expect(left).toEqual(nothing);
  });
});

describe('a run that cannot begin keeps nothing', () => {
  const alone = { evalSteps: undefined, saveStrategy: 'no' } as const;
  const failing = async (setup: Partial<SftSetup>, more: SftOptions = {}): Promise<unknown> => {
    const before = memory().numTensors;
    const model = await tinyModel();
    const run = sftTrainer({ model, trainDataset: rows, ...setup }, { ...options, ...alone, ...more });
    const ended = await completed(run)();
    disposeModel(model);
    return [E.isLeft(ended) ? ended.left.code : 'done', memory().numTensors - before];
  };

  test('whose checkpoint is of another model', async () => {
    const outputDir = fresh();
    const model = await tinyModel();
    await stepsOf(runOf(model, rows, { ...options, evalSteps: undefined, outputDir, r: 2, maxSteps: 2 }));
    disposeModel(model);
    expect(await failing({}, { outputDir, resumeFromCheckpoint: true, r: 4 })).toEqual(['E_CHECKPOINT_MISFIT', 0]);
  });

  test('whose model was loaded for it', async () => {
    const model = resolve(import.meta.dirname, '..', 'golden', 'models', 'llama');
    const ofAnother = [{ input_ids: [1, 2], labels: [1] }];
    expect(await failing({ model, trainDataset: ofAnother })).toEqual(['E_NO_ROWS', 0]);
  });

  test('whose optimizer or callback throws, which its directory tells', async () => {
    const optimizer = (): never => {
      throw new Error('no such optimizer');
    };
    expect(await failing({ optimizer }, { r: 2 })).toEqual(['E_CALLBACK', 0]);
    const outputDir = fresh();
    const callbacks = [
      ({ kind }: RunEvent): void => {
        if (kind === 'begun') throw new Error('no dashboard');
      },
    ];
    expect(await failing({ callbacks }, { outputDir, r: 2 })).toEqual(['E_CALLBACK', 0]);
    expect(filesIn(outputDir)).toContain('error.json');
  });
});

test('an update that fails in its second pass keeps nothing of the first', async () => {
  const model = await tinyModel();
  const state = initState({ model, optimizer: chain(adamw({ learningRate: 1e-3 })) });
  const before = memory().numTensors;
  const batchOf = (...ids: ReadonlyArray<number>) =>
    batchRows()([{ inputIds: Int32Array.from(ids), labels: Int32Array.from(ids), seqLengths: [ids.length] }]);
  const ended = await trainStep(state)([batchOf(1, 2, 3), batchOf(1, 1e6, 3)])();
  expect(ended).toMatchObject({ left: { code: 'E_STEP' } });
  expect(memory().numTensors).toBe(before);
  disposeState(state);
  disposeModel(model);
});
