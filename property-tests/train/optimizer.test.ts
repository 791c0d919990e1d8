import { beforeAll, describe, expect, test } from '@jest/globals';
import { tensor } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { adafactor } from '../../src/train/optimizers/adafactor.js';
import { adamw } from '../../src/train/optimizers/adamw.js';
import { adamw8bit } from '../../src/train/optimizers/adamw8bit.js';
import { startUnderTest } from '../../test/engine.js';
import { lion } from '../../src/train/optimizers/lion.js';
import { chain, clipByGlobalNorm, clipFactor, globalNorm, scaleBy } from '../../src/train/optimizers/optimizer.js';
import type { GradientTransform, Optimizer } from '../../src/train/optimizers/optimizer.js';
import { sgd } from '../../src/train/optimizers/sgd.js';

beforeAll(async () => {
  await startUnderTest();
});

type Vector = ReadonlyArray<number>;

const number = fc.float({ min: -4, max: 4, noNaN: true });
const vectors = fc.integer({ min: 1, max: 7 }).chain((size) =>
  fc.record({
    start: fc.array(number, { minLength: size, maxLength: size }),
    gradients: fc.array(fc.array(number, { minLength: size, maxLength: size }), { minLength: 1, maxLength: 5 }),
  }),
);
const rules = fc.constantFrom<readonly [string, (learningRate: number) => GradientTransform]>(
  ['adamw', (learningRate) => adamw({ learningRate })],
  ['adamw in 8 bits', (learningRate) => adamw8bit({ learningRate, minSize: 1 })],
  ['sgd', (learningRate) => sgd({ learningRate })],
  ['momentum', (learningRate) => sgd({ learningRate, momentum: 0.9 })],
  ['lion', (learningRate) => lion({ learningRate })],
  ['adafactor', (learningRate) => adafactor({ learningRate })],
);

/** The parameter after all updates. */
const run = async (optimizer: Optimizer, start: Vector, gradients: ReadonlyArray<Vector>): Promise<Vector> => {
  let parameters: Readonly<Record<string, Tensor>> = { 'w.weight': tensor([...start]) };
  let moments = optimizer.init(parameters);
  for (const [i, gradient] of gradients.entries()) {
    const update = await optimizer.prepare({
      step: i + 1,
      parameters,
      gradients: { 'w.weight': tensor([...gradient]) },
    });
    ({ parameters, moments } = optimizer.apply(update, moments));
  }
  const values = Array.from(parameters['w.weight']?.dataSync() ?? []);
  for (const slot of [parameters, ...Object.values(moments)]) for (const held of Object.values(slot)) held.dispose();
  return values;
};

const gap = (a: Vector, b: Vector): number => Math.max(0, ...a.map((value, i) => Math.abs(value - (b[i] ?? NaN))));

const norm = (vector: Vector): number => Math.hypot(...vector);

describe('optimizers', () => {
  test('AdamW is its formula in double precision', async () => {
    await fc.assert(
      fc.asyncProperty(
        vectors,
        fc.record({
          learningRate: fc.constantFrom(0.1, 0.01),
          beta1: fc.constantFrom(0, 0.5, 0.9),
          beta2: fc.constantFrom(0.5, 0.999),
          epsilon: fc.constantFrom(1e-3, 1e-8),
          weightDecay: fc.constantFrom(0, 0.3),
        }),
        async ({ start, gradients }, options) => {
          const { learningRate: rate, beta1, beta2, epsilon, weightDecay } = options;
          const p = [...start];
          const m = start.map(() => 0);
          const v = start.map(() => 0);
          gradients.forEach((gradient, t) => {
            gradient.forEach((g, i) => {
              m[i] = beta1 * (m[i] ?? 0) + (1 - beta1) * g;
              v[i] = beta2 * (v[i] ?? 0) + (1 - beta2) * g * g;
              const mHat = (m[i] ?? 0) / (1 - beta1 ** (t + 1));
              const vHat = (v[i] ?? 0) / (1 - beta2 ** (t + 1));
              p[i] = (p[i] ?? 0) * (1 - rate * weightDecay) - (rate * mHat) / (Math.sqrt(vHat) + epsilon);
            });
          });
          expect(gap(await run(chain(adamw(options)), start, gradients), p)).toBeLessThan(1e-4);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('clipping leaves a norm of at most the limit, and the direction alone', () => {
    fc.assert(
      fc.property(fc.array(number, { minLength: 1, maxLength: 9 }), fc.constantFrom(0.1, 1, 5), (gradient, limit) => {
        const factor = clipFactor(norm(gradient), limit);
        expect(norm(gradient.map((g) => g * factor))).toBeLessThanOrEqual(limit);
        expect(factor).toBeLessThanOrEqual(1);
        if (norm(gradient) < limit - 1e-3) expect(factor).toBe(1);
      }),
    );
  });

  test('the norm is that of all gradients laid end to end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(number, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 }),
        async (parts) => {
          const gradients = Object.fromEntries(parts.map((part, i) => [String(i), tensor(part)]));
          const actual = await globalNorm(gradients);
          for (const gradient of Object.values(gradients)) gradient.dispose();
          expect(Math.abs(actual - norm(parts.flat()))).toBeLessThan(1e-4);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('clipping is what scaling the gradients beforehand would be', async () => {
    await fc.assert(
      fc.asyncProperty(vectors, async ({ start, gradients }) => {
        const scaled = gradients.map((gradient) => gradient.map((g) => g * clipFactor(norm(gradient), 0.5)));
        const rule = sgd({ learningRate: 0.01, momentum: 0.5 });
        const clipped = await run(chain(clipByGlobalNorm(0.5), rule), start, gradients);
        expect(gap(clipped, await run(chain(rule), start, scaled))).toBeLessThan(1e-5);
      }),
      { numRuns: 30 },
    );
  });

  test('a constant schedule is the rate itself, for every rule', async () => {
    await fc.assert(
      fc.asyncProperty(vectors, rules, async ({ start, gradients }, [, rule]) => {
        const scheduled = await run(
          chain(
            rule(1),
            scaleBy(() => 0.02),
          ),
          start,
          gradients,
        );
        expect(gap(scheduled, await run(chain(rule(0.02)), start, gradients))).toBeLessThan(1e-6);
      }),
      { numRuns: 30 },
    );
  });

  test('one step goes against the gradient, for every rule', async () => {
    await fc.assert(
      fc.asyncProperty(vectors, rules, async ({ start, gradients }, [, rule]) => {
        const [gradient = []] = gradients;
        const after = await run(chain(rule(0.01)), start, [gradient]);
        after.forEach((value, i) => {
          const g = gradient[i] ?? 0;
          if (Math.abs(g) > 1e-3) expect(Math.sign((start[i] ?? 0) - value)).toBe(Math.sign(g));
        });
      }),
      { numRuns: 40 },
    );
  });
});
