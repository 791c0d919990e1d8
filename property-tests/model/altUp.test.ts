/** Laws of what Gemma 3n is made of beside its attention: gradients are those of finite differences, and nothing is kept. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { corrected, foretold } from '../../src/model/layers/altUp.js';
import { gaussianTopK, normalQuantile } from '../../src/model/layers/gaussianTopK.js';
import type { Layer, Wanted } from '../../src/model/layers/layer.js';
import { asLongAs } from '../../src/model/layers/magnitude.js';
import type { Pass } from '../../src/model/pass.js';
import { wire, wired } from '../../src/model/layers/wired.js';
import { startUnderTest } from '../../test/engine.js';
import { values } from '../arbitraries/ops.js';

type Values = ReadonlyArray<Tensor>;

const width = 5;
const pass: Pass = {
  sequence: { inputIds: Int32Array.of(), positionIds: Int32Array.of(), cuSeqlens: Int32Array.of(0) },
};

const shapes = fc
  .record({ n: fc.integer({ min: 1, max: 4 }), streams: fc.integer({ min: 1, max: 4 }), seed: fc.nat(1 << 16) })
  .chain((shape) => fc.record({ active: fc.nat(shape.streams - 1) }).map((own) => ({ ...shape, ...own })));

const numbers = (tensor: Tensor): ReadonlyArray<number> => Array.from(tensor.dataSync());

const random = (seed: number, shape: ReadonlyArray<number>): Tensor => tf.tensor(values(seed, shape), [...shape]);

/** Holds a layer of lists against finite differences of Σ c·y along a direction of its inputs and weights. */
const holds = (
  layer: Layer<Values, Values>,
  weights: Readonly<Record<string, Tensor>>,
  input: Values,
  seed: number,
): void => {
  const names = Object.keys(weights);
  const wanted: Wanted = { weight: () => true, input: true };
  const before = tf.memory().numTensors;
  const { value, pullback } = layer(weights, input, wanted);
  const counts = value.map(({ shape }, i) => values(seed + 70 + i, shape));
  const [gradients, dInput = []] = pullback(value.map(({ shape }, i) => tf.tensor(counts[i] ?? [], shape)));
  tf.dispose([...value]);
  const found = [...names.map((name) => gradients[name]), ...dInput].map((g) => (g === undefined ? [] : numbers(g)));
  tf.dispose([...Object.values(gradients), ...dInput]);
  expect(tf.memory().numTensors).toBe(before);
  const all = [...Object.values(weights), ...input];
  const directions = all.map(({ shape }, i) => values(seed + 90 + i, shape));
  const along = (step: number): number => {
    const moved = all.map((tensor, i) =>
      tf.tensor(
        numbers(tensor).map((x, j) => x + step * (directions[i]?.[j] ?? NaN)),
        tensor.shape,
      ),
    );
    const own = Object.fromEntries(names.flatMap((name, i) => (moved[i] === undefined ? [] : [[name, moved[i]]])));
    const there = layer(own, moved.slice(names.length), { weight: () => false, input: false }).value;
    const sum = there.reduce(
      (outer, y, i) => outer + numbers(y).reduce((inner, x, j) => inner + x * (counts[i]?.[j] ?? NaN), 0),
      0,
    );
    tf.dispose([...moved, ...there]);
    return sum;
  };
  const slopes = [1e-2, 1e-3].map((step) => (along(step) - along(-step)) / (2 * step));
  let product = 0;
  let scale = 1;
  found.forEach((gradient, i) =>
    gradient.forEach((g, j) => {
      product += g * (directions[i]?.[j] ?? NaN);
      scale += Math.abs(g);
    }),
  );
  expect(Math.min(...slopes.map((slope) => Math.abs(slope - product)))).toBeLessThan(1e-2 * scale);
};

beforeAll(async () => {
  await startUnderTest('wasm');
});

describe('AltUp', () => {
  it.each([
    ['foretells', 0],
    ['corrects', 1],
  ])('%s its streams, with gradients that agree with finite differences', (_, more) => {
    fc.assert(
      fc.property(shapes, ({ n, streams, active, seed }) => {
        const altUp = { module: 'altup', streams, active, hiddenSize: width, eps: 1e-3 };
        const weights = {
          'altup.router_norm.weight': random(seed, [width]),
          'altup.modality_router.weight': random(seed + 1, [streams, width]),
          ...(more === 0
            ? { 'altup.prediction_coefs.weight': random(seed + 2, [streams * streams, streams]) }
            : { 'altup.correction_coefs.weight': random(seed + 2, [streams, streams]) }),
        };
        const input = Array.from({ length: streams + more }, (__, i) => random(seed + 10 + i, [n, width]));
        holds((more === 0 ? foretold : corrected)(pass, altUp), weights, input, seed);
        tf.dispose([...Object.values(weights), ...input]);
      }),
      { numRuns: 25 },
    );
  });
});

describe('a row as long as another', () => {
  it('has its length, and gradients that agree with finite differences', () => {
    fc.assert(
      fc.property(shapes, ({ n, seed }) => {
        const [own, other] = [random(seed, [n, width]), random(seed + 1, [n, width])] as const;
        const input = [own, other];
        const { value } = asLongAs({}, input, { weight: () => false, input: false });
        const lengths = [value, other].map((x) => numbers(tf.tidy(() => tf.sum(tf.square(x), 1))));
        lengths[0]?.forEach((length, i) => expect(Math.abs(length - (lengths[1]?.[i] ?? NaN))).toBeLessThan(1e-3));
        value.dispose();
        holds(wired(wire([0, 1], asLongAs)), {}, input, seed);
        tf.dispose(input);
      }),
      { numRuns: 25 },
    );
  });
});

describe('the largest of normally distributed numbers', () => {
  it('lie above the quantile', () => {
    // Tables of the normal distribution.
    expect(normalQuantile(0.95)).toBeCloseTo(1.6448536269514722, 12);
    expect(normalQuantile(0.5)).toBe(0);
    expect(normalQuantile(0.025)).toBeCloseTo(-1.9599639845400545, 12);
    const { value } = gaussianTopK(0.9)({}, random(5, [3, 2000]), { weight: () => false, input: false });
    const kept = numbers(value).filter((x) => x > 0).length / value.size;
    expect(kept).toBeGreaterThan(0.05);
    expect(kept).toBeLessThan(0.15);
    value.dispose();
  });

  /** How near a number of the rows lies to where its row is cut off: there no difference tells a slope. */
  const nearest = (rows: Float32Array, share: number): number => {
    const distances = Array.from(rows, (x, i) => {
      const first = i - (i % width);
      const row = rows.slice(first, first + width);
      const mean = row.reduce((sum, own) => sum + own, 0) / width;
      const deviation = Math.sqrt(row.reduce((sum, own) => sum + (own - mean) ** 2, 0) / width);
      return Math.abs(x - mean - normalQuantile(share) * deviation);
    });
    return Math.min(...distances);
  };

  it('have gradients that agree with finite differences', () => {
    fc.assert(
      fc.property(shapes, fc.constantFrom(0.2, 0.6, 0.9), ({ n, seed }, share) => {
        fc.pre(nearest(values(seed, [n, width]), share) > 0.01);
        const input = [random(seed, [n, width])];
        holds(wired(wire(0, gaussianTopK(share))), {}, input, seed);
        tf.dispose(input);
      }),
      { numRuns: 25 },
    );
  });
});
