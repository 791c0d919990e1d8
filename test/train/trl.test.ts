/** Runs of TRL's SFTTrainer (reference/trl_runs.py) made again from the same rows and options, text to weights. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { orThrow } from '../../src/errors.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { loadModel } from '../../src/train/loading/load.js';
import type { LogRow } from '../../src/train/logging/metrics.js';
import type { Evaluation } from '../../src/train/run/run.js';
import { completed, sftTrainer } from '../../src/train/trainer.js';
import { startUnderTest } from '../engine.js';

const root = resolve(import.meta.dirname, '..', '..');
const golden = resolve(root, 'test', 'golden', 'trl');

interface Step {
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  readonly grad_norm: number;
  readonly learning_rate: number;
  readonly num_tokens: number;
  readonly mean_token_accuracy: number;
  /** Where it is a part of the loss. */
  readonly aux_loss?: number;
}

interface TrlRun {
  readonly name: string;
  /** Directory below test/golden. */
  readonly model: string;
  /** As TRL names them. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly adapter: boolean;
  /** Accumulation as it was before transformers 4.46. */
  readonly meanOfMeans: boolean;
  readonly train: ReadonlyArray<unknown>;
  readonly eval?: ReadonlyArray<unknown>;
  readonly steps: ReadonlyArray<Step>;
  readonly evaluations: ReadonlyArray<{ readonly step: number; readonly eval_loss: number }>;
}

const { runs } = JSON.parse(readFileSync(resolve(golden, 'runs.json'), 'utf8')) as {
  readonly runs: ReadonlyArray<TrlRun>;
};

const camel = (name: string): string => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** The same run here: what it logged and evaluated. */
const again = async ({
  model: directory,
  options,
  adapter,
  meanOfMeans,
  train,
  eval: evalDataset,
}: TrlRun): Promise<{ readonly logs: ReadonlyArray<LogRow>; readonly evaluations: ReadonlyArray<Evaluation> }> => {
  const { model } = await orThrow(
    loadModel(resolve(golden, '..', directory), { adapterDir: adapter ? resolve(golden, 'adapter') : undefined }),
  );
  const tokenizer = await orThrow(loadTokenizer(resolve(root, 'examples', 'quickstart', 'base')));
  const named = Object.fromEntries(Object.entries(options).map(([name, value]) => [camel(name), value])) as SftOptions;
  const run = sftTrainer(
    { model, tokenizer, trainDataset: train, ...(evalDataset === undefined ? {} : { evalDataset }) },
    { ...named, shuffle: false, ...(meanOfMeans ? { lossMean: 'microBatch' } : {}) },
  );
  const logs: Array<LogRow> = [];
  const evaluations: Array<Evaluation> = [];
  run.logs.subscribe((row) => logs.push(row));
  run.evaluations.subscribe((evaluation) => evaluations.push(evaluation));
  await orThrow(completed(run));
  return { logs, evaluations };
};

/** How far they are apart, as a share of the expected one. */
const apart = (actual: number | undefined, expected: number): number =>
  Math.abs((actual ?? NaN) - expected) / Math.max(1e-12, Math.abs(expected));

beforeAll(async () => {
  await startUnderTest();
});

describe('side by side with TRL', () => {
  test.each(runs.map((run) => [run.name, run] as const))('%s', async (_, run) => {
    const { logs, evaluations } = await again(run);
    expect(logs.map(({ step }) => step)).toEqual(run.steps.map(({ step }) => step));
    for (const [i, expected] of run.steps.entries()) {
      const actual = logs[i];
      expect([i, apart(actual?.loss, expected.loss) < 1e-4]).toEqual([i, true]);
      expect([i, apart(actual?.gradNorm, expected.grad_norm) < 1e-4]).toEqual([i, true]);
      expect(actual?.learningRate).toBeCloseTo(expected.learning_rate, 9);
      expect(actual?.epoch).toBeCloseTo(expected.epoch, 3);
      expect(actual?.numTokens).toBe(expected.num_tokens);
      if (expected.aux_loss === undefined) expect(actual?.auxLoss).toBeUndefined();
      else expect([i, apart(actual?.auxLoss, expected.aux_loss) < 1e-3]).toEqual([i, true]);
      // Of several micro-batches TRL takes the mean of their accuracies, rxtune that of their tokens.
      if (run.options['gradient_accumulation_steps'] === undefined) {
        expect(actual?.meanTokenAccuracy).toBeCloseTo(expected.mean_token_accuracy, 4);
      }
    }
    // transformers 5 evaluates once more after the last update, whatever eval_steps says.
    const every = Number(run.options['eval_steps'] ?? 1);
    const due = run.evaluations.filter(({ step }) => step % every === 0);
    expect(evaluations.map(({ step }) => step).filter((step) => step % every === 0)).toEqual(
      due.map(({ step }) => step),
    );
    for (const { step, eval_loss: expected } of due) {
      expect(apart(evaluations.find((one) => one.step === step)?.loss, expected)).toBeLessThan(1e-3);
    }
  });

  test('covers evaluation, an adapter, packing, and an option at a time', () => {
    expect(runs.map(({ name }) => name)).toEqual([
      ...[
        'text',
        'conversations',
        'packed',
        'label smoothing',
        'NEFTune',
        'accumulation',
        'accumulation, mean of means',
      ],
      ...['weight decay', 'cosine to a lowest rate', 'warm up, hold, fall', 'clipping'],
      ...['experts', 'experts, accumulation', 'experts, accumulation, mean of means', 'experts left alone'],
    ]);
    expect(runs.some(({ evaluations }) => evaluations.length > 1)).toBe(true);
  });
});
