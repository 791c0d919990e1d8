/** A run on a loss of its own. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import { lastValueFrom, toArray } from 'rxjs';
import { isFatal } from '../../src/errors.js';
import type { ComputeLoss } from '../../src/model/ownLoss.js';
import type { StepResult } from '../../src/records.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { sftTrainer } from '../../src/train/trainer.js';
import type { SftRun } from '../../src/train/trainer.js';
import { tinyModel } from '../../property-tests/train/tiny.js';
import { startUnderTest } from '../engine.js';

beforeAll(async () => {
  await startUnderTest();
});

const rows = Array.from({ length: 6 }, (_, i) => ({
  input_ids: Array.from({ length: 4 + i }, (__, t) => (7 * i + 3 * t) % 40),
}));

const started = async (options: SftOptions, computeLoss: ComputeLoss | undefined): Promise<SftRun> =>
  sftTrainer(
    { model: await tinyModel(), trainDataset: rows, evalDataset: rows, computeLoss },
    { perDeviceTrainBatchSize: 2, learningRate: 0.01, ...options },
  );

/** -log p of each label, twice. */
const twice: ComputeLoss =
  () =>
  (logits, { labels }) => {
    const [m = 0, vocabSize = 0] = logits.shape;
    const hit = tf.cast(tf.equal(tf.tensor2d(labels, [m, 1], 'int32'), tf.range(0, vocabSize, 1, 'int32')), 'float32');
    const logP = tf.logSoftmax(logits);
    return { loss: tf.mul(-2, tf.sum(tf.mul(logP, hit), 1)), gradient: tf.mul(2, tf.sub(tf.exp(logP), hit)) };
  };

const failure = async (run: SftRun): Promise<string> => {
  const error: unknown = await lastValueFrom(run).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  return isFatal(error) ? `${error.code} ${error.details.field ?? ''}: ${error.message}` : `no error: ${String(error)}`;
};

describe('a loss of its own', () => {
  test('is what is trained on; evaluations tell -log p', async () => {
    const of = async (computeLoss?: ComputeLoss) => {
      const evaluating = { evalSteps: 3, maxSteps: 3, lrSchedulerType: 'constant', maxGradNorm: 0 } as const;
      const run = await started(evaluating, computeLoss);
      const evaluation = lastValueFrom(run.evaluations);
      const steps: ReadonlyArray<StepResult> = await lastValueFrom(run.pipe(toArray()));
      return { first: steps[0], last: steps.at(-1), evalLoss: (await evaluation).loss };
    };
    const plain = await of();
    const own = await of(twice);
    expect(own.first?.loss).toBeCloseTo(2 * (plain.first?.loss ?? NaN), 4);
    expect((own.first?.gradNorm ?? NaN) / (plain.first?.gradNorm ?? NaN)).toBeCloseTo(2, 4);
    expect(own.first?.entropy).toBeCloseTo(plain.first?.entropy ?? NaN, 5);
    // AdamW moves by sign and spread of gradients: twice a loss moves as once.
    expect(own.evalLoss).toBeCloseTo(plain.evalLoss, 3);
    expect(own.last?.meanTokenAccuracy).toBeCloseTo(plain.last?.meanTokenAccuracy ?? NaN, 6);
  });

  test('ends the run where it fails', async () => {
    const broken: ComputeLoss = () => () => {
      throw new TypeError('no teacher');
    };
    expect(await failure(await started({ maxSteps: 2 }, broken))).toBe(
      'E_CALLBACK computeLoss: computeLoss failed: no teacher',
    );
  });

  test.each([{ lossType: 'dft' }, { labelSmoothingFactor: 0.1 }] as const)(
    'is not beside another: %j',
    async (other) => {
      const [field = ''] = Object.keys(other);
      expect(await failure(await started({ maxSteps: 2, ...other }, twice))).toContain(`E_OPTIONS ${field}`);
    },
  );
});
