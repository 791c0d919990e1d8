/** Routes of the native engine against their reference: the same experts in the same order, in every form of the engine. */
import { afterAll, expect, it } from '@jest/globals';
import '@tensorflow/tfjs-backend-cpu';
import { setBackend, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import type { RoutingShape } from '../../src/model/experts/routing.js';
import { RxRoutes, RxRoutesGrad } from '../../src/model/kernels/routes.js';
import { alive, configurations, describeNative, startNative } from '../../test/native.js';
import { values } from '../arbitraries/ops.js';

interface Asked {
  readonly n: number;
  readonly shape: RoutingShape;
  readonly seed: number;
  readonly alike: boolean;
  readonly corrected: boolean;
  readonly sloping: boolean;
}

const asked = fc
  .record({
    n: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 120, max: 300 })),
    inGroup: fc.integer({ min: 2, max: 5 }),
    groups: fc.constantFrom(1, 1, 3, 4),
    most: fc.integer({ min: 1, max: 6 }),
    normalized: fc.boolean(),
    scores: fc.constantFrom<'softmax' | 'sigmoid'>('softmax', 'sigmoid'),
    leastSum: fc.constantFrom(0, 0.4),
    factor: fc.constantFrom(1, 2.5),
    mixed: fc.boolean(),
    seed: fc.nat(1 << 20),
    alike: fc.boolean(),
    corrected: fc.boolean(),
    sloping: fc.boolean(),
  })
  .map(({ inGroup, groups, most, mixed, n, seed, alike, corrected, sloping, ...shape }): Asked => {
    const numExperts = inGroup * groups;
    const grouped = groups === 1 ? {} : { groups: { count: groups, chosen: groups - 1, best: 2 as const } };
    const perToken = Math.min(most, inGroup * Math.max(1, groups - 1));
    return {
      n,
      seed,
      alike,
      corrected,
      sloping,
      shape: mixed
        ? { numExperts, perToken, normalized: false, tolerance: 0.3 }
        : { numExperts, perToken, ...shape, ...grouped },
    };
  });

/** What both ops give, as numbers; nothing is left behind. */
const given = ({ n, shape, seed, alike, corrected, sloping }: Asked): ReadonlyArray<ReadonlyArray<number>> => {
  const { numExperts, perToken } = shape;
  const numbers = values(seed, [n, numExperts]).map((x) => (alike ? Math.round(4 * x) / 4 : 2 * x));
  const logits = tensor2d(numbers, [n, numExperts]);
  const correction = corrected ? tensor1d(values(seed + 1, [numExperts])) : undefined;
  const routes = RxRoutes.run({ logits, correction }, shape);
  const [probabilities, chosen, weights, , , , , shares] = routes as readonly [Tensor, Tensor, Tensor, ...Tensor[]];
  const dWeights = tensor2d(values(seed + 2, [n, perToken]), [n, perToken]);
  const slopes = sloping ? tensor1d(values(seed + 3, [numExperts])) : undefined;
  const back = RxRoutesGrad.run({ probabilities, chosen, weights, shares, dWeights, slopes }, shape);
  const all = [...routes, ...back];
  const result = all.map((tensor) => Array.from(tensor.dataSync()));
  for (const tensor of [...all, logits, dWeights]) tensor.dispose();
  correction?.dispose();
  slopes?.dispose();
  return result;
};

const close = (got: ReadonlyArray<number>, wanted: ReadonlyArray<number>): boolean =>
  got.length === wanted.length && got.every((x, i) => Math.abs(x - (wanted[i] ?? NaN)) <= 1e-6 * (1 + Math.abs(x)));

describeNative('routes of the native engine', () => {
  afterAll(() => setBackend('cpu'));

  it('are those of the reference, whatever the instructions and however many threads', async () => {
    await fc.assert(
      fc.asyncProperty(asked, async (a) => {
        await setBackend('cpu');
        const wanted = given(a);
        for (const configuration of configurations) {
          await startNative(configuration);
          const before = alive();
          const got = given(a);
          expect(alive()).toEqual(before);
          expect(got).toHaveLength(wanted.length);
          // Experts, counts and places to the number.
          for (const i of [1, 3, 4, 5, 6]) expect(got[i]).toEqual(wanted[i]);
          for (const [i, numbers] of wanted.entries()) expect([i, close(got[i] ?? [], numbers)]).toEqual([i, true]);
        }
      }),
      { numRuns: 15 },
    );
  });
});
