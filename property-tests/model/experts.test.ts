/** Laws of a mixture of experts: it is the weighted sum that it says, at no more work than its experts a token. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { mixture } from '../../src/model/experts/experts.js';
import { nothing } from '../../src/model/layers/layer.js';
import type { Layer, Wanted } from '../../src/model/layers/layer.js';
import { linear } from '../../src/model/layers/linear.js';
import type { Pass } from '../../src/model/pass.js';
import { routes } from '../../src/model/experts/routing.js';
import { weightOf } from '../../src/model/weights.js';
import { startUnderTest } from '../../test/engine.js';
import { values } from '../arbitraries/ops.js';

const width = 3;
const pass: Pass = {
  sequence: { inputIds: Int32Array.of(), positionIds: Int32Array.of(), cuSeqlens: Int32Array.of(0) },
};

const shapes = fc
  .record({
    n: fc.integer({ min: 1, max: 9 }),
    numExperts: fc.integer({ min: 1, max: 5 }),
    most: fc.integer({ min: 1, max: 5 }),
    normalized: fc.boolean(),
    seed: fc.nat(1 << 20),
    apart: fc.boolean(),
  })
  .map(({ most, apart, ...shape }) => ({
    ...shape,
    perToken: Math.min(most, shape.numExperts),
    ...(apart ? { reads: linear(pass, { module: 'read' }), scales: 'scales' } : {}),
  }));

const numbers = (tensor: Tensor): ReadonlyArray<number> => Array.from(tensor.dataSync());

/** A linear map that tells how many rows it read. */
const counting =
  (module: string, read: (rows: number) => void): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const [n = 0] = x.shape;
    read(n);
    return linear(pass, { module })(weights, x, wanted);
  };

const weightsOf = (seed: number, numExperts: number): Readonly<Record<string, Tensor>> => ({
  'gate.weight': tf.tensor(values(seed, [numExperts, width]), [numExperts, width]),
  'read.weight': tf.tensor(values(seed + 33, [width, width]), [width, width]),
  scales: tf.tensor(values(seed + 44, [numExperts]), [numExperts]),
  ...Object.fromEntries(
    Array.from({ length: numExperts }, (_, e) => [
      `${e}.weight`,
      tf.tensor(values(seed + e + 1, [width, width]), [width, width]),
    ]),
  ),
});

beforeAll(async () => {
  await startUnderTest('wasm');
});

describe('a mixture of experts', () => {
  it('is the weighted sum of what all experts make of each token, each of which reads its own tokens alone', () => {
    fc.assert(
      fc.property(shapes, ({ n, seed, ...shape }) => {
        const weights = weightsOf(seed, shape.numExperts);
        const x = tf.tensor(values(seed + 99, [n, width]), [n, width]);
        const before = tf.memory().numTensors;
        let rows = 0;
        const layer = mixture(pass, {
          ...shape,
          layer: 0,
          router: linear(pass, { module: 'gate' }),
          expert: (e) => counting(`${e}`, (more) => (rows += more)),
        });
        const { value, active } = layer(weights, x, nothing);
        expect(active).toBe(false);
        expect(rows).toBe(n * shape.perToken);
        const got = numbers(value);
        value.dispose();
        expect(tf.memory().numTensors).toBe(before);
        let expected: ReadonlyArray<number> = [];
        tf.tidy(() => {
          const logits = tf.matMul(x, weightOf(weights, 'gate.weight'), false, true);
          const routing = routes(logits.dataSync<'float32'>(), shape);
          const read = shape.reads === undefined ? x : tf.matMul(x, weightOf(weights, 'read.weight'), false, true);
          const scales = shape.scales === undefined ? [] : numbers(weightOf(weights, shape.scales));
          const counts = new Float32Array(n * shape.numExperts);
          routing.chosen.forEach((e, i) => {
            counts[Math.floor(i / shape.perToken) * shape.numExperts + e] =
              (routing.weights[i] ?? NaN) * (scales[e] ?? 1);
          });
          const all = Array.from({ length: shape.numExperts }, (_, e) => {
            const own = counts.filter((_count, i) => i % shape.numExperts === e);
            return tf.mul(tf.matMul(read, weightOf(weights, `${e}.weight`), false, true), tf.tensor2d(own, [n, 1]));
          });
          expected = numbers(tf.addN(all));
        });
        got.forEach((value, i) => expect(Math.abs(value - (expected[i] ?? NaN))).toBeLessThan(1e-4));
        tf.dispose({ ...weights, x });
      }),
      { numRuns: 50 },
    );
  });

  it('gives the gradients that are wanted, the same whichever, and keeps nothing', () => {
    const options = fc.record({
      input: fc.boolean(),
      gate: fc.boolean(),
      read: fc.boolean(),
      scales: fc.boolean(),
      experts: fc.boolean(),
      drop: fc.boolean(),
    });
    fc.assert(
      fc.property(shapes, options, ({ n, seed, ...shape }, asked) => {
        const weights = weightsOf(seed, shape.numExperts);
        const x = tf.tensor(values(seed + 99, [n, width]), [n, width]);
        const dy = values(seed + 55, [n, width]);
        const before = tf.memory().numTensors;
        const run = (wanted: Wanted, drops: boolean) => {
          const layer = mixture(pass, {
            ...shape,
            layer: 0,
            router: linear(pass, { module: 'gate' }),
            expert: (e) => linear(pass, { module: `${e}` }),
          });
          const { value, active, pullback, drop } = layer(weights, x, wanted);
          value.dispose();
          if (drops) {
            drop();
            return undefined;
          }
          const [gradients, dx] = pullback(tf.tensor(dy, [n, width]));
          const result = {
            active,
            dx: dx === undefined ? undefined : numbers(dx),
            gradients: Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, numbers(g)])),
          };
          tf.dispose([gradients, ...(dx === undefined ? [] : [dx])]);
          return result;
        };
        const asks: Readonly<Record<string, boolean>> = {
          'gate.weight': asked.gate,
          'read.weight': asked.read,
          scales: asked.scales,
        };
        const isWanted = (name: string): boolean => asks[name] ?? asked.experts;
        const all = run({ weight: () => true, input: true }, false);
        const some = run({ weight: isWanted, input: asked.input }, asked.drop);
        expect(tf.memory().numTensors).toBe(before);
        if (some !== undefined) {
          const apart = shape.reads !== undefined && (asked.read || asked.scales);
          expect(some.active).toBe(asked.input || asked.gate || asked.experts || apart);
          expect(some.dx).toEqual(asked.input ? all?.dx : undefined);
          expect(some.gradients).toEqual(
            Object.fromEntries(Object.entries(all?.gradients ?? {}).filter(([name]) => isWanted(name))),
          );
        }
        tf.dispose({ ...weights, x });
      }),
      { numRuns: 50 },
    );
  });
});
