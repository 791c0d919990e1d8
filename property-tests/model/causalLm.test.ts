/** Laws of whole models, over every architecture. */
import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { architectureOf } from '../../src/model/architectures.js';
import { evaluateLoss, lossAndGradients, logits } from '../../src/model/causalLm.js';
import { training } from '../../src/model/model.js';
import type { CausalLM } from '../../src/model/model.js';
import type { TrainOptions } from '../../src/model/causalLm.js';
import { RxActivationGrad } from '../../src/model/kernels/activation.js';
import { RxAttentionGrad, RxJoinedAttentionGrad } from '../../src/model/kernels/attention.js';
import { RxEmbeddingGrad } from '../../src/model/kernels/embedding.js';
import { RxGatedActivationGrad } from '../../src/model/kernels/gatedActivation.js';
import { RxLayerNormGrad } from '../../src/model/kernels/layerNorm.js';
import { RxLinearGradInput, RxLinearGradWeight } from '../../src/model/kernels/linear.js';
import { RxLinearCrossEntropy } from '../../src/model/kernels/linearCrossEntropy.js';
import { RxLoraDownGrad, RxLoraLinearGrad, RxLoraUpGrad } from '../../src/model/kernels/loraLinear.js';
import { RxRmsNormGrad } from '../../src/model/kernels/rmsNorm.js';
import { nothing } from '../../src/model/layers/layer.js';
import type { Weights } from '../../src/model/layers/layer.js';
import type { Sequence, Targets } from '../../src/model/sequence.js';
import { startUnderTest } from '../../test/engine.js';
import { architectureNames, configs, documents, laidOut, modelOf, modelSeeds } from '../arbitraries/models.js';
import type { Documents } from '../arbitraries/models.js';
import { values } from '../arbitraries/ops.js';

const numbers = (tensor: Tensor | undefined): ReadonlyArray<number> =>
  tensor === undefined ? [NaN] : Array.from(tensor.dataSync());

const near = (got: ReadonlyArray<number>, expected: ReadonlyArray<number>, tolerance = 1e-4): void => {
  expect(got).toHaveLength(expected.length);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
  got.forEach((x, i) => expect(Math.abs(x - (expected[i] ?? NaN))).toBeLessThanOrEqual(tolerance * largest));
};

interface Result {
  readonly total: number;
  readonly loss: ReadonlyArray<number>;
  readonly gradients: Readonly<Record<string, ReadonlyArray<number>>>;
}

const plainOptions: TrainOptions = { seed: 3, step: 0, training: false };

const trained = (model: CausalLM, sequence: Sequence, targets: Targets, options = plainOptions): Result => {
  const { gradients, ...output } = lossAndGradients(model, sequence, targets, options);
  const result = {
    total: numbers(output.total)[0] ?? NaN,
    loss: numbers(output.loss),
    gradients: Object.fromEntries(Object.entries(gradients).map(([name, gradient]) => [name, numbers(gradient)])),
  };
  tf.dispose([...Object.values(output), ...Object.values(gradients)]);
  return result;
};

const sameGradients = (got: Result, expected: Result, tolerance = 1e-4): void => {
  expect(Object.keys(got.gradients).sort()).toEqual(Object.keys(expected.gradients).sort());
  for (const [name, gradient] of Object.entries(expected.gradients))
    near(got.gradients[name] ?? [], gradient, tolerance);
};

const summed = (results: ReadonlyArray<Result>): Result => {
  const [first, ...others] = results;
  if (first === undefined) return { total: 0, loss: [], gradients: {} };
  return others.reduce(
    (sum, { total, loss, gradients }) => ({
      total: sum.total + total,
      loss: [...sum.loss, ...loss],
      gradients: Object.fromEntries(
        Object.entries(sum.gradients).map(([name, gradient]) => [
          name,
          gradient.map((x, i) => x + (gradients[name]?.[i] ?? NaN)),
        ]),
      ),
    }),
    first,
  );
};

const oneByOne = ({ ids, supervised }: Documents): ReadonlyArray<Documents> =>
  ids.map((row, d) => ({ ids: [row], supervised: [supervised[d] ?? []] }));

const law = <A>(name: string, arbitrary: fc.Arbitrary<A>, holds: (model: CausalLM, a: A) => void, numRuns = 20): void =>
  it(name, () => {
    fc.assert(
      fc.property(architectureNames, modelSeeds, arbitrary, (architecture, seed, a) => {
        const model = modelOf(configs[architecture] ?? {}, seed);
        const before = tf.memory().numTensors;
        try {
          holds(model, a);
          expect(tf.memory().numTensors).toBe(before);
        } finally {
          tf.dispose(Object.values(model.weights));
        }
      }),
      { numRuns },
    );
  });

beforeAll(async () => {
  await startUnderTest('wasm');
});

describe('a model', () => {
  law('trains on packed documents as on each alone, summed', documents(), (model, rows) => {
    const weight = 0.3;
    const { sequence, targets } = laidOut(rows, weight);
    const together = trained(model, sequence, targets);
    const alone = summed(
      oneByOne(rows).map((row) => {
        const only = laidOut(row, weight);
        return trained(model, only.sequence, only.targets);
      }),
    );
    near([together.total], [alone.total]);
    near(together.loss, alone.loss);
    sameGradients(together, alone);
  });

  law(
    'has the same loss and gradients in whatever order the documents lie',
    documents(),
    (model, { ids, supervised }) => {
      const forwards = laidOut({ ids, supervised }, 0.5);
      const backwards = laidOut({ ids: ids.toReversed(), supervised: supervised.toReversed() }, 0.5);
      const [a, b] = [
        trained(model, forwards.sequence, forwards.targets),
        trained(model, backwards.sequence, backwards.targets),
      ];
      near([a.total], [b.total]);
      sameGradients(a, b);
    },
  );

  law(
    'has the same gradients when it runs its layers twice',
    fc.tuple(documents(), fc.boolean()),
    (model, [rows, dropping]) => {
      const { sequence, targets } = laidOut(rows, 0.5);
      const options = { ...plainOptions, training: dropping, neftuneNoiseAlpha: 5 };
      const kept = trained(model, sequence, targets, options);
      const again = trained(model, sequence, targets, { ...options, gradientCheckpointing: true });
      expect(again.total).toBe(kept.total);
      sameGradients(again, kept, 1e-6);
    },
  );

  law(
    'gives gradients of what trains only, and those unchanged',
    fc.tuple(documents(), fc.nat(4)),
    (model, [rows, keep]) => {
      const { sequence, targets } = laidOut(rows, 0.5);
      const names = model.trainable.filter((name) => name.length % 5 === keep);
      const all = trained(model, sequence, targets);
      const some = trained(training(model, names), sequence, targets);
      expect(Object.keys(some.gradients)).toEqual(names);
      for (const name of names) near(some.gradients[name] ?? [], all.gradients[name] ?? []);
    },
  );

  law(
    'leaves out of its last layer what nobody reads, and has the loss and gradients of all rows with a weight of 0 there',
    fc.tuple(documents(), fc.boolean()),
    (model, [rows, checkpointing]) => {
      const { sequence, targets } = laidOut(rows, 0.5);
      fc.pre(targets.rows.length > 0);
      const n = sequence.inputIds.length;
      const at = new Map(Array.from(targets.rows, (row, i) => [row, i]));
      const everywhere: Targets = {
        rows: Int32Array.from({ length: n }, (_, row) => row),
        labels: Int32Array.from({ length: n }, (_, row) => targets.labels[at.get(row) ?? -1] ?? 0),
        weights: Float32Array.from({ length: n }, (_, row) => (at.has(row) ? 0.5 : 0)),
      };
      const options = { ...plainOptions, gradientCheckpointing: checkpointing };
      const read = trained(model, sequence, targets, options);
      const all = trained(model, sequence, everywhere, options);
      near([read.total], [all.total], 1e-5);
      near(
        read.loss,
        Array.from(targets.rows, (row) => all.loss[row] ?? NaN),
        1e-5,
      );
      sameGradients(read, all, 1e-5);
    },
  );

  law('has gradients that agree with finite differences', documents(), (model, rows) => {
    const { sequence, targets } = laidOut(rows, 0.5);
    const { experts } = model.config;
    // Where a small step may change the experts of a token, the loss leaps.
    fc.pre(targets.rows.length > 0 && (experts === undefined || experts.perToken === experts.numExperts));
    const { gradients } = trained(model, sequence, targets);
    const direction = Object.fromEntries(
      model.trainable.map((name, i) => [name, values(77 + i, model.weights[name]?.shape ?? [])]),
    );
    const along = (t: number): number => {
      const moved: Weights = Object.fromEntries(
        Object.entries(model.weights).map(([name, weight]) => [
          name,
          tf.tensor(weight.dataSync().map((x, i) => x + t * (direction[name]?.[i] ?? 0)) as Float32Array, weight.shape),
        ]),
      );
      const output = evaluateLoss({ ...model, weights: moved }, sequence, targets);
      // Per row in double precision: the total alone is rounded too coarsely.
      const total = numbers(output.loss).reduce((sum, loss) => sum + 0.5 * loss, 0);
      tf.dispose({ ...moved, ...output });
      return total;
    };
    // The loss may bend a great deal (a norm of a few numbers that are nearly the same) and has edges (clip_qkv): a step that is
    // short enough for all of them is too short for float32 elsewhere.
    const slopes = [1e-3, 1e-4, 1e-5].map((step) => (along(step) - along(-step)) / (2 * step));
    let product = 0;
    let scale = 1;
    for (const [name, gradient] of Object.entries(gradients)) {
      gradient.forEach((g, i) => {
        product += g * (direction[name]?.[i] ?? NaN);
        scale += Math.abs(g);
      });
    }
    expect(Math.min(...slopes.map((slope) => Math.abs(slope - product)))).toBeLessThan(1e-2 * scale);
  });

  law('evaluates to the loss that it trains on, and reads it off its logits', documents(), (model, rows) => {
    const { sequence, targets } = laidOut(rows, 0.5);
    fc.pre(targets.rows.length > 0);
    const output = evaluateLoss(model, sequence, targets);
    near(numbers(output.loss), trained(model, sequence, targets).loss, 1e-6);
    const table = logits(model, sequence);
    const all = numbers(table);
    const v = model.config.vocabSize;
    const expected = Array.from(targets.rows, (row, i) => {
      const line = all.slice(row * v, (row + 1) * v);
      const highest = Math.max(...line);
      return (
        highest +
        Math.log(line.reduce((sum, x) => sum + Math.exp(x - highest), 0)) -
        (line[targets.labels[i] ?? 0] ?? NaN)
      );
    });
    near(numbers(output.loss), expected);
    tf.dispose({ ...output, table });
  });

  law('has loss 0 and gradients of zeros where nothing is supervised', documents(), (model, { ids }) => {
    const { sequence, targets } = laidOut({ ids, supervised: ids.map(() => []) }, 1);
    const { total, loss, gradients } = trained(model, sequence, targets);
    expect(total).toBe(0);
    expect(loss).toEqual([]);
    expect(Object.keys(gradients)).toEqual(model.trainable);
    expect(
      Object.values(gradients)
        .flat()
        .every((x) => x === 0),
    ).toBe(true);
  });

  law(
    'gives later tokens no say in earlier logits',
    fc.tuple(documents({ maxDocuments: 1 }), fc.nat(12)),
    (model, [rows, other]) => {
      const { sequence } = laidOut(rows, 1);
      const n = sequence.inputIds.length;
      const changed = { ...sequence, inputIds: sequence.inputIds.map((id, i) => (i === n - 1 ? other : id)) };
      const [a, b] = [logits(model, sequence), logits(model, changed)];
      const upTo = (n - 1) * model.config.vocabSize;
      near(numbers(a).slice(0, upTo), numbers(b).slice(0, upTo), 1e-5);
      tf.dispose([a, b]);
    },
  );

  law(
    'draws the same dropout and noise for the same seed and step',
    fc.tuple(documents(), fc.nat(9)),
    (model, [rows, step]) => {
      const { sequence, targets } = laidOut(rows, 0.5);
      fc.pre(targets.rows.length > 0);
      const options = { ...plainOptions, training: true, neftuneNoiseAlpha: 5, step };
      const first = trained(model, sequence, targets, options);
      expect(trained(model, sequence, targets, options)).toEqual(first);
      expect(trained(model, sequence, targets, { ...options, step: step + 1 }).total).not.toBe(first.total);
    },
  );
});

describe('a body', () => {
  it.each(Object.keys(configs))('of %s hands on the rows that are read and no others', (name) => {
    const model = modelOf(configs[name] ?? {}, 1);
    const { sequence } = laidOut(
      {
        ids: [
          [1, 2, 3],
          [4, 5],
        ],
        supervised: [],
      },
      1,
    );
    const { body, narrows } = architectureOf(model.config);
    expect(narrows).toBe(true);
    const [all, some] = [undefined, Int32Array.of(1, 4)].map(
      (rows) => body({ sequence, rows })(model.weights, sequence, nothing).value,
    ) as [Tensor, Tensor];
    const [, width = 0] = all.shape;
    const values = numbers(all);
    near(numbers(some), [...values.slice(width, 2 * width), ...values.slice(4 * width)], 1e-6);
    tf.dispose([all, some, ...Object.values(model.weights)]);
  });
});

/** Named ops that run on the way back, and no others. */
const backwardOps: ReadonlyArray<{ readonly name: string; readonly run: (inputs: never, attrs: never) => unknown }> = [
  RxActivationGrad,
  RxAttentionGrad,
  RxEmbeddingGrad,
  RxGatedActivationGrad,
  RxJoinedAttentionGrad,
  RxLayerNormGrad,
  RxLinearGradInput,
  RxLinearGradWeight,
  RxLoraDownGrad,
  RxLoraLinearGrad,
  RxLoraUpGrad,
  RxRmsNormGrad,
];

/** Which of them a pass ran, whatever runs them, and what it asked of the head. */
const opsOf = (pass: () => object) => {
  const head = jest.spyOn(RxLinearCrossEntropy, 'run');
  const spies = backwardOps.map((op) => [op.name, jest.spyOn(op, 'run')] as const);
  try {
    Object.values(pass()).forEach((value: Tensor | Weights) => tf.dispose(value));
    const [asked] = head.mock.calls.map(([, { gradient, needWeight }]) => ({ gradient, needWeight }));
    return { backwards: spies.filter(([, spy]) => spy.mock.calls.length > 0).map(([name]) => name), head: asked };
  } finally {
    jest.restoreAllMocks();
  }
};

describe('a head alone', () => {
  it('that trains runs nothing backwards but itself', () => {
    const model = modelOf(configs['llama'] ?? {}, 1);
    const { sequence, targets } = laidOut({ ids: [[1, 2, 3, 4]], supervised: [[false, true, true, true]] }, 1);
    const [forward, headOnly, lastNorm, all] = (
      [
        () => evaluateLoss(model, sequence, targets),
        ...[['lm_head.weight'], ['model.norm.weight'], model.trainable].map(
          (names) => () => lossAndGradients(training(model, names), sequence, targets, plainOptions),
        ),
      ] as const
    ).map(opsOf);
    expect(forward).toEqual({ backwards: [], head: { gradient: false, needWeight: false } });
    expect(headOnly).toEqual({ backwards: [], head: { gradient: true, needWeight: true } });
    expect(lastNorm).toEqual({ backwards: ['RxRmsNormGrad'], head: { gradient: true, needWeight: false } });
    expect(all?.backwards).toEqual(
      expect.arrayContaining(['RxEmbeddingGrad', 'RxLinearGradInput', 'RxLinearGradWeight', 'RxRmsNormGrad']),
    );
    tf.dispose(Object.values(model.weights));
  });
});
