/** Every op equals its formula, and every gradient kernel the tape's gradient of that formula and finite differences. */
import { beforeAll, beforeEach, afterEach, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs';
import fc from 'fast-check';
import { enginesUnderTest, startEngine } from '../../../test/engine.js';
import { opCalls, values } from '../../arbitraries/ops.js';
import type { OpCall } from '../../arbitraries/ops.js';

const inputsOf = ({ seed, shapes }: OpCall): Tensor[] =>
  shapes.map((shape, i) => tf.tensor(values(seed + 10 + i, shape), [...shape]));

const likeValue = (call: OpCall, value: Tensor): Tensor => tf.tensor(values(call.seed + 5, value.shape), value.shape);

const near = (got: Tensor, expected: Tensor, tolerance: number): void => {
  expect(got.shape).toEqual(expected.shape);
  const wanted = Array.from(expected.dataSync());
  const largest = wanted.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
  got.dataSync().forEach((x, i) => expect(Math.abs(x - (wanted[i] ?? NaN))).toBeLessThanOrEqual(tolerance * largest));
};

const laws = Object.entries(opCalls) as ReadonlyArray<readonly [string, fc.Arbitrary<OpCall>]>;

describe.each(enginesUnderTest('cpu', 'wasm'))('on %s', (backend) => {
  beforeAll(async () => {
    await startEngine(backend);
  });
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  it.each(laws)('%s equals its formula', (_name, calls) => {
    fc.assert(
      fc.property(calls, (call) => {
        tf.tidy(() => {
          const inputs = inputsOf(call);
          near(call.forward(...inputs), call.formula(...inputs), 1e-5);
        });
      }),
      { numRuns: 20 },
    );
  });

  it.each(laws)('the gradients of %s are those of the tape', (_name, calls) => {
    fc.assert(
      fc.property(calls, (call) => {
        tf.tidy(() => {
          const inputs = inputsOf(call);
          const dy = likeValue(call, call.forward(...inputs));
          const expected = tf.grads((...xs: Tensor[]) => call.formula(...xs))(inputs, dy);
          const got = call.backward(dy, ...inputs);
          expect(got).toHaveLength(expected.length);
          expected.forEach((gradient, i) => near(got[i] ?? tf.scalar(NaN), gradient, 1e-4));
        });
      }),
      { numRuns: 20 },
    );
  });
});

describe('finite differences', () => {
  beforeAll(async () => {
    await tf.setBackend('cpu');
  });

  it.each(laws)('agree with the gradients of %s', (_name, calls) => {
    fc.assert(
      fc.property(calls, (call) => {
        fc.pre(call.rough !== true);
        tf.tidy(() => {
          const inputs = inputsOf(call);
          const dy = likeValue(call, call.forward(...inputs));
          const directions = call.shapes.map((shape, i) => tf.tensor(values(call.seed + 50 + i, shape), [...shape]));
          const step = 1e-3;
          const along = (t: number): number => {
            const moved = inputs.map((x, i) => tf.add(x, tf.mul(directions[i] ?? x, t)));
            // Summed on the host in double precision: the difference is of nearly equal numbers.
            const out = call.forward(...moved).dataSync();
            return Array.from(dy.dataSync()).reduce((sum, weight, i) => sum + weight * (out[i] ?? NaN), 0);
          };
          const slope = (along(step) - along(-step)) / (2 * step);
          const gradients = call.backward(dy, ...inputs);
          const product = gradients.reduce(
            (sum, gradient, i) => sum + (tf.sum(tf.mul(gradient, directions[i] ?? gradient)).dataSync()[0] ?? NaN),
            0,
          );
          expect(Math.abs(slope - product)).toBeLessThan(2e-2 * (1 + Math.abs(product)));
        });
      }),
      { numRuns: 15 },
    );
  });
});
