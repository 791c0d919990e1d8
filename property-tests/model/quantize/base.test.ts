/** Laws of models with quantised weights: they compute what their dequantised values do, whatever layout a checkpoint has. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { attachLora } from '../../../src/model/adapters/adapter.js';
import { logits, lossAndGradients } from '../../../src/model/causalLm.js';
import { mergeLora } from '../../../src/model/adapters/merge.js';
import type { CausalLM } from '../../../src/model/model.js';
import { expectedTensors } from '../../../src/model/architectures.js';
import { prepareWasm } from '../../../src/model/kernels/wasmBackend.js';
import { LoraConfig } from '../../../src/model/adapters/lora.js';
import { dequantizeModel, quantizeModel } from '../../../src/model/quantize/base.js';
import { QuantizationConfig } from '../../../src/model/quantize/config.js';
import {
  architectureNames,
  configs,
  documents,
  laidOut,
  modelOf,
  modelSeeds,
  noise,
} from '../../arbitraries/models.js';

const right = <A>(result: E.Either<Error, A>): A => {
  if (E.isLeft(result)) throw result.left;
  return result.right;
};

const numbers = (tensor: Tensor | undefined): ReadonlyArray<number> => Array.from(tensor?.dataSync() ?? [NaN]);

const near = (got: ReadonlyArray<number>, expected: ReadonlyArray<number>, tolerance: number): void => {
  expect(got).toHaveLength(expected.length);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
  got.forEach((x, i) => expect(Math.abs(x - (expected[i] ?? NaN))).toBeLessThanOrEqual(tolerance * largest));
};

const fourBits = fc
  .record({ bnb4bitQuantType: fc.constantFrom('nf4', 'fp4'), bnb4bitUseDoubleQuant: fc.boolean() })
  .map((options) => right(QuantizationConfig.decode({ loadIn4bit: true, ...options })));
const eightBits = right(QuantizationConfig.decode({ loadIn8bit: true }));
const lora = right(LoraConfig.decode({ r: 2, targetModules: 'all-linear' }));

const some = documents().map((rows) => laidOut(rows, 0.5));

/** A copy, so that one model can be two. */
const copied = (model: CausalLM): CausalLM => ({
  ...model,
  weights: Object.fromEntries(
    Object.entries(model.weights).map(([name, weight]) => [name, tf.tensor(weight.dataSync().slice(), weight.shape)]),
  ),
});

const stirred = (model: CausalLM): CausalLM => ({
  ...model,
  weights: Object.fromEntries(
    Object.entries(model.weights).map(([name, weight], i) => [
      name,
      name.includes('.lora_') ? tf.tensor(noise(i, weight.size), weight.shape) : weight,
    ]),
  ),
});

const law = <A>(name: string, arbitrary: fc.Arbitrary<A>, holds: (model: CausalLM, a: A) => void): void =>
  it(name, () => {
    fc.assert(
      fc.property(architectureNames, modelSeeds, arbitrary, (architecture, seed, a) => {
        tf.engine().startScope();
        try {
          holds(modelOf(configs[architecture] ?? {}, seed), a);
        } finally {
          tf.engine().endScope();
        }
      }),
      { numRuns: 8 },
    );
  });

beforeAll(async () => {
  await prepareWasm()();
});

describe('a model in 4 bits', () => {
  law('has the logits of its dequantised weights', fc.tuple(fourBits, some), (model, [config, { sequence }]) => {
    const quantized = right(quantizeModel(model, config));
    const before = numbers(logits(quantized, sequence));
    const plain = dequantizeModel(quantized);
    expect(plain.quantized).toBeUndefined();
    near(numbers(logits(plain, sequence)), before, 1e-5);
  });

  law("has the adapter's gradients of its dequantised weights", fc.tuple(fourBits, some), (model, [config, run]) => {
    const quantized = stirred(right(attachLora(right(quantizeModel(model, config)), lora, { seed: 3 })));
    const options = { seed: 1, step: 0, training: false } as const;
    const of = (adapted: CausalLM) => lossAndGradients(adapted, run.sequence, run.targets, options);
    const mine = of(quantized);
    const plain = of(dequantizeModel(quantized));
    near(numbers(mine.total), numbers(plain.total), 1e-5);
    expect(Object.keys(mine.gradients).sort()).toEqual(Object.keys(plain.gradients).sort());
    for (const [name, gradient] of Object.entries(plain.gradients))
      near(numbers(mine.gradients[name]), numbers(gradient), 1e-4);
  });
});

describe('a quantised model', () => {
  law(
    'leaves head, embeddings, norms and biases alone',
    fc.oneof(fourBits, fc.constant(eightBits)),
    (model, config) => {
      const plain = copied(model);
      const quantized = right(quantizeModel(model, config));
      const held = new Set(Object.keys(quantized.quantized?.scales ?? {}));
      for (const { name, kind, head, router } of expectedTensors(model.config)) {
        const isLinear = (kind === 'linear' || kind === 'conv1d') && head !== true && router !== true;
        expect({ name, held: held.has(name) }).toEqual({ name, held: isLinear });
        expect(quantized.trainable.includes(name)).toBe(!isLinear && kind !== 'buffer');
        if (!isLinear) expect(numbers(quantized.weights[name])).toEqual(numbers(plain.weights[name]));
      }
      expect(E.isLeft(quantizeModel(quantized, config))).toBe(true);
    },
  );

  law(
    'in 8 bits whose columns are all outliers has the logits of its dequantised weights',
    some,
    (model, { sequence }) => {
      const quantized = right(quantizeModel(model, { ...eightBits, llmInt8Threshold: 1e-9 }));
      const before = numbers(logits(quantized, sequence));
      // Activations are rounded to half precision all the same; of the delta rule's keys only the direction counts, which that turns
      // where they are short.
      const tolerance = 'delta' in model.config ? 0.1 : 0.01;
      near(before, numbers(logits(dequantizeModel(quantized), sequence)), tolerance);
    },
  );

  law(
    'merges an adapter into weights that stay quantised, with a warning',
    fc.tuple(fourBits, some),
    (model, [config, run]) => {
      const adapted = stirred(right(attachLora(right(quantizeModel(model, config)), lora, { seed: 3 })));
      const plain = dequantizeModel({ ...adapted, weights: copied(adapted).weights });
      const merged = right(mergeLora(adapted));
      expect(merged.warnings.map(({ code }) => code)).toEqual(['W_MERGE_ROUNDS']);
      const exact = right(mergeLora(plain));
      expect(exact.warnings).toEqual([]);
      // The merged weights are those of the exact merge, rounded to 4 bits again.
      const again = right(quantizeModel(exact.unload(), config));
      const unloaded = merged.unload();
      near(numbers(logits(unloaded, run.sequence)), numbers(logits(again, run.sequence)), 1e-4);
      expect(unloaded.trainable.some((name) => name in (unloaded.quantized?.scales ?? {}))).toBe(false);
    },
  );
});
