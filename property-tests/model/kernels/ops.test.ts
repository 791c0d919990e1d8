/** What the ops promise beside their formulas. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import fc from 'fast-check';
import { adamW } from '../../../src/model/kernels/adamW.js';
import { add } from '../../../src/model/kernels/add.js';
import { attention } from '../../../src/model/kernels/attention.js';
import { axpy } from '../../../src/model/kernels/axpy.js';
import { concatColumns, splitColumns } from '../../../src/model/kernels/columns.js';
import { dropout, dropoutMask } from '../../../src/model/kernels/dropout.js';
import { embeddingGrad } from '../../../src/model/kernels/embedding.js';
import { gatherRows, scatterRows } from '../../../src/model/kernels/gatherRows.js';
import { inBlocks, linearCrossEntropy } from '../../../src/model/kernels/linearCrossEntropy.js';
import { rope } from '../../../src/model/kernels/rope.js';
import { squaredNorm } from '../../../src/model/kernels/squaredNorm.js';
import { prepareWasm } from '../../../src/model/kernels/wasmBackend.js';
import { random } from '../../../src/seed.js';
import { enginesUnderTest, startEngine } from '../../../test/engine.js';
import { values } from '../../arbitraries/ops.js';

const seed = fc.integer({ min: 0, max: 1 << 20 });
const size = (max = 6): fc.Arbitrary<number> => fc.integer({ min: 1, max });
const matrix = (from: number, rows: number, columns: number): Tensor =>
  tf.tensor2d(values(from, [rows, columns]), [rows, columns]);

const numbers = (tensor: Tensor): ReadonlyArray<number> => Array.from(tensor.dataSync());

const near = (got: ReadonlyArray<number>, expected: ReadonlyArray<number>, tolerance = 1e-5): void => {
  expect(got).toHaveLength(expected.length);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
  got.forEach((x, i) => expect(Math.abs(x - (expected[i] ?? NaN))).toBeLessThanOrEqual(tolerance * largest));
};

const law = <A>(name: string, arbitrary: fc.Arbitrary<A>, holds: (a: A) => void, numRuns = 25): void =>
  it(name, () => {
    fc.assert(
      fc.property(arbitrary, (a) => {
        tf.tidy(() => holds(a));
      }),
      { numRuns },
    );
  });

describe.each(enginesUnderTest('cpu', 'wasm'))('on %s', (backend) => {
  beforeAll(async () => {
    await startEngine(backend);
  });

  law(
    'columns split come together again',
    fc.record({ seed, n: size(), sizes: fc.array(size(4), { minLength: 1, maxLength: 4 }) }),
    ({ seed: s, n, sizes }) => {
      const x = matrix(
        s,
        n,
        sizes.reduce((a, b) => a + b, 0),
      );
      const parts = splitColumns(x, sizes);
      expect(parts.map(({ shape }) => shape)).toEqual(sizes.map((width) => [n, width]));
      expect(numbers(concatColumns(parts))).toEqual(numbers(x));
    },
  );

  law(
    'rows laid out are found again, and all else is zero',
    fc.record({ seed, n: size(8), c: size(3), bits: fc.nat(255) }),
    ({ seed: s, n, c, bits }) => {
      const rows = Int32Array.from(Array.from({ length: n }, (_, i) => i).filter((i) => (bits >> i) & 1));
      fc.pre(rows.length > 0);
      const x = matrix(s, rows.length, c);
      const spread = scatterRows(x, rows, n);
      expect(numbers(gatherRows(spread, rows))).toEqual(numbers(x));
      near([numbers(squaredNorm([spread]))[0] ?? NaN], [numbers(squaredNorm([x]))[0] ?? NaN]);
    },
  );

  law(
    "an embedding's gradient keeps the sum of every column",
    fc.record({ seed, n: size(), v: size(), c: size(3) }),
    ({ seed: s, n, v, c }) => {
      const source = random(s, 'sample');
      const ids = Int32Array.from({ length: n }, () => source.below(v));
      const dy = matrix(s, n, c);
      near(numbers(tf.sum(embeddingGrad(dy, ids, v), 0)), numbers(tf.sum(dy, 0)));
    },
  );

  law(
    'a rotation turned back is none, and no rotation changes a length',
    fc.record({ seed, n: size(), heads: size(3), half: size(3), interleaved: fc.boolean() }),
    ({ seed: s, n, heads, half, interleaved }) => {
      const angles = values(s + 1, [n, half]);
      const cos = tf.tensor2d(angles.map(Math.cos), [n, half]);
      const sin = tf.tensor2d(angles.map(Math.sin), [n, half]);
      const attrs = { heads, headDim: 2 * half, rotaryDim: 2 * half, interleaved };
      const x = matrix(s, n, heads * 2 * half);
      const turned = rope({ x, cos, sin }, { ...attrs, inverse: false });
      near(numbers(rope({ x: turned, cos, sin }, { ...attrs, inverse: true })), numbers(x));
      near(numbers(tf.sum(tf.square(turned), 1)), numbers(tf.sum(tf.square(x), 1)));
    },
  );

  const attentionCalls = fc.record({
    seed,
    lengths: fc.array(size(5), { minLength: 1, maxLength: 3 }),
    kvHeads: size(2),
    group: size(2),
    headDim: size(3),
    window: fc.constantFrom(0, 2),
  });
  const ends = (lengths: ReadonlyArray<number>): Int32Array =>
    Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b, 0))]);

  law('documents attend together as alone', attentionCalls, ({ seed: s, lengths, kvHeads, group, headDim, window }) => {
    const heads = kvHeads * group;
    const cuSeqlens = ends(lengths);
    const n = cuSeqlens[lengths.length] ?? 0;
    const [q, k, v] = [
      matrix(s, n, heads * headDim),
      matrix(s + 1, n, kvHeads * headDim),
      matrix(s + 2, n, kvHeads * headDim),
    ];
    const attrs = { heads, kvHeads, headDim, scale: 0.5, window };
    const together = attention({ q, k, v }, { ...attrs, cuSeqlens });
    const alone = lengths.map((length, d) => {
      const part = (x: Tensor): Tensor => tf.slice(x, [cuSeqlens[d] ?? 0, 0], [length, x.shape[1] ?? 0]);
      return attention({ q: part(q), k: part(k), v: part(v) }, { ...attrs, cuSeqlens: Int32Array.of(0, length) });
    });
    near(
      numbers(together.out),
      alone.flatMap(({ out }) => numbers(out)),
    );
    near(
      numbers(together.lse),
      alone.flatMap(({ lse }) => numbers(lse)),
    );
  });

  law(
    'what comes later changes nothing before',
    attentionCalls,
    ({ seed: s, lengths: [length = 1], kvHeads, group, headDim, window }) => {
      const heads = kvHeads * group;
      const attrs = { cuSeqlens: Int32Array.of(0, length), heads, kvHeads, headDim, scale: 0.5, window };
      const q = matrix(s, length, heads * headDim);
      const [k, v] = [matrix(s + 1, length, kvHeads * headDim), matrix(s + 2, length, kvHeads * headDim)];
      const last = tf.tensor2d(
        Float32Array.from({ length }, (_, i) => (i === length - 1 ? 3 : 0)),
        [length, 1],
      );
      const before = numbers(attention({ q, k, v }, attrs).out);
      const after = numbers(
        attention({ q, k: add(k, tf.mul(last, tf.onesLike(k))), v: add(v, tf.mul(last, tf.onesLike(v))) }, attrs).out,
      );
      const unseen = (length - 1) * heads * headDim;
      expect(after.slice(0, unseen)).toEqual(before.slice(0, unseen));
      expect(after.slice(unseen)).not.toEqual(before.slice(unseen));
    },
  );

  law('a window at least as long as the document is none', attentionCalls, ({ seed: s, lengths, kvHeads, headDim }) => {
    const cuSeqlens = ends(lengths);
    const n = cuSeqlens[lengths.length] ?? 0;
    const [q, k, v] = [0, 1, 2].map((i) => matrix(s + i, n, kvHeads * headDim)) as [Tensor, Tensor, Tensor];
    const attrs = { cuSeqlens, heads: kvHeads, kvHeads, headDim, scale: 0.5 };
    const full = attention({ q, k, v }, { ...attrs, window: 0 });
    const wide = attention({ q, k, v }, { ...attrs, window: Math.max(...lengths) });
    expect(numbers(wide.out)).toEqual(numbers(full.out));
  });

  const losses = fc.record({
    seed,
    m: size(),
    c: size(4),
    v: fc.integer({ min: 2, max: 6 }),
    smoothing: fc.constantFrom(0, 0.2),
  });

  law(
    'a loss is the weighted sum of its rows, and rows do not see each other',
    losses,
    ({ seed: s, m, c, v, smoothing }) => {
      const source = random(s, 'sample');
      const targets = Int32Array.from({ length: m }, () => source.below(v));
      const weights = values(s + 2, [m]);
      const inputs = { h: matrix(s, m, c), w: matrix(s + 1, v, c) };
      const attrs = { labelSmoothing: smoothing, variant: 'nll' as const, gradient: true, needWeight: true };
      const whole = linearCrossEntropy(inputs, { ...attrs, targets, weights });
      const rows = numbers(whole.loss);
      near(numbers(whole.total), [rows.reduce((sum, loss, i) => sum + loss * (weights[i] ?? NaN), 0)]);
      const single = Array.from({ length: m }, (_, i) =>
        linearCrossEntropy(
          { ...inputs, h: tf.slice(inputs.h, [i, 0], [1, c]) },
          { ...attrs, targets: targets.slice(i, i + 1), weights: weights.slice(i, i + 1) },
        ),
      );
      near(
        rows,
        single.flatMap(({ loss }) => numbers(loss)),
      );
      near(
        numbers(whole.dh ?? tf.scalar(NaN)),
        single.flatMap(({ dh }) => numbers(dh ?? tf.scalar(NaN))),
      );
      near(numbers(whole.dW ?? tf.scalar(NaN)), numbers(tf.addN(single.flatMap(({ dW }) => dW ?? []))));
    },
  );

  law(
    'a loss is the same in blocks of any size',
    fc.record({ seed, m: size(), v: fc.integer({ min: 2, max: 6 }), entries: fc.nat(40), biased: fc.boolean() }),
    ({ seed: s, m, v, entries, biased }) => {
      const source = random(s, 'sample');
      const attrs = {
        targets: Int32Array.from({ length: m }, () => source.below(v)),
        weights: values(s + 2, [m]),
        labelSmoothing: 0.1,
        variant: 'nll' as const,
        gradient: true,
        needWeight: true,
      };
      const inputs = {
        h: matrix(s, m, 3),
        w: matrix(s + 1, v, 3),
        bias: biased ? tf.tensor1d(values(s + 3, [v])) : undefined,
      };
      const whole = inBlocks(1000)(inputs, attrs);
      const parts = inBlocks(entries)(inputs, attrs);
      expect(parts).toHaveLength(biased ? 7 : 6);
      parts.forEach((part, i) => {
        expect(part.shape).toEqual(whole[i]?.shape);
        near(numbers(part), numbers(whole[i] ?? tf.scalar(NaN)));
      });
    },
  );

  law(
    'an entropy lies between 0 and log V; a correct row is one whose target no logit exceeds',
    losses,
    ({ seed: s, m, c, v }) => {
      const source = random(s, 'sample');
      const targets = Int32Array.from({ length: m }, () => source.below(v));
      const [h, w] = [matrix(s, m, c), matrix(s + 1, v, c)];
      const { entropy, correct } = linearCrossEntropy(
        { h, w },
        {
          targets,
          weights: new Float32Array(m),
          labelSmoothing: 0,
          variant: 'nll',
          gradient: false,
          needWeight: false,
        },
      );
      numbers(entropy).forEach((nats) => {
        expect(nats).toBeGreaterThanOrEqual(-1e-5);
        expect(nats).toBeLessThanOrEqual(Math.log(v) + 1e-5);
      });
      const logits = numbers(tf.matMul(h, w, false, true));
      numbers(correct).forEach((flag, i) => {
        const row = logits.slice(i * v, (i + 1) * v);
        expect(flag).toBe((row[targets[i] ?? 0] ?? NaN) >= Math.max(...row) ? 1 : 0);
      });
    },
  );

  law(
    'dropping is linear and the same for the same seed and offset',
    fc.record({ seed, n: size(40), rate: fc.constantFrom(0, 0.1, 0.5, 0.9), offset: fc.nat(2 ** 40) }),
    ({ seed: s, n, rate, offset }) => {
      const x = matrix(s, n, 2);
      const attrs = { rate, seed: s, offset };
      const y = numbers(dropout(x, attrs));
      const mask = numbers(dropout(tf.onesLike(x), attrs));
      expect(new Set(mask.map((m) => Number(m.toFixed(5))))).toEqual(
        new Set(mask.map((m) => (m === 0 ? 0 : Number((1 / (1 - rate)).toFixed(5))))),
      );
      near(
        y,
        numbers(x).map((value, i) => value * (mask[i] ?? NaN)),
      );
      expect(numbers(dropout(x, attrs))).toEqual(y);
    },
  );

  law(
    'a step of AdamW scales gradients first, and with none of them only decays',
    fc.record({ seed, n: size(), step: size(5) }),
    ({ seed: s, n, step }) => {
      const state = () => ({
        parameters: [matrix(s, n, 2)],
        m: [matrix(s + 1, n, 2)],
        v: [tf.square(matrix(s + 2, n, 2))],
      });
      const attrs = {
        learningRate: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-6,
        weightDecay: Float32Array.of(0.3),
        step,
      };
      const gradient = matrix(s + 3, n, 2);
      const scaled = adamW(state(), [tf.mul(gradient, 0.25)], { ...attrs, gradScale: 1 });
      const later = adamW(state(), [gradient], { ...attrs, gradScale: 0.25 });
      near(numbers(later.parameters[0] ?? gradient), numbers(scaled.parameters[0] ?? gradient));
      const fresh = { parameters: [matrix(s, n, 2)], m: [tf.zeros([n, 2])], v: [tf.zeros([n, 2])] };
      const still = adamW(fresh, [tf.zeros([n, 2])], { ...attrs, gradScale: 1 });
      near(
        numbers(still.parameters[0] ?? gradient),
        numbers(matrix(s, n, 2)).map((p) => p * (1 - 0.1 * 0.3)),
      );
    },
  );

  law('axpy is linear', fc.record({ seed, n: size(), alpha: fc.constantFrom(1, -1, 0.5) }), ({ seed: s, n, alpha }) => {
    const [y, x] = [matrix(s, n, 3), matrix(s + 1, n, 3)];
    const expected = numbers(y).map((value, i) => value + alpha * (numbers(x)[i] ?? NaN));
    near(numbers(axpy(y, x, alpha)), expected);
  });
});

describe('the mended wasm backend', () => {
  beforeAll(async () => {
    await prepareWasm()();
  });

  law(
    'multiplies matrices in every form',
    fc.record({ seed, batch: size(3), m: size(20), k: size(20), n: size(20), ta: fc.boolean(), tb: fc.boolean() }),
    ({ seed: s, batch, m, k, n, ta, tb }) => {
      const a = tf.tensor3d(values(s, [batch, m, k]), ta ? [batch, k, m] : [batch, m, k]);
      const b = tf.tensor3d(values(s + 1, [batch, k, n]), tb ? [batch, n, k] : [batch, k, n]);
      const [av, bv] = [numbers(a), numbers(b)];
      const expected = Array.from({ length: batch * m * n }, (_, at) => {
        const [i, row, column] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
        let sum = 0;
        for (let t = 0; t < k; t++) {
          const left = av[i * m * k + (ta ? t * m + row : row * k + t)] ?? NaN;
          sum += left * (bv[i * k * n + (tb ? column * k + t : t * n + column)] ?? NaN);
        }
        return sum;
      });
      near(numbers(tf.matMul(a, b, ta, tb)), expected);
    },
    60,
  );

  law(
    'writes one-hot rows in every dtype',
    fc.record({
      seed,
      n: size(),
      depth: fc.integer({ min: 2, max: 6 }),
      dtype: fc.constantFrom('float32' as const, 'int32' as const),
    }),
    ({ seed: s, n, depth, dtype }) => {
      const source = random(s, 'sample');
      const ids = Int32Array.from({ length: n }, () => source.below(depth));
      const rows = tf.oneHot(tf.tensor1d(ids, 'int32'), depth, 2, -1, dtype);
      expect(rows.dtype).toBe(dtype);
      expect(numbers(rows)).toEqual(
        Array.from({ length: n * depth }, (_, at) => (ids[Math.floor(at / depth)] === at % depth ? 2 : -1)),
      );
    },
  );

  law(
    'sums segments and leaves out those out of range',
    fc.record({ seed, ids: fc.array(fc.integer({ min: -1, max: 4 }), { minLength: 1, maxLength: 6 }), c: size(3) }),
    ({ seed: s, ids, c }) => {
      const x = matrix(s, ids.length, c);
      const sums = tf.unsortedSegmentSum(x as tf.Tensor2D, tf.tensor1d(ids, 'int32'), 4);
      const expected = Array.from({ length: 4 * c }, (_, at) =>
        ids.reduce((sum, id, i) => (id === Math.floor(at / c) ? sum + (numbers(x)[i * c + (at % c)] ?? NaN) : sum), 0),
      );
      near(numbers(sums), expected);
    },
  );
});

describe('dropout masks', () => {
  it('keep about the share they should, whatever the seed', () => {
    fc.assert(
      fc.property(seed, fc.constantFrom(0.1, 0.5, 0.9), (s, rate) => {
        const mask = dropoutMask(20_000, { rate, seed: s, offset: 0 });
        const dropped = mask.filter((m) => m === 0).length / mask.length;
        // Six standard deviations.
        expect(Math.abs(dropped - rate)).toBeLessThan(6 * Math.sqrt((rate * (1 - rate)) / mask.length));
      }),
      { numRuns: 20 },
    );
  });

  it('of a later offset are the tail of the earlier one, and other seeds give others', () => {
    fc.assert(
      fc.property(seed, fc.nat(50), fc.nat(2 ** 33), (s, skip, offset) => {
        const mask = dropoutMask(150, { rate: 0.5, seed: s, offset });
        expect(dropoutMask(150 - skip, { rate: 0.5, seed: s, offset: offset + skip })).toEqual(mask.slice(skip));
        expect(dropoutMask(150, { rate: 0.5, seed: s + 1, offset })).not.toEqual(mask);
      }),
      { numRuns: 50 },
    );
  });
});
