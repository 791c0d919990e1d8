/** Laws of GPTQ: on its calibration inputs it is no worse than rounding to nearest, and its factor is what it says. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { gptq, gptqValues, inverseFactor, outputError, roundToNearest } from '../../../src/model/quantize/gptq.js';
import { values } from '../../arbitraries/ops.js';

const layers = fc
  .record({
    rows: fc.integer({ min: 1, max: 8 }),
    columns: fc.integer({ min: 2, max: 24 }),
    seed: fc.nat(1 << 20),
    bits: fc.constantFrom(4 as const, 8 as const),
    descAct: fc.boolean(),
    sym: fc.boolean(),
  })
  .map(({ rows, columns, seed, ...options }) => {
    // Inputs that go together, as activations do: a few directions and a little noise.
    const samples = 4 * columns;
    const few = 3;
    const [directions, weights, noise] = [
      values(seed, [few, columns]),
      values(seed + 1, [samples, few]),
      values(seed + 2, [samples, columns]),
    ];
    const hessian = new Float64Array(columns * columns);
    for (let s = 0; s < samples; s++) {
      const x = Array.from({ length: columns }, (_, i) => {
        let sum = 0.3 * (noise[s * columns + i] ?? 0);
        for (let d = 0; d < few; d++) sum += (weights[s * few + d] ?? 0) * (directions[d * columns + i] ?? 0);
        return sum;
      });
      x.forEach((a, i) => {
        x.forEach((b, j) => {
          hessian[i * columns + j] = (hessian[i * columns + j] ?? 0) + a * b;
        });
      });
    }
    const shape = [rows, columns] as const;
    return {
      shape,
      hessian,
      weight: values(seed + 3, [rows, columns]),
      options: { ...options, groupSize: -1, dampPercent: 0.01 },
    };
  });

describe('GPTQ', () => {
  // No law of each layer: rounding column by column is greedy. So the layers are the same every time.
  it('changes the outputs on its calibration inputs less than rounding to nearest does, summed over layers', () => {
    const total = { own: 0, nearest: 0 };
    for (const { shape, hessian, weight, options } of fc.sample(layers, { numRuns: 160, seed: 1 })) {
      total.own += outputError(weight, gptqValues(gptq(weight, shape, hessian, options)), shape, hessian);
      total.nearest += outputError(weight, gptqValues(roundToNearest(weight, shape, options)), shape, hessian);
    }
    expect(total.own).toBeLessThan(0.8 * total.nearest);
  });

  it('has a factor whose square is the inverse', () => {
    fc.assert(
      fc.property(layers, ({ shape: [, n], hessian }) => {
        const damped = hessian.map((x, at) => x + (Math.floor(at / n) === at % n ? 1 : 0));
        const u = inverseFactor(damped, n);
        for (let i = 0; i < n; i++)
          for (let j = 0; j < n; j++) {
            let sum = 0;
            for (let k = 0; k < n; k++)
              for (let l = 0; l <= k; l++) sum += (damped[i * n + k] ?? 0) * (u[l * n + k] ?? 0) * (u[l * n + j] ?? 0);
            expect(Math.abs(sum - (i === j ? 1 : 0))).toBeLessThan(1e-6);
          }
      }),
      { numRuns: 20 },
    );
  });

  it('gives inputs that were never there weights of 0', () => {
    const hessian = Float64Array.of(2, 0, 0, 0);
    const options = { bits: 4, groupSize: -1, descAct: false, sym: true, dampPercent: 0.01 } as const;
    const back = gptqValues(gptq(Float32Array.of(1, 5), [1, 2], hessian, options));
    expect(back[1]).toBe(0);
    expect(back[0]).toBeCloseTo(1, 0);
  });
});
