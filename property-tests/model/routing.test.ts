/** Laws of routing: no token is lost, and the way back is the slope of the way there. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { balanceLoss, balanceSlopes, makeBalance, noteLoad } from '../../src/model/experts/balance.js';
import { routes, routesBack } from '../../src/model/experts/routing.js';
import type { Routing, RoutingShape } from '../../src/model/experts/routing.js';
import { permutation, values } from '../arbitraries/ops.js';

interface Asked extends RoutingShape {
  readonly n: number;
  readonly logits: Float32Array;
}

/** Logits of which many are alike: they are rounded to quarters. */
const asked = fc
  .record({
    n: fc.integer({ min: 1, max: 12 }),
    numExperts: fc.integer({ min: 1, max: 9 }),
    most: fc.integer({ min: 1, max: 9 }),
    normalized: fc.boolean(),
    scores: fc.constantFrom('softmax', 'sigmoid'),
    factor: fc.constantFrom(undefined, 2.5),
    seed: fc.nat(1 << 20),
    alike: fc.boolean(),
  })
  .map(
    ({ n, numExperts, most, normalized, scores, factor, seed, alike }): Asked => ({
      n,
      numExperts,
      perToken: Math.min(most, numExperts),
      normalized,
      scores,
      ...(factor === undefined ? {} : { factor }),
      logits: values(seed, [n, numExperts]).map((x) => (alike ? Math.round(4 * x) / 4 : 2 * x)),
    }),
  );

const law = (name: string, holds: (a: Asked, routing: Routing) => void): void =>
  it(name, () => {
    fc.assert(fc.property(asked, (a) => holds(a, routes(a.logits, a))));
  });

const rowOf = (all: ArrayLike<number>, n: number, width: number): ReadonlyArray<number> =>
  Array.from({ length: width }, (_, i) => all[n * width + i] ?? NaN);

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((a, b) => a + b, 0);

describe('routes', () => {
  law('lose no token: each is with each of its experts once, in order', ({ n, perToken }, { tokens, chosen }) => {
    const pairs = tokens.flatMap((own, e) => Array.from(own, (token) => `${token}:${e}`));
    const wanted = Array.from(chosen, (e, i) => `${Math.floor(i / perToken)}:${e}`);
    expect(pairs.length).toBe(n * perToken);
    expect(new Set(pairs)).toEqual(new Set(wanted));
    for (const own of tokens) expect(Array.from(own)).toEqual(Array.from(own).sort((a, b) => a - b));
  });

  law('find each row of each token where the experts lay it', ({ perToken }, { tokens, chosen, places }) => {
    const laid = tokens.flatMap((own, e) => Array.from(own, (token) => ({ token, expert: e })));
    expect(Array.from(places).sort((a, b) => a - b)).toEqual(Array.from(places.keys()));
    places.forEach((place, i) => {
      expect(laid[place]).toEqual({ token: Math.floor(i / perToken), expert: chosen[i] });
    });
  });

  law(
    'go to the largest logits, of equal ones to the lower numbers',
    ({ n, numExperts, perToken, logits }, { chosen }) => {
      for (let i = 0; i < n; i++) {
        const own = rowOf(logits, i, numExperts);
        const order = Array.from(own.keys()).sort((a, b) => (own[b] ?? 0) - (own[a] ?? 0) || a - b);
        expect(rowOf(chosen, i, perToken)).toEqual(order.slice(0, perToken));
      }
    },
  );

  law('weigh by the probabilities, or so that they sum to the factor', (a, { probabilities, chosen, weights }) => {
    for (let i = 0; i < a.n; i++) {
      const all = rowOf(probabilities, i, a.numExperts);
      const logits = rowOf(a.logits, i, a.numExperts);
      const exps = sum(logits.map(Math.exp));
      logits.forEach((logit, e) => {
        const share = a.scores === 'sigmoid' ? 1 / (1 + Math.exp(-logit)) : Math.exp(logit) / exps;
        expect(all[e]).toBeCloseTo(share, 5);
      });
      const own = rowOf(chosen, i, a.perToken).map((e) => all[e] ?? NaN);
      const counted = rowOf(weights, i, a.perToken);
      const { factor = 1 } = a;
      if (a.normalized) expect(sum(counted)).toBeCloseTo(factor, 5);
      const divisor = (a.normalized ? sum(own) : 1) / factor;
      counted.forEach((weight, j) => expect(weight).toBeCloseTo((own[j] ?? NaN) / divisor, 5));
    }
  });

  it('choose by corrected scores within the best groups, and weigh by scores alone', () => {
    const grouped = fc.record({
      n: fc.integer({ min: 1, max: 6 }),
      count: fc.integer({ min: 2, max: 4 }),
      size: fc.integer({ min: 2, max: 4 }),
      best: fc.constantFrom<1 | 2>(1, 2),
      scores: fc.constantFrom<'softmax' | 'sigmoid'>('softmax', 'sigmoid'),
      corrected: fc.boolean(),
      seed: fc.nat(1 << 20),
    });
    fc.assert(
      fc.property(grouped, ({ n, count, size, best, scores, corrected, seed }) => {
        const numExperts = count * size;
        const groups = { count, chosen: count - 1, best };
        const shape: RoutingShape = { numExperts, perToken: 2, normalized: false, scores, groups };
        const correction = corrected ? values(seed + 1, [numExperts]) : undefined;
        const { probabilities, chosen, weights } = routes(values(seed, [n, numExperts]), shape, correction);
        for (let i = 0; i < n; i++) {
          const all = rowOf(probabilities, i, numExperts);
          const ranked = all.map((p, e) => Math.fround(p + (correction?.[e] ?? 0)));
          const worth = Array.from({ length: count }, (_, g) =>
            Math.fround(
              sum(
                ranked
                  .slice(g * size, (g + 1) * size)
                  .toSorted((x, y) => y - x)
                  .slice(0, best),
              ),
            ),
          );
          const open = worth.map((one) => one > Math.min(...worth));
          const order = ranked
            .map((value, e) => ({ value, e }))
            .filter(({ e }) => open[Math.floor(e / size)])
            .toSorted((x, y) => y.value - x.value);
          expect(rowOf(chosen, i, 2)).toEqual(order.slice(0, 2).map(({ e }) => e));
          expect(rowOf(weights, i, 2)).toEqual(rowOf(chosen, i, 2).map((e) => all[e]));
        }
      }),
    );
  });

  const mixed = fc.record({
    n: fc.integer({ min: 1, max: 6 }),
    numExperts: fc.integer({ min: 2, max: 7 }),
    tolerance: fc.constantFrom(0.02, 0.6, 2),
    seed: fc.nat(1 << 20),
  });

  it('weigh each by itself with a tolerance: among those close to it that were not chosen before', () => {
    fc.assert(
      fc.property(mixed, ({ n, numExperts, tolerance, seed }) => {
        const logits = values(seed, [n, numExperts]);
        const { chosen, weights } = routes(logits, { numExperts, perToken: 2, normalized: false, tolerance });
        for (let i = 0; i < n; i++) {
          let left = Array.from(rowOf(logits, i, numExperts).entries());
          rowOf(chosen, i, 2).forEach((expert, j) => {
            const best = logits[i * numExperts + expert] ?? NaN;
            const close = left.filter(([, x]) => (best - x) / Math.max(Math.abs(x), best) <= tolerance);
            expect(weights[2 * i + j]).toBeCloseTo(Math.exp(best) / sum(close.map(([, x]) => Math.exp(x))), 5);
            left = left.filter(([e]) => e !== expert);
          });
        }
      }),
    );
  });

  it('with a tolerance have a way back that agrees with finite differences', () => {
    fc.assert(
      fc.property(mixed, ({ n, numExperts, tolerance, seed }) => {
        const shape: RoutingShape = { numExperts, perToken: 2, normalized: false, tolerance };
        const logits = values(seed, [n, numExperts]);
        const routing = routes(logits, shape);
        const dWeights = values(seed + 1, [n, 2]);
        const slopes = values(seed + 2, [numExperts]);
        const direction = values(seed + 3, [n, numExperts]);
        const gradient = routesBack(routing, shape, dWeights, slopes);
        /** In double precision, with the experts as they were chosen, among the same others. */
        const along = (t: number): number =>
          sum(
            Array.from({ length: n }, (_, i) => {
              const exps = rowOf(logits, i, numExperts).map((x, e) =>
                Math.exp(x + t * (direction[i * numExperts + e] ?? NaN)),
              );
              const weighed = [2 * i, 2 * i + 1].map((at) => {
                const among = exps.filter((_, e) => (routing.shares?.[at * numExperts + e] ?? NaN) > 0);
                return ((exps[routing.chosen[at] ?? 0] ?? NaN) / sum(among)) * (dWeights[at] ?? NaN);
              });
              return sum(weighed) + sum(exps.map((x, e) => (x / sum(exps)) * (slopes[e] ?? NaN)));
            }),
          );
        const step = 1e-4;
        const slope = (along(step) - along(-step)) / (2 * step);
        const product = sum(Array.from(gradient, (g, i) => g * (direction[i] ?? NaN)));
        expect(Math.abs(slope - product)).toBeLessThan(1e-4 * (1 + n));
      }),
    );
  });

  it('name experts that are different and there even where logits are no numbers', () => {
    const shape = { numExperts: 4, perToken: 3, normalized: true };
    for (const logits of [
      [NaN, NaN, NaN, NaN],
      [-Infinity, 1, NaN, 2],
      [0, -Infinity, -Infinity, -Infinity],
    ]) {
      const { chosen } = routes(Float32Array.from(logits), shape);
      expect(new Set(chosen).size).toBe(3);
      expect(Array.from(chosen).every((e) => e >= 0 && e < 4)).toBe(true);
    }
  });

  law('have a way back that agrees with finite differences', (a, routing) => {
    const { n, numExperts, perToken, logits } = a;
    const dWeights = values(n * 31 + numExperts, [n, perToken]);
    const slopes = values(perToken, [numExperts]);
    const gradient = routesBack(routing, a, dWeights, slopes);
    const direction = values(n + 7, [n, numExperts]);
    /** In double precision, with the experts as they were chosen. */
    const along = (t: number): number =>
      sum(
        Array.from({ length: n }, (_, i) => {
          const moved = rowOf(logits, i, numExperts).map((x, e) => x + t * (direction[i * numExperts + e] ?? 0));
          const exps = moved.map(Math.exp);
          const p = a.scores === 'sigmoid' ? exps.map((x) => x / (1 + x)) : exps.map((x) => x / sum(exps));
          const own = rowOf(routing.chosen, i, perToken).map((e) => p[e] ?? NaN);
          const divisor = (a.normalized ? sum(own) : 1) / (a.factor ?? 1);
          return (
            sum(own.map((x, j) => (x / divisor) * (dWeights[i * perToken + j] ?? NaN))) +
            sum(p.map((x, e) => x * (slopes[e] ?? NaN)))
          );
        }),
      );
    const step = 1e-4;
    const slope = (along(step) - along(-step)) / (2 * step);
    const product = sum(Array.from(gradient, (g, i) => g * (direction[i] ?? NaN)));
    expect(Math.abs(slope - product)).toBeLessThan(1e-4 * (1 + n));
  });
});

describe('the load-balancing loss', () => {
  law('is the k experts a token where all are alike, and never less where each token has what it likes best', (a) => {
    const shape: RoutingShape = { ...a, scores: 'softmax' };
    const balance = makeBalance(1);
    noteLoad(balance, 0, routes(a.logits, shape));
    const even = makeBalance(1);
    noteLoad(even, 0, routes(new Float32Array(a.logits.length), shape));
    expect(balanceLoss(even)).toBeCloseTo(a.perToken, 4);
    if (a.n === 1) expect(balanceLoss(balance)).toBeGreaterThan(a.perToken - 1e-4);
  });

  law('is the same in whatever order tokens come, and layers', (a, routing) => {
    const { n, numExperts, logits } = a;
    const order = permutation(n, n);
    const moved = Float32Array.from(Array.from(order).flatMap((i) => rowOf(logits, i, numExperts)));
    const other = routes(
      logits.map((x) => -x),
      a,
    );
    const [one, two] = [makeBalance(0.3), makeBalance(0.3)];
    noteLoad(one, 0, routing);
    noteLoad(one, 1, other);
    noteLoad(two, 1, routes(moved, a));
    noteLoad(two, 0, other);
    expect(balanceLoss(two)).toBeCloseTo(balanceLoss(one), 5);
  });

  law('counts what routers like, whatever corrections make of it', (a, routing) => {
    const [plain, corrected] = [makeBalance(1), makeBalance(1)];
    noteLoad(plain, 0, routing);
    noteLoad(corrected, 0, routes(a.logits, a, values(a.n, [a.numExperts])));
    expect(balanceLoss(corrected)).toBe(balanceLoss(plain));
  });

  law('says the same when a layer runs again', (a, routing) => {
    const balance = makeBalance(1);
    noteLoad(balance, 0, routing);
    const other = routes(
      a.logits.map((x) => -x),
      a,
    );
    noteLoad(balance, 1, other);
    const before = balanceLoss(balance);
    noteLoad(balance, 0, routing);
    expect(balanceLoss(balance)).toBe(before);
  });

  law('has as slopes what a probability more of an expert would cost', (a, routing) => {
    const of = (more: number, expert: number): number => {
      const balance = makeBalance(0.7);
      const probabilities = routing.probabilities.slice();
      probabilities[expert] = (probabilities[expert] ?? NaN) + more;
      noteLoad(balance, 3, { ...routing, probabilities });
      return 0.7 * balanceLoss(balance);
    };
    const balance = makeBalance(0.7);
    noteLoad(balance, 3, routing);
    const slopes = balanceSlopes(balance);
    expect(slopes).toHaveLength(a.numExperts);
    slopes.forEach((slope, e) => expect((of(0.25, e) - of(-0.25, e)) / 0.5).toBeCloseTo(slope, 4));
  });
});
