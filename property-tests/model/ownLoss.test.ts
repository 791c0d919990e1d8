/** Laws of a loss of one's own, over every architecture. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs';
import fc from 'fast-check';
import { lossAndGradients, logits } from '../../src/model/causalLm.js';
import type { TrainOptions } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { linearCrossEntropy } from '../../src/model/kernels/linearCrossEntropy.js';
import { atLabels, oneHotLabels } from '../../src/model/kernels/atLabels.js';
import { byTape, ownLossInBlocks } from '../../src/model/ownLoss.js';
import type { ComputeLoss, OwnLoss, TokenLosses } from '../../src/model/ownLoss.js';
import type { Sequence, Targets } from '../../src/model/sequence.js';
import { startUnderTest } from '../../test/engine.js';
import { architectureNames, configs, documents, laidOut, modelOf, modelSeeds } from '../arbitraries/models.js';
import { values } from '../arbitraries/ops.js';

beforeAll(async () => {
  await startUnderTest('wasm');
});

const numbers = (tensor: Tensor | undefined): ReadonlyArray<number> =>
  tensor === undefined ? [] : Array.from(tensor.dataSync());

const near = (got: ReadonlyArray<number>, expected: ReadonlyArray<number>): void => {
  expect(got).toHaveLength(expected.length);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
  got.forEach((x, i) => expect(Math.abs(x - (expected[i] ?? NaN))).toBeLessThanOrEqual(1e-4 * largest));
};

/** ε of the loss spread over the vocabulary: what `labelSmoothingFactor` is, in tfjs. */
const smoothed =
  (epsilon: number): ComputeLoss =>
  () =>
    byTape((logits, { labels }) => {
      const [, vocabSize = 0] = logits.shape;
      const surprise = tf.neg(tf.logSoftmax(logits));
      const hit = tf.cast(tf.equal(tf.tensor2d(labels, [labels.length, 1]), tf.range(0, vocabSize)), 'float32');
      return tf.add(
        tf.mul(tf.sum(tf.mul(surprise, hit), 1), 1 - epsilon),
        tf.mul(tf.sum(surprise, 1), epsilon / vocabSize),
      );
    });

interface Batch {
  readonly sequence: Sequence;
  readonly targets: Targets;
}

type Read = Readonly<Record<string, ReadonlyArray<number>>>;

const trained = (model: CausalLM, { sequence, targets }: Batch, options: Partial<TrainOptions>): Read => {
  const given = { seed: 3, step: 0, training: false, ...options };
  const { gradients, total, loss, correct, entropy } = lossAndGradients(model, sequence, targets, given);
  const tensors = { total, loss, correct, entropy, ...gradients };
  const read = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, numbers(tensor)]));
  tf.dispose(Object.values(tensors));
  return read;
};

const law = (name: string, holds: (model: CausalLM, batch: Batch) => void): void =>
  it(name, () => {
    fc.assert(
      fc.property(architectureNames, modelSeeds, documents(), (architecture, seed, rows) => {
        const model = modelOf(configs[architecture] ?? {}, seed);
        const before = tf.memory().numTensors;
        try {
          holds(model, laidOut(rows, 0.3));
          expect(tf.memory().numTensors).toBe(before);
        } finally {
          tf.dispose(Object.values(model.weights));
        }
      }),
      { numRuns: 12 },
    );
  });

describe('a model', () => {
  for (const epsilon of [0, 0.2])
    law(`trains on a loss of its own as on the one that it equals (smoothing ${epsilon})`, (model, batch) => {
      const builtIn = trained(model, batch, { labelSmoothingFactor: epsilon });
      const own = trained(model, batch, { computeLoss: smoothed(epsilon) });
      expect(Object.keys(own)).toEqual(Object.keys(builtIn));
      for (const [key, expected] of Object.entries(builtIn)) near(own[key] ?? [], expected);
    });

  law('learns nothing from a teacher that is itself', (model, { sequence, targets }) => {
    fc.pre(targets.rows.length > 0);
    const computeLoss: ComputeLoss = (batch) => {
      const taught = tf.softmax(logits(model, batch.sequence, batch.targets.rows));
      return (own, { first }) => {
        const p = tf.slice(taught, [first, 0], own.shape);
        const loss = tf.sum(tf.mul(p, tf.sub(tf.log(p), tf.logSoftmax(own))), 1);
        return { loss, gradient: tf.sub(tf.softmax(own), p) };
      };
    };
    const { config } = model;
    // The load-balancing loss of routed experts is beside it.
    const { experts } = config;
    const alone =
      experts === undefined ? model : { ...model, config: { ...config, experts: { ...experts, auxLossCoef: 0 } } };
    const { correct, entropy, ...taught } = trained(alone, { sequence, targets }, { computeLoss });
    expect([correct?.length, entropy?.length]).toEqual([targets.rows.length, targets.rows.length]);
    for (const some of Object.values(taught))
      near(
        some,
        some.map(() => 0),
      );
  });

  law('keeps no tensor of a loss that fails half-way', (model, batch) => {
    fc.pre(batch.targets.rows.length > 0);
    const failing: ReadonlyArray<ComputeLoss> = [
      () => {
        throw new Error('no teacher');
      },
      () => (logits) => {
        tf.softmax(logits);
        throw new Error('half-way');
      },
      () => (logits) => ({ loss: logits, gradient: logits }),
      () => (logits) => ({ loss: tf.sum(logits, 1), gradient: tf.sum(logits, 1) }),
      () => (logits) => tf.sum(logits, 1) as unknown as TokenLosses,
      () => byTape(() => tf.zeros([batch.targets.rows.length])),
      () => () => undefined as unknown as TokenLosses,
      () => 3 as unknown as ReturnType<ComputeLoss>,
    ];
    for (const computeLoss of failing)
      expect(() => trained(model, batch, { computeLoss })).toThrow(
        expect.objectContaining({ code: 'E_CALLBACK', details: expect.objectContaining({ field: 'computeLoss' }) }),
      );
  });
});

it('is the built-in loss that it equals, in blocks of any size', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 1, max: 60 }),
      fc.constantFrom(undefined, 2),
      fc.nat(),
      (m, v, entries, softcap, seed) => {
        const before = tf.memory().numTensors;
        const drawn = (by: number, ...shape: number[]): Tensor => tf.tensor(values(seed + by, shape), shape);
        const inputs = { h: drawn(1, m, 3), w: drawn(2, v, 3), bias: drawn(3, v) };
        const targets: Targets = {
          rows: Int32Array.from({ length: m }, (_, i) => i),
          labels: Int32Array.from({ length: m }, (_, i) => (seed + i) % v),
          weights: values(seed + 4, [m]),
        };
        const sequence = { inputIds: targets.labels, positionIds: targets.rows, cuSeqlens: Int32Array.of(0, m) };
        const attrs = { sequence, targets, softcap, gradient: true, needWeight: true };
        const read = ({ total, loss, dh, dW, dBias }: OwnLoss): ReadonlyArray<ReadonlyArray<number>> => {
          const found = [total, loss, dh, dW, dBias].map(numbers);
          tf.dispose([total, loss, dh, dW, dBias].filter((tensor) => tensor !== undefined));
          return found;
        };
        const { labels, weights } = targets;
        const { correct, entropy, ...builtIn } = linearCrossEntropy(inputs, {
          ...{ targets: labels, weights, labelSmoothing: 0.1, softcap, variant: 'nll' },
          ...{ gradient: true, needWeight: true },
        });
        tf.dispose([correct, entropy]);
        const expected = read(builtIn);
        read(ownLossInBlocks(entries)(inputs, attrs, smoothed(0.1))).forEach((got, i) => near(got, expected[i] ?? []));
        tf.dispose(Object.values(inputs));
        expect(tf.memory().numTensors).toBe(before);
      },
    ),
  );
});

it('entries at labels are what a table of ones and zeros picks, with its gradient; a label outside is refused', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 7 }), fc.nat(), (m, v, seed) => {
      const before = tf.memory().numTensors;
      const labels = Int32Array.from({ length: m }, (_, i) => (seed + 3 * i) % v);
      tf.tidy(() => {
        const hot = oneHotLabels(labels, v);
        expect(numbers(hot)).toEqual(
          Array.from({ length: m * v }, (_, i) => Number(i % v === labels[Math.floor(i / v)])),
        );
        const x = tf.tensor2d(values(seed, [m, v]), [m, v]);
        const dy = tf.tensor1d(values(seed + 1, [m]));
        const picked = tf.valueAndGrad((of: Tensor) => atLabels(of, labels))(x, dy);
        near(numbers(picked.value), numbers(tf.sum(tf.mul(x, hot), 1)));
        near(numbers(picked.grad), numbers(tf.mul(hot, tf.reshape(dy, [m, 1]))));
        for (const outside of [-1, v]) {
          const wrong = labels.map((label, i) => (i === m - 1 ? outside : label));
          expect(() => atLabels(x, wrong)).toThrow(RangeError);
          expect(() => oneHotLabels(wrong, v)).toThrow(RangeError);
        }
      });
      expect(tf.memory().numTensors).toBe(before);
    }),
  );
});
