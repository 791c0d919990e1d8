/** Laws of the maps of experts as one call: they are those maps one after another, each on its own rows, whatever adapters they have. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { isLeft } from 'fp-ts/lib/Either.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { areAlike, groupedLinears } from '../../src/model/layers/groupedLinears.js';
import { at, fanOut } from '../../src/model/layers/layer.js';
import type { Wanted, Weights } from '../../src/model/layers/layer.js';
import { linear } from '../../src/model/layers/linear.js';
import { gated, gatedNames, gatedTogether } from '../../src/model/layers/mlp.js';
import type { Pass } from '../../src/model/pass.js';
import { startUnderTest } from '../../test/engine.js';
import { values } from '../arbitraries/ops.js';

const width = 5;

const cases = fc.record({
  /** Rows of each group. */
  sizes: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
  /** Rank 0: no adapter. */
  maps: fc.array(
    fc.record({ outputs: fc.integer({ min: 1, max: 6 }), rank: fc.integer({ min: 0, max: 3 }), bias: fc.boolean() }),
    { minLength: 1, maxLength: 3 },
  ),
  loraDropout: fc.constantFrom(0, 0, 0.4),
  trains: fc.boolean(),
  seed: fc.nat(1 << 20),
});
type Case = typeof cases extends fc.Arbitrary<infer C> ? C : never;

const moduleOf = (map: number, group: number): string => `e.${group}.m${map}`;

const weightsOf = ({ sizes, maps, seed }: Case): Weights => {
  let drawn = seed;
  const draw = (...shape: number[]): Tensor => tf.tensor(values(drawn++, shape), shape);
  return Object.fromEntries(
    maps.flatMap(({ outputs, rank, bias }, m) =>
      sizes.flatMap((_, g): ReadonlyArray<readonly [string, Tensor]> => {
        const module = moduleOf(m, g);
        return [
          [`${module}.weight`, draw(outputs, width)],
          ...(bias ? [[`${module}.bias`, draw(outputs)] as const] : []),
          ...(rank > 0
            ? [
                [`${module}.lora_A.weight`, draw(rank, width)] as const,
                [`${module}.lora_B.weight`, draw(outputs, rank)] as const,
              ]
            : []),
        ];
      }),
    ),
  );
};

const loraOf = (options: object): LoraConfig => {
  const lora = LoraConfig.decode({ loraAlpha: 3, targetModules: 'all-linear', ...options });
  if (isLeft(lora)) throw new Error('no such adapter');
  return lora.right;
};

const passOf = ({ loraDropout, trains }: Pick<Case, 'loraDropout' | 'trains'>): Pass => ({
  sequence: { inputIds: Int32Array.of(), positionIds: Int32Array.of(), cuSeqlens: Int32Array.of(0) },
  lora: loraOf({ loraDropout }),
  training: trains ? { seed: 1, step: 1, dropout: true } : undefined,
});

const numbers = (tensor: Tensor): ReadonlyArray<number> => Array.from(tensor.dataSync());

const near = (got: unknown, expected: unknown): void => {
  if (Array.isArray(got) && Array.isArray(expected)) {
    expect(got).toHaveLength(expected.length);
    got.forEach((value, i) => near(value, expected[i]));
  } else if (typeof got === 'number') expect(Math.abs(got - Number(expected))).toBeLessThan(1e-3);
  else expect(got).toEqual(expected);
};

/** What the grouped maps give, or each alone on its rows; nothing else is left. */
const ran = (c: Case, weights: Weights, wanted: Wanted, onto: boolean, together: boolean) => {
  const pass = passOf(c);
  const rows = c.sizes.reduce((a, b) => a + b, 0);
  const drawn = (step: number, columns: number): Tensor =>
    tf.tensor(values(c.seed + step, [rows, columns]), [rows, columns]);
  const before = tf.memory().numTensors;
  const x = drawn(99, width);
  const dys = c.maps.map(({ outputs }, m) => drawn(50 + m, outputs));
  const added = onto ? drawn(77, width) : undefined;
  const made: Tensor[] = [];
  const gradients: Record<string, ReadonlyArray<number>> = {};
  let dx: ReadonlyArray<number> | undefined;
  let active = false;
  if (together) {
    const maps = c.maps.map((_, m) => c.sizes.map((_size, g) => moduleOf(m, g)));
    const run = groupedLinears(pass, c.sizes, maps)(weights, x, wanted);
    made.push(...run.value);
    active = run.active;
    if (run.active) {
      const [own, dInput] = run.pullback(dys, added);
      for (const [name, gradient] of Object.entries(own)) gradients[name] = numbers(gradient);
      dx = dInput && numbers(dInput);
      tf.dispose([own, ...(dInput === undefined ? [] : [dInput])]);
    } else tf.dispose([dys, ...(added === undefined ? [] : [added])]);
  } else {
    let first = 0;
    const parts = c.sizes.map((size, g) => {
      const cut = (tensor: Tensor): Tensor => tf.slice(tensor, [first, 0], [size, -1]);
      const own = cut(x);
      const run = fanOut(...c.maps.map((_, m) => linear(pass, { module: moduleOf(m, g) })))(weights, own, wanted);
      own.dispose();
      const value = [...run.value];
      active ||= run.active;
      let dInput: Tensor | undefined;
      if (run.active) {
        const [more, dOwn] = run.pullback(dys.map(cut), added && cut(added));
        for (const [name, gradient] of Object.entries(more)) gradients[name] = numbers(gradient);
        tf.dispose(more);
        dInput = dOwn;
      }
      first += size;
      return { value, dInput };
    });
    made.push(
      ...c.maps.map((_, m) =>
        tf.concat(
          parts.map(({ value }) => at(value, m)),
          0,
        ),
      ),
    );
    const dInputs = parts.flatMap(({ dInput }) => dInput ?? []);
    dx = dInputs.length > 0 ? dInputs.flatMap(numbers) : undefined;
    tf.dispose([parts.map(({ value }) => value), dInputs, dys, ...(added === undefined ? [] : [added])]);
  }
  const result = { made: made.map(numbers), active, dx, names: Object.keys(gradients).sort(), gradients };
  tf.dispose([x, made]);
  expect(tf.memory().numTensors).toBe(before);
  return { ...result, gradients: result.names.map((name) => gradients[name]) };
};

beforeAll(async () => {
  await startUnderTest('wasm');
});

describe('maps of groups of rows', () => {
  it('give values and gradients of each group alone, those that are wanted, and keep nothing', () => {
    const asked = fc.record({
      input: fc.boolean(),
      onto: fc.boolean(),
      which: fc.constantFrom('lora_A', 'lora_B', 'lora', 'bias', '.', 'x'),
    });
    fc.assert(
      fc.property(cases, asked, (c, { input, onto, which }) => {
        const weights = weightsOf(c);
        const wanted: Wanted = { input, weight: (name) => name.includes(which) };
        const together = ran(c, weights, wanted, onto && input, true);
        const apart = ran(c, weights, wanted, onto && input, false);
        near(Object.values(together), Object.values(apart));
        tf.dispose({ ...weights });
      }),
      { numRuns: 150 },
    );
  });

  it('are alike where all have an adapter of one rank and factor, or none, and a bias, or none, and nothing else looks on', () => {
    const changes = {
      nothing: true,
      'another rank': false,
      'another factor': false,
      'no adapter': false,
      'another bias': false,
      magnitudes: false,
      'a second adapter': false,
      'one who looks on': false,
    } as const;
    const options = fc.record({
      c: cases.filter(({ sizes }) => sizes.length > 1),
      what: fc.constantFrom(...(Object.keys(changes) as ReadonlyArray<keyof typeof changes>)),
      which: fc.nat(),
    });
    fc.assert(
      fc.property(options, ({ c: drawn, what, which }) => {
        const [map = { outputs: 2, rank: 1, bias: false }] = drawn.maps;
        const c = { ...drawn, maps: [{ ...map, rank: Math.max(1, map.rank) }] };
        const modules = c.sizes.map((_, g) => moduleOf(0, g));
        const module = modules[which % modules.length] ?? '';
        const all = weightsOf(c);
        const weights: Record<string, Tensor> = Object.fromEntries(
          Object.entries(all).filter(([name]) => what !== 'no adapter' || name !== `${module}.lora_A.weight`),
        );
        const change = (name: string, ...shape: number[]): void => {
          weights[name]?.dispose();
          weights[name] = tf.ones(shape);
        };
        if (what === 'another rank') change(`${module}.lora_A.weight`, 7, width);
        if (what === 'another bias') {
          if (map.bias) {
            weights[`${module}.bias`]?.dispose();
            Reflect.deleteProperty(weights, `${module}.bias`);
          } else change(`${module}.bias`, map.outputs);
        }
        if (what === 'magnitudes') change(`${module}.lora_magnitude_vector`, map.outputs);
        if (what === 'a second adapter') change(`${module}.lora_A.other.weight`, 2, width);
        const pass: Pass = {
          ...passOf(c),
          ...(what === 'another factor' ? { lora: loraOf({ alphaPattern: { [module]: 17 } }) } : {}),
          ...(what === 'a second adapter' ? { further: [{ name: 'other', lora: loraOf({}) }] } : {}),
          ...(what === 'one who looks on' ? { observe: () => undefined } : {}),
        };
        expect(areAlike(pass, weights, modules)).toBe(changes[what]);
        const renamed = Object.fromEntries(
          Object.values(gatedNames).flatMap((name) =>
            Object.entries(weights).map(([key, tensor]) => [key.replace('.m0.', `.${name}.`), tensor]),
          ),
        );
        if (what !== 'another factor') {
          const asOne = gatedTogether(gated('silu'), pass, (e) => `e.${e}`, gatedNames);
          const one = asOne(
            renamed,
            c.sizes.map((_, expert) => expert),
          );
          expect(one !== undefined).toBe(changes[what]);
        }
        tf.dispose({ ...all, ...weights });
      }),
      { numRuns: 100 },
    );
  });
});
