/** Laws of decoding: the cache changes nothing, and what is drawn from is a distribution. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { logits } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { distribution, generate, penalised } from '../../src/model/generate.js';
import { startUnderTest } from '../../test/engine.js';
import { architectureNames, configs, documents, laidOut, modelOf, modelSeeds } from '../arbitraries/models.js';

beforeAll(async () => {
  await startUnderTest('wasm');
});

/** Logits after the ids, without any cache. */
const after = (model: CausalLM, ids: ReadonlyArray<number>): ReadonlyArray<number> => {
  const { sequence } = laidOut({ ids: [ids], supervised: [[]] }, 1);
  const values = logits(model, sequence, Int32Array.of(ids.length - 1));
  const read = Array.from(values.dataSync());
  values.dispose();
  return read;
};

describe('greedy generation', () => {
  it('gives at every step an id that no logit of a pass without cache exceeds', async () => {
    await fc.assert(
      fc.asyncProperty(
        architectureNames,
        modelSeeds,
        documents({ maxDocuments: 1 }),
        async (name, seed, { ids: [prompt = []] }) => {
          const model = modelOf(configs[name] ?? {}, seed);
          const before = tf.memory().numTensors;
          const ids = [...prompt];
          for await (const id of generate(model, Int32Array.from(prompt), { maxNewTokens: 6, stopIds: [] })) {
            const all = after(model, ids);
            const highest = Math.max(...all);
            expect((all[id] ?? NaN) - highest).toBeGreaterThan(-1e-4);
            ids.push(id);
          }
          expect(ids).toHaveLength(prompt.length + 6);
          expect(tf.memory().numTensors).toBe(before);
          tf.dispose({ ...model.weights });
        },
      ),
      { numRuns: 15 },
    );
  });
});

const someLogits = fc
  .array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 12 })
  .map((tenths) => Float32Array.from(tenths, (x) => x / 10));
const sampling = fc.record({
  temperature: fc.constantFrom(0.2, 1, 3),
  topK: fc.constantFrom(undefined, 1, 3, 100),
  topP: fc.constantFrom(1, 0.9, 0.5, 0.01),
});

describe('what is drawn from', () => {
  it('is a distribution, likeliest first, of distinct ids', () => {
    fc.assert(
      fc.property(someLogits, sampling, (values, options) => {
        const { ids, probabilities } = distribution(values, options);
        expect(probabilities.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 9);
        expect(new Set(ids).size).toBe(ids.length);
        expect(probabilities).toHaveLength(ids.length);
        probabilities.slice(1).forEach((p, i) => expect(p).toBeLessThanOrEqual(probabilities[i] ?? 0));
        const last = values[ids[ids.length - 1] ?? -1] ?? NaN;
        const left = Array.from(values.keys()).filter((id) => !ids.includes(id));
        left.forEach((id) => expect(values[id] ?? NaN).toBeLessThanOrEqual(last));
        if (options.topK !== undefined) expect(ids.length).toBeLessThanOrEqual(options.topK);
      }),
    );
  });

  it('ranks any numbers by size and then by id', () => {
    const number = fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(0, -0, 1e-45, -1e-45, 1, Infinity, -Infinity));
    fc.assert(
      fc.property(fc.float32Array({ noNaN: true }), fc.array(number, { minLength: 1 }), (some, others) => {
        const values = Float32Array.from([...some, ...others]);
        const wanted = Array.from(values.keys()).sort((a, b) => {
          const [x = 0, y = 0] = [values[a], values[b]];
          return x === y ? a - b : x > y ? -1 : 1;
        });
        expect(distribution(values, { temperature: 1, topK: undefined, topP: 1 }).ids).toEqual(wanted);
      }),
    );
  });

  it('is the shortest head that reaches topP', () => {
    fc.assert(
      fc.property(someLogits, fc.constantFrom(0.9, 0.5, 0.2), (values, topP) => {
        const all = distribution(values, { temperature: 1, topK: undefined, topP: 1 });
        const { ids } = distribution(values, { temperature: 1, topK: undefined, topP });
        const mass = (n: number): number => all.probabilities.slice(0, n).reduce((sum, p) => sum + p, 0);
        expect(all.ids.slice(0, ids.length)).toEqual(ids);
        expect(mass(ids.length)).toBeGreaterThanOrEqual(topP - 1e-9);
        expect(mass(ids.length - 1)).toBeLessThan(topP + 1e-9);
      }),
    );
  });

  it('is penalised by order of occurrence never, by number of occurrences never', () => {
    fc.assert(
      fc.property(someLogits, fc.array(fc.nat(11)), fc.constantFrom(1, 1.3, 2), (values, seen, penalty) => {
        const once = penalised(values, seen, penalty);
        expect(penalised(values, [...seen, ...seen].reverse(), penalty)).toEqual(once);
        once.forEach((x, id) => {
          expect(x).toBeLessThanOrEqual(values[id] ?? NaN);
          if (penalty === 1 || !seen.includes(id)) expect(x).toBe(values[id]);
          else if (values[id] !== 0) expect(x).toBeLessThan(values[id] ?? NaN);
        });
      }),
    );
  });
});
