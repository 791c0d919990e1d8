import { beforeAll, describe, expect, test } from '@jest/globals';
import '@tensorflow/tfjs-backend-cpu';
import { memory, setBackend, sign, tensor } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { adafactor } from '../../src/train/optimizers/adafactor.js';
import { adamw } from '../../src/train/optimizers/adamw.js';
import { adamw8bit } from '../../src/train/optimizers/adamw8bit.js';
import { lion } from '../../src/train/optimizers/lion.js';
import {
  chain,
  clipByGlobalNorm,
  clipFactor,
  decays,
  eachParameter,
  mapGradients,
  scaleBy,
} from '../../src/train/optimizers/optimizer.js';
import type { GradientTransform, Optimizer } from '../../src/train/optimizers/optimizer.js';
import { constant, linearDecay } from '../../src/train/optimizers/schedule.js';
import { loraplusFactor, withRates } from '../../src/train/optimizers/rates.js';
import { sgd } from '../../src/train/optimizers/sgd.js';

beforeAll(() => setBackend('cpu'));

type Numbers = ReadonlyArray<number> | ReadonlyArray<ReadonlyArray<number>>;

const tensors = (values: Readonly<Record<string, Numbers>>): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, tensor(value as number[])]));

/** Parameters after each of several updates with the gradients given. */
const run = async (
  optimizer: Optimizer,
  start: Readonly<Record<string, Numbers>>,
  gradients: ReadonlyArray<Readonly<Record<string, Numbers>>>,
): Promise<ReadonlyArray<Readonly<Record<string, ReadonlyArray<number>>>>> => {
  let parameters: Readonly<Record<string, Tensor>> = tensors(start);
  let moments = optimizer.init(parameters);
  const seen = [];
  for (const [i, gradient] of gradients.entries()) {
    const update = await optimizer.prepare({ step: i + 1, parameters, gradients: tensors(gradient) });
    ({ parameters, moments } = optimizer.apply(update, moments));
    seen.push(
      Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, Array.from(value.dataSync())])),
    );
  }
  return seen;
};

const expectClose = (actual: ReadonlyArray<number> | undefined, expected: ReadonlyArray<number>): void => {
  expect(actual?.length).toBe(expected.length);
  expected.forEach((value, i) => expect(actual?.[i]).toBeCloseTo(value, 6));
};

describe('AdamW', () => {
  const gradients = [{ 'a.weight': [0.5, -1] }, { 'a.weight': [0.25, 0.5] }];

  test('gives the numbers of torch', async () => {
    const [first, second] = await run(chain(adamw({ learningRate: 5e-5 })), { 'a.weight': [1, -2] }, gradients);
    expectClose(first?.['a.weight'], [0.999949992, -1.999950051]);
    expectClose(second?.['a.weight'], [0.999903381, -1.9999367]);
  });

  test('gives the numbers of torch with weight decay', async () => {
    const optimizer = chain(adamw({ learningRate: 5e-5, weightDecay: 0.01 }));
    const [first, second] = await run(optimizer, { 'a.weight': [1, -2] }, gradients);
    expectClose(first?.['a.weight'], [0.999949515, -1.999949098]);
    expectClose(second?.['a.weight'], [0.999902427, -1.999934793]);
  });

  test('does not decay biases and norm weights', async () => {
    const names = ['a.weight', 'a.bias', 'input_layernorm.weight'];
    const all = (value: number): Readonly<Record<string, Numbers>> =>
      Object.fromEntries(names.map((n) => [n, [value]]));
    const [after] = await run(chain(adamw({ learningRate: 0.1, weightDecay: 0.5 })), all(1), [all(0)]);
    expect(names.map((name) => Number(after?.[name]?.[0]?.toFixed(6)))).toEqual([0.95, 1, 1]);
  });
});

test.each([
  ['model.layers.0.input_layernorm.weight', false],
  ['model.layers.0.post_attention_layernorm.weight', false],
  ['model.layers.0.self_attn.q_norm.weight', false],
  ['model.norm.weight', false],
  ['transformer.h.0.ln_1.weight', false],
  ['transformer.ln_f.weight', false],
  ['model.decoder.layers.3.final_layer_norm.weight', false],
  ['transformer.h.0.attn.c_attn.bias', false],
  ['model.embed_tokens.weight', true],
  ['lm_head.weight', true],
  ['transformer.h.0.attn.c_attn.weight', true],
  ['model.layers.0.self_attn.q_proj.lora_A.weight', true],
])('%s decays: %s', (name, expected) => expect(decays(name)).toBe(expected));

describe('clipping', () => {
  test('scales all gradients together by max / (norm + 1e-6)', async () => {
    const optimizer = chain(clipByGlobalNorm(1), sgd({ learningRate: 1 }));
    const parameters = tensors({ a: [0, 0], b: [0] });
    const update = await optimizer.prepare({ step: 1, parameters, gradients: tensors({ a: [3, 4], b: [12] }) });
    expect(update.gradNorm).toBeCloseTo(13, 5);
    const moved = optimizer.apply(update, optimizer.init(parameters)).parameters;
    expectClose(Array.from(moved['a']?.dataSync() ?? []), [-0.230769, -0.307692]);
    expectClose(Array.from(moved['b']?.dataSync() ?? []), [-0.923077]);
  });

  test('is off at 0 and null, and leaves small gradients alone', () => {
    expect([clipFactor(13, 0), clipFactor(13, null), clipFactor(0.5, 1)]).toEqual([1, 1, 1]);
  });
});

// torch 2.13: SGD(lr=0.1, momentum=0.9, weight_decay=0.1) on (1, -2) with gradients (0.5, -1) twice.
test('momentum descent gives the numbers of torch', async () => {
  const optimizer = chain(sgd({ learningRate: 0.1, momentum: 0.9, weightDecay: 0.1 }));
  const gradient = { w: [0.5, -1] };
  const [first, second] = await run(optimizer, { w: [1, -2] }, [gradient, gradient]);
  expectClose(first?.['w'], [0.94, -1.88]);
  expectClose(second?.['w'], [0.8266, -1.6532]);
});

test('lion moves by the sign of the mixed gradient', async () => {
  const optimizer = chain(lion({ learningRate: 0.1, beta1: 0.9, beta2: 0.5, weightDecay: 0.1 }));
  const [first, second] = await run(optimizer, { w: [1, -2] }, [{ w: [0.5, -1] }, { w: [-1, -1] }]);
  expectClose(first?.['w'], [0.99 - 0.1, -1.98 + 0.1]);
  // m = (0.25, -0.5); c = (0.125, -0.55).
  expectClose(second?.['w'], [0.89 * 0.99 - 0.1, -1.88 * 0.99 + 0.1]);
});

// transformers 5.18: Adafactor(lr=0.1, scale_parameter=False, relative_step=False, weight_decay=0.1), gradients g and 2g.
test('adafactor gives the numbers of transformers', async () => {
  const optimizer = chain(adafactor({ learningRate: 0.1, weightDecay: 0.1 }));
  const start = {
    w: [
      [1, -2, 3],
      [0.5, 0, -1],
    ],
    b: [1, -1],
  };
  const gradient = (k: number) => ({
    w: [
      [0.5 * k, -1 * k, 0.1 * k],
      [0.2 * k, 0.3 * k, -0.7 * k],
    ],
    b: [0.1 * k, -0.2 * k],
  });
  const seen = await run(optimizer, start, [gradient(1), gradient(2)]);
  expectClose(seen[0]?.['w'], adafactorNumbers.w1);
  expectClose(seen[1]?.['w'], adafactorNumbers.w2);
  expectClose(seen[1]?.['b'], adafactorNumbers.b2);
});

const adafactorNumbers: Readonly<Record<'w1' | 'w2' | 'b2', ReadonlyArray<number>>> = {
  w1: [0.8795404, -1.8660488, 2.9531753, 0.4320127, -0.0487337, -0.8221061],
  w2: [0.7602855, -1.7334371, 2.9068189, 0.3647054, -0.0969802, -0.6459912],
  b2: [0.7811, -0.7811],
};

describe('chains', () => {
  test('a schedule multiplies the rate of the updates already done', async () => {
    const optimizer = chain(sgd({ learningRate: 2 }), scaleBy(linearDecay({ learningRate: 0.5, totalSteps: 2 })));
    const [first, second] = await run(optimizer, { w: [0] }, [{ w: [1] }, { w: [1] }]);
    expectClose(first?.['w'], [-1]);
    expectClose(second?.['w'], [-1.5]);
  });

  test('a transform of your own replaces the gradients', async () => {
    const signs = mapGradients((gradients) =>
      Object.fromEntries(
        Object.entries(gradients).map(([name, gradient]) => {
          const replaced = sign(gradient);
          gradient.dispose();
          return [name, replaced];
        }),
      ),
    );
    const [after] = await run(chain(signs, sgd({ learningRate: 1 })), { w: [0, 0] }, [{ w: [7, -9] }]);
    expectClose(after?.['w'], [-1, 1]);
  });

  test('need exactly one rule', () => {
    expect(() => chain(clipByGlobalNorm(1))).toThrow('exactly one rule');
    expect(() => chain(adamw(), sgd())).toThrow('exactly one rule');
  });

  test('tell the rate that an update moves by, the rule’s own included', async () => {
    const rateOf = async (...members: ReadonlyArray<GradientTransform>): Promise<number> => {
      const parameters = tensors({ w: [0] });
      const gradients = tensors({ w: [1] });
      return (await chain(...members).prepare({ step: 1, parameters, gradients })).learningRate;
    };
    const half = scaleBy(() => 0.5);
    for (const rule of [adamw, adamw8bit, sgd, lion, adafactor]) {
      expect(await rateOf(rule({ learningRate: 0.25 }))).toBe(0.25);
      expect(await rateOf(rule({ learningRate: 0.25 }), half)).toBe(0.125);
      expect(await rateOf(half, rule())).toBe(0.5);
    }
  });

  test.each([
    ['adamw', adamw()],
    ['adamw8bit', adamw8bit()],
    ['sgd', sgd()],
    ['lion', lion()],
    ['adafactor', adafactor()],
  ])('in which nothing gives %s a rate are refused', (_, rule) => {
    const plain: GradientTransform = {
      rule: eachParameter(
        () => ({}),
        ({ parameter }) => ({ parameter, slots: {} }),
      ),
    };
    const unseen = mapGradients((gradients) => gradients);
    expect(() => chain(clipByGlobalNorm(1), unseen, rule)).toThrow('nothing in the chain gives a learning rate');
    expect(() => chain(withRates(rule, () => 2))).toThrow('nothing in the chain gives a learning rate');
    // What a member or rule of your own does about the rate is its own to know.
    expect(() => chain({ change: (update) => ({ ...update, learningRate: 0.1 }) }, rule)).not.toThrow();
    expect(() => chain(plain)).not.toThrow();
  });

  test.each([
    ['adamw', adamw({ weightDecay: 0.1 })],
    ['adamw in 8 bits', adamw8bit({ weightDecay: 0.1, minSize: 2 })],
    ['sgd', sgd({ weightDecay: 0.1 })],
    ['sgd with momentum', sgd({ momentum: 0.9, weightDecay: 0.1 })],
    ['lion', lion()],
    ['adafactor', adafactor()],
  ])('%s leaves no tensor behind', async (_, rule) => {
    const optimizer = chain(clipByGlobalNorm(1), rule, scaleBy(constant({ learningRate: 1 })));
    let parameters: Readonly<Record<string, Tensor>> = { 'a.weight': tensor([[1, 2]]), 'a.bias': tensor([1]) };
    let moments = optimizer.init(parameters);
    const before = memory().numTensors;
    for (const step of [1, 2, 3]) {
      const gradients = { 'a.weight': tensor([[1, 2]]), 'a.bias': tensor([1]) };
      ({ parameters, moments } = optimizer.apply(await optimizer.prepare({ step, parameters, gradients }), moments));
    }
    expect(memory().numTensors).toBe(before);
  });
});

describe('LoRA+', () => {
  const start = { 'q.lora_A.weight': [[1, 2]], 'q.lora_B.weight': [[1], [2]], 'q.bias': [3], 'head.weight': [[1]] };
  const gradients = [
    { 'q.lora_A.weight': [[0.5, -1]], 'q.lora_B.weight': [[0.25], [-0.5]], 'q.bias': [1], 'head.weight': [[-1]] },
    { 'q.lora_A.weight': [[1, 1]], 'q.lora_B.weight': [[1], [1]], 'q.bias': [-2], 'head.weight': [[0.5]] },
  ];

  test('moves B and vectors by their own rate, all else as before', async () => {
    const [, plain] = await run(chain(adamw({ learningRate: 1e-2 })), start, gradients);
    const [, fast] = await run(chain(adamw({ learningRate: 8e-2 })), start, gradients);
    const factors = ['q.lora_A.weight', 'q.lora_B.weight', 'e.lora_embedding_A', 'e.lora_embedding_B'].map((name) =>
      loraplusFactor(8, 0.25)(name, [2, 2]),
    );
    expect([...factors, loraplusFactor(8)('q.bias', [2])]).toEqual([1, 8, 0.25, 0.25, 8]);
    const [, both] = await run(chain(withRates(adamw({ learningRate: 1e-2 }), loraplusFactor(8))), start, gradients);
    for (const name of ['q.lora_A.weight', 'head.weight']) expect(both?.[name]).toEqual(plain?.[name]);
    for (const name of ['q.lora_B.weight', 'q.bias']) expectClose(both?.[name], fast?.[name] ?? []);
  });
});
