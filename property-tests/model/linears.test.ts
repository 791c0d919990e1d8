/** Laws of several linear maps of one input: they are those maps, whatever adapters they have, which read it together where they can. */
import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { isLeft } from 'fp-ts/lib/Either.js';
import { RxLoraLinear, RxLoraUp } from '../../src/model/kernels/loraLinear.js';
import { fanOut } from '../../src/model/layers/layer.js';
import type { Layer, Wanted, Weights } from '../../src/model/layers/layer.js';
import { linear } from '../../src/model/layers/linear.js';
import { linears } from '../../src/model/layers/linears.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import type { Pass } from '../../src/model/pass.js';
import { QuantizationConfig } from '../../src/model/quantize/config.js';
import type { QuantizedBase } from '../../src/model/quantize/matrix.js';
import { startUnderTest } from '../../test/engine.js';
import { values } from '../arbitraries/ops.js';

const width = 5;
const training = { seed: 1, step: 1, dropout: true };

/** Maps by their numbers of outputs and ranks; rank 0: no adapter. */
const cases = fc.record({
  n: fc.integer({ min: 1, max: 7 }),
  maps: fc.array(
    fc.record({ outputs: fc.integer({ min: 1, max: 6 }), rank: fc.integer({ min: 1, max: 4 }), bias: fc.boolean() }),
    {
      minLength: 1,
      maxLength: 3,
    },
  ),
  /** What keeps adapters apart. */
  apart: fc.constantFrom(
    'nothing',
    'nothing',
    'dropout',
    'a magnitude',
    'a map without',
    'another adapter',
    'rounded inputs',
  ),
  /** Of several adapters those beside the first: a list of none keeps nothing apart. */
  lists: fc.boolean(),
  seed: fc.nat(1 << 20),
});
type Case = typeof cases extends fc.Arbitrary<infer C> ? C : never;

const modulesOf = ({ maps }: Case): ReadonlyArray<string> => maps.map((_, i) => `m.${i}`);

const weightsOf = ({ maps, apart, seed }: Case): Weights => {
  const drawn = (at: number, ...shape: number[]): Tensor => tf.tensor(values(seed + at, shape), shape);
  return Object.fromEntries(
    maps.flatMap(({ outputs, rank, bias }, i): ReadonlyArray<readonly [string, Tensor]> => {
      const without = apart === 'a map without' && i === 0;
      return [
        [`m.${i}.weight`, drawn(10 * i, outputs, width)],
        ...(bias ? [[`m.${i}.bias`, drawn(10 * i + 1, outputs)] as const] : []),
        ...(without
          ? []
          : [
              [`m.${i}.lora_A.weight`, drawn(10 * i + 2, rank, width)] as const,
              [`m.${i}.lora_B.weight`, drawn(10 * i + 3, outputs, rank)] as const,
            ]),
        ...(apart === 'another adapter' && i === 0
          ? [
              [`m.${i}.lora_A.other.weight`, drawn(10 * i + 4, 2, width)] as const,
              [`m.${i}.lora_B.other.weight`, drawn(10 * i + 5, outputs, 2)] as const,
            ]
          : []),
        ...(apart === 'a magnitude' && i === 0 ? [[`m.${i}.lora_magnitude_vector`, tf.ones([outputs])] as const] : []),
      ];
    }),
  );
};

/** The first map's weight as one of bitsandbytes' 8 bits, which reads its input rounded. */
const eightBits = ({ maps: [first] }: Case): QuantizedBase => {
  const config = QuantizationConfig.decode({ loadIn8bit: true });
  if (isLeft(config)) throw new Error('no such quantisation');
  const shape = [first?.outputs ?? 0, width] as const;
  const scale = new Float32Array(shape[0]).fill(1);
  return { config: config.right, scales: { 'm.0.weight': { kind: 'int8', shape, scale } } };
};

const passOf = (c: Case): Pass => {
  const { apart, lists } = c;
  const lora = LoraConfig.decode({
    loraAlpha: 3,
    targetModules: 'all-linear',
    loraDropout: apart === 'dropout' ? 0.4 : 0,
  });
  if (isLeft(lora)) throw new Error('no such adapter');
  const sequence = { inputIds: Int32Array.of(), positionIds: Int32Array.of(), cuSeqlens: Int32Array.of(0) };
  const others = apart === 'another adapter' ? [{ name: 'other', lora: lora.right }] : lists ? [] : undefined;
  return {
    sequence,
    lora: lora.right,
    training,
    further: others,
    quantized: apart === 'rounded inputs' ? eightBits(c) : undefined,
  };
};

const numbers = (tensor: Tensor | undefined): ReadonlyArray<number> | undefined =>
  tensor && Array.from(tensor.dataSync());

/** Numbers of values, gradients and the input's gradient; nothing else is left. */
const ran = (
  layer: Layer<Tensor, ReadonlyArray<Tensor>>,
  c: Case,
  weights: Weights,
  wanted: Wanted,
  onto: boolean,
  drops: boolean,
) => {
  const before = tf.memory().numTensors;
  const x = tf.tensor(values(c.seed + 99, [c.n, width]), [c.n, width]);
  const passed = layer(weights, x, wanted);
  const made = passed.value.map(numbers);
  const dys = passed.value.map(({ shape }, i) => tf.tensor(values(c.seed + 50 + i, shape), shape));
  tf.dispose([...passed.value]);
  if (drops || !passed.active) {
    passed.drop();
    tf.dispose([x, dys]);
    expect(tf.memory().numTensors).toBe(before);
    return { made, active: passed.active };
  }
  const added = onto ? tf.tensor(values(c.seed + 77, [c.n, width]), [c.n, width]) : undefined;
  const [gradients, dx] = passed.pullback(dys, added);
  const names = Object.keys(gradients).sort();
  const result = {
    made,
    active: true,
    names,
    gradients: names.map((name) => numbers(gradients[name])),
    dx: numbers(dx),
  };
  tf.dispose([x, gradients, ...(dx === undefined ? [] : [dx])]);
  expect(tf.memory().numTensors).toBe(before);
  return result;
};

const near = (got: unknown, expected: unknown): void => {
  if (Array.isArray(got) && Array.isArray(expected)) {
    expect(got).toHaveLength(expected.length);
    got.forEach((value, i) => near(value, expected[i]));
  } else if (typeof got === 'number') expect(Math.abs(got - Number(expected))).toBeLessThan(1e-3);
  else expect(got).toEqual(expected);
};

beforeAll(async () => {
  await startUnderTest('wasm');
});
afterEach(() => {
  jest.restoreAllMocks();
});

describe('linear maps of one input', () => {
  it('give values and gradients of the maps one by one, those that are wanted, and keep nothing', () => {
    const asked = fc.record({
      input: fc.boolean(),
      onto: fc.boolean(),
      drops: fc.boolean(),
      trains: fc.constantFrom('lora_A', 'lora_B', 'lora', 'bias', '.', 'x'),
    });
    fc.assert(
      fc.property(cases, asked, (c, { input, onto, drops, trains }) => {
        const weights = weightsOf(c);
        const wanted: Wanted = { input, weight: (name) => name.includes(trains) };
        const [pass, modules] = [passOf(c), modulesOf(c)];
        const together = ran(linears(pass, modules), c, weights, wanted, onto && input, drops);
        const each = ran(
          fanOut(...modules.map((module) => linear(pass, { module }))),
          c,
          weights,
          wanted,
          onto && input,
          drops,
        );
        expect(together.active).toBe(each.active);
        near(Object.values(together), Object.values(each));
        tf.dispose({ ...weights });
      }),
      { numRuns: 150 },
    );
  });

  it('let adapters read together exactly where all read the input as it is, and are observed once each', () => {
    fc.assert(
      fc.property(cases, (c) => {
        const weights = weightsOf(c);
        const [together, alone] = [jest.spyOn(RxLoraUp, 'run'), jest.spyOn(RxLoraLinear, 'run')];
        const seen: string[] = [];
        const pass: Pass = { ...passOf(c), observe: (module) => seen.push(module) };
        ran(linears(pass, modulesOf(c)), c, weights, { input: true, weight: () => true }, false, true);
        expect(seen).toEqual(modulesOf(c));
        expect(together.mock.calls).toHaveLength(c.apart === 'nothing' ? c.maps.length : 0);
        expect(alone.mock.calls).toHaveLength(
          c.apart === 'nothing' ? 0 : c.maps.length - Number(c.apart === 'a map without'),
        );
        jest.restoreAllMocks();
        tf.dispose({ ...weights });
      }),
      { numRuns: 60 },
    );
  });
});
