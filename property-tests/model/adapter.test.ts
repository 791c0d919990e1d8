/** Laws of LoRA: a fresh adapter is nothing, merging changes no logit, and what is taken out goes back in. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { adapterTensors, attachSavedLora } from '../../src/model/adapters/savedAdapter.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { lossAndGradients, logits } from '../../src/model/causalLm.js';
import { mergeAndUnload, mergeLora } from '../../src/model/adapters/merge.js';
import type { CausalLM } from '../../src/model/model.js';
import { adaptedModule, isAdapterName } from '../../src/model/adapters/adapterNames.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { weightOf } from '../../src/model/weights.js';
import { startUnderTest } from '../../test/engine.js';
import { architectureNames, configs, documents, laidOut, modelOf, modelSeeds, noise } from '../arbitraries/models.js';

const right = <A>(result: E.Either<Error, A>): A => {
  if (E.isLeft(result)) throw result.left;
  return result.right;
};

const adapters = fc
  .record({
    r: fc.integer({ min: 1, max: 3 }),
    loraAlpha: fc.constantFrom(1, 4),
    useRslora: fc.boolean(),
    useDora: fc.boolean(),
    // Embeddings of every architecture, the head and a layer's maps among them.
    targetModules: fc.constantFrom(undefined, 'all-linear', '.*\\.1\\..*', '.*(embed_tokens|wte|lm_head|1\\..*)'),
    bias: fc.constantFrom('none' as const, 'all' as const, 'lora_only' as const),
    modulesToSave: fc.constantFrom(undefined, ['lm_head']),
    trainableTokenIndices: fc.constantFrom(undefined, [5, 2]),
    initLoraWeights: fc.constantFrom<(boolean | 'gaussian')[]>(true, 'gaussian'),
  })
  .map((options) =>
    // A table has rows that train apart, or an adapter.
    options.targetModules?.includes('embed') === true ? { ...options, trainableTokenIndices: undefined } : options,
  )
  .map((options) => right(LoraConfig.decode(JSON.parse(JSON.stringify(options)))));

const numbers = (tensor: Tensor): ReadonlyArray<number> => Array.from(tensor.dataSync());

const near = (got: ReadonlyArray<number>, expected: ReadonlyArray<number>, tolerance = 1e-4): void => {
  expect(got).toHaveLength(expected.length);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
  got.forEach((x, i) => expect(Math.abs(x - (expected[i] ?? NaN))).toBeLessThanOrEqual(tolerance * largest));
};

/** The model with an adapter that does something. */
const stirred = (model: CausalLM, seed: number): CausalLM => {
  const weights = Object.entries(model.weights).map(([name, weight], i) => {
    if (!isAdapterName(name)) return [name, weight] as const;
    const moved = tf.tensor(noise(seed + i, weight.size), weight.shape);
    weight.dispose();
    return [name, moved] as const;
  });
  return { ...model, weights: Object.fromEntries(weights) };
};

const law = <A>(
  name: string,
  arbitrary: fc.Arbitrary<A>,
  holds: (model: CausalLM, config: LoraConfig, a: A) => void,
): void =>
  it(name, () => {
    fc.assert(
      fc.property(architectureNames, modelSeeds, adapters, arbitrary, (architecture, seed, config, a) => {
        tf.engine().startScope();
        try {
          holds(modelOf(configs[architecture] ?? {}, seed), config, a);
        } finally {
          tf.engine().endScope();
        }
      }),
      { numRuns: 15 },
    );
  });

const some = documents().map((rows) => laidOut(rows, 0.5));

beforeAll(async () => {
  await startUnderTest('wasm');
});

describe('an adapter', () => {
  law('that is new changes no logit', some, (model, config, { sequence }) => {
    const before = numbers(logits(model, sequence));
    const attached = right(attachLora(model, config, { seed: 7 }));
    expect(numbers(logits(attached, sequence))).toEqual(before);
  });

  law('merged gives the same logits, and taken out again the very weights', some, (model, config, { sequence }) => {
    const attached = stirred(right(attachLora(model, config, { seed: 7 })), 5);
    const weights = Object.fromEntries(
      Object.entries(attached.weights).map(([name, weight]) => [name, numbers(weight)]),
    );
    const before = numbers(logits(attached, sequence));
    const merged = right(mergeLora(attached));
    near(numbers(logits(merged.model, sequence)), before);
    const again = merged.unmerge();
    expect(Object.fromEntries(Object.entries(again.weights).map(([name, weight]) => [name, numbers(weight)]))).toEqual(
      weights,
    );
    expect(numbers(logits(again, sequence))).toEqual(before);
  });

  law('merged in place comes out again within the rounding of two sums', some, (model, config, { sequence }) => {
    const attached = stirred(right(attachLora(model, config, { seed: 7 })), 5);
    const plain = Object.fromEntries(Object.entries(attached.weights).map(([name, weight]) => [name, numbers(weight)]));
    const before = numbers(logits(attached, sequence));
    const merged = right(mergeLora(attached, { inPlace: true }));
    near(numbers(logits(merged.model, sequence)), before);
    const inside = Object.fromEntries(
      Object.keys(plain).map((name) => [name, numbers(weightOf(merged.model.weights, name))]),
    );
    const again = merged.unmerge();
    expect(Object.keys(again.weights).sort()).toEqual(Object.keys(plain).sort());
    for (const [name, values] of Object.entries(plain)) {
      const back = numbers(weightOf(again.weights, name));
      const bound = (w: number, m: number): number =>
        config.useDora ? 1e-5 * Math.max(1, ...values.map(Math.abs)) : 2 ** -23 * (Math.abs(w) + Math.abs(m - w));
      values.forEach((w, i) =>
        expect(Math.abs((back[i] ?? NaN) - w)).toBeLessThanOrEqual(bound(w, inside[name]?.[i] ?? NaN)),
      );
    }
  });

  law('merged and unloaded leaves the names of a plain model', some, (model, config, { sequence }) => {
    const names = new Set([...Object.keys(model.weights), 'lm_head.weight']);
    const attached = stirred(right(attachLora(model, config, { seed: 7 })), 5);
    const before = numbers(logits(attached, sequence));
    const unloaded = right(mergeAndUnload(attached)).model;
    expect(unloaded.lora).toBeUndefined();
    expect(Object.keys(unloaded.weights).every((name) => names.has(name))).toBe(true);
    near(numbers(logits(unloaded, sequence)), before);
  });

  law('saved and attached to the base again gives the same logits', some, (model, config, { sequence }) => {
    const attached = stirred(right(attachLora(model, config, { seed: 7 })), 5);
    const saved = adapterTensors(attached);
    const again = right(attachSavedLora(model, config, saved));
    expect(numbers(logits(again, sequence))).toEqual(numbers(logits(attached, sequence)));
    expect([...again.trainable].sort()).toEqual([...attached.trainable].sort());
    expect(right(attachSavedLora(model, config, saved, { isTrainable: false })).trainable).toEqual([]);
  });

  law('trains alone, with what bias and modulesToSave name', some, (model, config, { sequence, targets }) => {
    const attached = stirred(right(attachLora(model, config, { seed: 7 })), 5);
    const { gradients } = lossAndGradients(attached, sequence, targets, { seed: 1, step: 0, training: false });
    expect(Object.keys(gradients).sort()).toEqual([...attached.trainable].sort());
    const modules = new Set(attached.trainable.filter(isAdapterName).map((name) => adaptedModule(name)));
    for (const name of Object.keys(gradients)) {
      const module = name.replace(/\.[^.]*$/, '');
      const allowed =
        isAdapterName(name) ||
        (config.bias === 'all' && name.endsWith('bias')) ||
        (config.bias === 'lora_only' && name.endsWith('bias') && modules.has(module)) ||
        (config.modulesToSave?.includes('lm_head') === true && module === 'lm_head');
      expect({ name, allowed }).toEqual({ name, allowed: true });
    }
  });

  law('has gradients that agree with finite differences', some, (model, config, { sequence, targets }) => {
    fc.pre(targets.rows.length > 0);
    const attached = stirred(right(attachLora(model, config, { seed: 7 })), 5);
    const options = { seed: 1, step: 0, training: false } as const;
    const { gradients } = lossAndGradients(attached, sequence, targets, options);
    // DoRA's lengths count as constants on the way back: only its magnitudes have the gradient of the value.
    const names = attached.trainable.filter((name) => !config.useDora || !/\.lora_(?:embedding_)?[AB]\b/.test(name));
    const direction = Object.fromEntries(
      names.map((name, i) => [name, noise(90 + i, attached.weights[name]?.size ?? 0)]),
    );
    const along = (t: number): number => {
      const weights = { ...attached.weights };
      for (const name of names) {
        const weight = weights[name];
        if (weight === undefined) continue;
        weights[name] = tf.tensor(
          Float32Array.from(weight.dataSync(), (x, i) => x + t * (direction[name]?.[i] ?? NaN)),
          weight.shape,
        );
      }
      const { loss } = lossAndGradients({ ...attached, weights }, sequence, targets, options);
      return numbers(loss).reduce((sum, value) => sum + 0.5 * value, 0);
    };
    // A kink of relu within the longer step spoils its slope, rounding that of the shorter one.
    const slopes = [5e-3, 1e-3].map((step) => (along(step) - along(-step)) / (2 * step));
    let product = 0;
    let scale = 1;
    for (const [name, gradient] of Object.entries(gradients)) {
      if (!names.includes(name)) continue;
      numbers(gradient).forEach((g, i) => {
        product += g * (direction[name]?.[i] ?? NaN);
        scale += Math.abs(g) * 0.3;
      });
    }
    expect(Math.min(...slopes.map((slope) => Math.abs(slope - product)))).toBeLessThan(1e-2 * scale);
  });
});

describe('an adapter with dropout', () => {
  it('has the same gradients when its block runs twice, and none of it in evaluation', () => {
    fc.assert(
      fc.property(architectureNames, modelSeeds, some, (architecture, seed, { sequence, targets }) => {
        tf.tidy(() => {
          const config = right(LoraConfig.decode({ targetModules: 'all-linear', loraDropout: 0.5 }));
          const attached = stirred(
            right(attachLora(modelOf(configs[architecture] ?? {}, seed), config, { seed: 7 })),
            5,
          );
          const options = { seed: 1, step: 4, training: true, dropout: false } as const;
          const kept = lossAndGradients(attached, sequence, targets, options).gradients;
          const again = lossAndGradients(attached, sequence, targets, {
            ...options,
            gradientCheckpointing: true,
          }).gradients;
          for (const [name, gradient] of Object.entries(kept))
            near(numbers(again[name] ?? tf.scalar(NaN)), numbers(gradient), 1e-6);
          const still = right(
            attachSavedLora(
              modelOf(configs[architecture] ?? {}, seed),
              { ...config, loraDropout: 0 },
              adapterTensors(attached),
            ),
          );
          expect(numbers(logits(attached, sequence))).toEqual(numbers(logits(still, sequence)));
        });
      }),
      { numRuns: 10 },
    );
  });
});
