/** Laws of the combinators: whatever is built of layers keeps values, gradients and tensors straight. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import fc from 'fast-check';
import {
  checkpoint,
  compose,
  each,
  fanOut,
  frozen,
  identity,
  mapLayers,
  nothing,
  residual,
  total,
} from '../../src/model/layers/layer.js';
import type { Layer, Wanted, Weights } from '../../src/model/layers/layer.js';
import { linear } from '../../src/model/layers/linear.js';
import { activation } from '../../src/model/layers/mlp.js';
import { layerNorm, rmsNorm } from '../../src/model/layers/norm.js';
import type { Pass } from '../../src/model/pass.js';
import { past, wire, wired } from '../../src/model/layers/wired.js';
import { startUnderTest } from '../../test/engine.js';
import { values } from '../arbitraries/ops.js';

type Block = Layer<Tensor, Tensor>;

const width = 4;
const rows = 3;
const pass: Pass = {
  sequence: { inputIds: Int32Array.of(), positionIds: Int32Array.of(), cuSeqlens: Int32Array.of(0) },
};

/** A plan of a layer, width to width, that prints itself. */
type Plan =
  | { readonly kind: 'linear' | 'norm' | 'rms' | 'act' | 'identity' }
  | { readonly kind: 'residual' | 'checkpoint'; readonly inner: Plan }
  | { readonly kind: 'compose' | 'sum' | 'wired'; readonly parts: ReadonlyArray<Plan> };

const plans = fc.letrec<{ plan: Plan }>((tie) => ({
  plan: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom<Plan[]>(
      { kind: 'linear' },
      { kind: 'norm' },
      { kind: 'rms' },
      { kind: 'act' },
      { kind: 'identity' },
    ),
    fc.record({ kind: fc.constantFrom('residual' as const, 'checkpoint' as const), inner: tie('plan') }),
    fc.record({
      kind: fc.constantFrom('compose' as const, 'sum' as const, 'wired' as const),
      parts: fc.array(tie('plan'), { minLength: 1, maxLength: 3 }),
    }),
  ),
})).plan;

/** The plan's layer; every weight has a name of its own, or all linears share one where `tied`. */
const built = (plan: Plan, path: string, tied: boolean): Block => {
  switch (plan.kind) {
    case 'linear':
      return linear(pass, { module: tied ? 'shared' : path });
    case 'norm':
      return layerNorm(`${path}.norm`, 1e-2);
    case 'rms':
      return rmsNorm(`${path}.rms`, { eps: 1e-2, offset: 0 });
    case 'act':
      return activation('gelu_new');
    case 'identity':
      return identity;
    case 'residual':
      return residual(built(plan.inner, path, tied));
    case 'checkpoint':
      return checkpoint(built(plan.inner, path, tied));
    case 'compose':
      return compose(...plan.parts.map((part, i) => built(part, `${path}.${i}`, tied)));
    case 'sum':
      return compose(fanOut(...plan.parts.map((part, i) => built(part, `${path}.${i}`, tied))), total);
    case 'wired':
      return throughWires(plan.parts.map((part, i) => built(part, `${path}.${i}`, tied)));
  }
};

/** 2·x + what each of the layers makes of x, by lists that grow: its first value is read over and over, and handed on. */
const throughWires = (layers: ReadonlyArray<Block>): Block => {
  const places = (first: number, next: number): ReadonlyArray<number> =>
    Array.from({ length: next - first }, (_, i) => first + i);
  return compose(
    fanOut(identity<Tensor>),
    mapLayers<ReadonlyArray<Tensor>>(layers.length, (i) =>
      wired(wire(0, fanOut(identity, layers[i] ?? identity)), ...past(places(1, 1 + i))),
    ),
    wired(wire([1, 0, 0], total), ...past(places(2, 1 + layers.length))),
    total,
  );
};

/** The same without checkpoints. */
const plain = (plan: Plan): Plan => {
  switch (plan.kind) {
    case 'checkpoint':
      return plain(plan.inner);
    case 'residual':
      return { kind: 'residual', inner: plain(plan.inner) };
    case 'compose':
    case 'sum':
    case 'wired':
      return { kind: plan.kind, parts: plan.parts.map(plain) };
    default:
      return plan;
  }
};

/** Every weight that any plan may ask for, made on demand. */
const endless = (made: Record<string, Tensor>): Weights =>
  new Proxy(made, {
    get: (target, name) => {
      if (typeof name !== 'string') return undefined;
      if (name.endsWith('.bias') && !name.includes('norm')) return undefined;
      const shape = name.includes('norm') || name.includes('rms') ? [width] : [width, width];
      const seed = Array.from(name).reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) % 65_521, 7);
      return (target[name] ??= tf.keep(tf.tensor(values(seed, shape), shape)));
    },
    has: (_target, name) => typeof name === 'string' && !(name.endsWith('.bias') && !name.includes('norm')),
  });

const made: Record<string, Tensor> = {};
const weights = endless(made);
const everything: Wanted = { weight: () => true, input: true };

const numbers = (tensor: Tensor | undefined): ReadonlyArray<number> =>
  tensor === undefined ? [NaN] : Array.from(tensor.dataSync());

interface Ran {
  readonly value: ReadonlyArray<number>;
  readonly dInput: ReadonlyArray<number>;
  readonly gradients: Readonly<Record<string, ReadonlyArray<number>>>;
  readonly leaked: number;
}

const input = (): Tensor => tf.tensor2d(values(1, [rows, width]), [rows, width]);

/** Forward and back, everything read out and freed. */
const ran = (layer: Block, wanted: Wanted = everything): Ran => {
  // Weights are made on the first run, so that they do not count as leaks.
  const warm = layer(weights, input(), nothing);
  warm.value.dispose();
  const before = tf.memory().numTensors;
  const x = input();
  const { value, pullback } = layer(weights, x, wanted);
  x.dispose();
  const read = numbers(value);
  value.dispose();
  const [gradients, dInput] = pullback(tf.tensor2d(values(2, [rows, width]), [rows, width]));
  const result = {
    value: read,
    dInput: numbers(dInput),
    gradients: Object.fromEntries(Object.entries(gradients).map(([name, gradient]) => [name, numbers(gradient)])),
  };
  tf.dispose([...Object.values(gradients), ...(dInput === undefined ? [] : [dInput])]);
  return { ...result, leaked: tf.memory().numTensors - before };
};

const near = (got: ReadonlyArray<number>, expected: ReadonlyArray<number>): void => {
  expect(got).toHaveLength(expected.length);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
  got.forEach((x, i) => expect(Math.abs(x - (expected[i] ?? 0))).toBeLessThanOrEqual(1e-4 * largest));
};

const same = (got: Ran, expected: Ran): void => {
  near(got.value, expected.value);
  if (expected.dInput.every(Number.isFinite)) near(got.dInput, expected.dInput);
  expect(Object.keys(got.gradients).sort()).toEqual(Object.keys(expected.gradients).sort());
  for (const [name, gradient] of Object.entries(expected.gradients)) near(got.gradients[name] ?? [], gradient);
};

const law = <A>(name: string, arbitrary: fc.Arbitrary<A>, holds: (a: A) => void): void =>
  it(name, () => fc.assert(fc.property(arbitrary, holds), { numRuns: 25 }));

beforeAll(async () => {
  await startUnderTest('cpu');
});

describe('a layer', () => {
  law(
    'frees everything, forwards and backwards',
    fc.tuple(plans, fc.boolean(), fc.boolean(), fc.nat(3)),
    ([plan, tied, wantsInput, parity]) => {
      const wanted: Wanted = { weight: (name) => parity === 0 || name.length % parity === 0, input: wantsInput };
      expect(ran(built(plan, 'p', tied), wanted).leaked).toBe(0);
    },
  );

  law('frees everything when its way back is dropped', fc.tuple(plans, fc.boolean()), ([plan, tied]) => {
    const layer = built(plan, 'p', tied);
    ran(layer);
    const before = tf.memory().numTensors;
    const x = input();
    const { value, drop } = layer(weights, x, everything);
    drop();
    tf.dispose([x, value]);
    expect(tf.memory().numTensors).toBe(before);
  });

  law('keeps nothing when no gradient is wanted', fc.tuple(plans, fc.boolean()), ([plan, tied]) => {
    const layer = built(plan, 'p', tied);
    ran(layer);
    const before = tf.memory().numTensors;
    const x = input();
    const passed = layer(weights, x, nothing);
    tf.dispose([x, passed.value]);
    expect(passed.active).toBe(false);
    expect(tf.memory().numTensors).toBe(before);
  });

  law(
    'gives only the gradients that were asked for, and those unchanged',
    fc.tuple(plans, fc.nat(2), fc.boolean()),
    ([plan, remainder, wantsInput]) => {
      const layer = built(plan, 'p', false);
      const wanted: Wanted = { weight: (name) => name.length % 3 === remainder, input: wantsInput };
      const all = ran(layer);
      const some = ran(layer, wanted);
      const expected = Object.keys(all.gradients).filter((name) => name.length % 3 === remainder);
      expect(Object.keys(some.gradients).sort()).toEqual(expected.sort());
      for (const name of expected) near(some.gradients[name] ?? [], all.gradients[name] ?? []);
      if (wantsInput) near(some.dInput, all.dInput);
      else expect(some.dInput).toEqual([NaN]);
    },
  );
});

describe('compose', () => {
  law('is associative', fc.tuple(plans, plans, plans, fc.boolean()), ([f, g, h, tied]) => {
    const [a, b, c] = [built(f, 'f', tied), built(g, 'g', tied), built(h, 'h', tied)];
    same(ran(compose(compose(a, b), c)), ran(compose(a, compose(b, c))));
  });

  law('has the identity on both sides', plans, (plan) => {
    const layer = built(plan, 'p', false);
    same(ran(compose(identity, layer)), ran(layer));
    same(ran(compose(layer, identity)), ran(layer));
  });

  law('over a list is mapLayers', fc.array(plans, { maxLength: 3 }), (list) => {
    const layers = list.map((plan, i) => built(plan, `p.${i}`, false));
    same(ran(mapLayers(layers.length, (i) => layers[i] ?? identity)), ran(compose(identity, ...layers)));
  });
});

describe('wired', () => {
  law(
    'sums what each wire makes of a value that several read',
    fc.array(plans, { minLength: 1, maxLength: 3 }),
    (list) => {
      const layers = list.map((plan, i) => built(plan, `p.${i}`, false));
      same(ran(throughWires(layers)), ran(compose(fanOut(...layers, identity, identity), total)));
    },
  );

  it('refuses to leave a value unread', () => {
    const two = compose(fanOut(identity<Tensor>, identity<Tensor>), wired(...past([1])), total);
    expect(() => two(weights, input(), everything)).toThrow('nothing reads number 0');
  });
});

describe('checkpoint', () => {
  law('changes no value and no gradient', fc.tuple(plans, fc.boolean()), ([plan, tied]) => {
    same(ran(checkpoint(built(plan, 'p', tied))), ran(built(plain(plan), 'p', tied)));
  });

  law('keeps one tensor', plans, (plan) => {
    const layer = built(plan, 'p', false);
    ran(layer);
    const before = tf.memory().numTensors;
    const x = input();
    const { value, drop } = checkpoint(layer)(weights, x, everything);
    tf.dispose([x, value]);
    expect(tf.memory().numTensors).toBe(before + 1);
    drop();
  });
});

describe('frozen', () => {
  law('gives no weight a gradient and leaves that of the input', plans, (plan) => {
    const layer = built(plan, 'p', false);
    const { gradients, dInput } = ran(frozen(layer));
    expect(gradients).toEqual({});
    near(dInput, ran(layer).dInput);
  });

  law('runs nothing backwards below the first trainable layer', fc.tuple(plans, plans), ([below, above]) => {
    let wentBack = false;
    const probe: Block = (w, x, wanted) => {
      const passed = identity(w, x, wanted);
      return {
        ...passed,
        pullback: (dOutput, onto) => {
          wentBack = true;
          return passed.pullback(dOutput, onto);
        },
      };
    };
    const layer = compose(frozen(compose(built(below, 'b', false), probe)), built(above, 'a', false));
    ran(layer, { weight: () => true, input: false });
    expect(wentBack).toBe(false);
    // With a gradient of the input wanted the way back goes all the way.
    ran(layer);
    expect(wentBack).toBe(true);
  });
});

describe('sharing a weight', () => {
  law('sums the gradients of its uses', fc.tuple(plans, plans), ([f, g]) => {
    const one = (plan: Plan, path: string, shared: Weights): readonly [Block, Weights] => [
      built(plan, path, true),
      shared,
    ];
    const [first] = one(f, 'f', weights);
    const [second] = one(g, 'g', weights);
    const sum = ran(compose(fanOut(first, second), total)).gradients['shared.weight'];
    const [a, b] = [ran(first).gradients['shared.weight'], ran(second).gradients['shared.weight']];
    if (a === undefined && b === undefined) expect(sum).toBeUndefined();
    else
      near(
        sum ?? [],
        (a ?? b ?? []).map((_, i) => (a?.[i] ?? 0) + (b?.[i] ?? 0)),
      );
  });
});

describe('residual', () => {
  law('adds the input to the value and the gradient to the gradient', plans, (plan) => {
    const inner = ran(built(plan, 'p', false));
    const outer = ran(residual(built(plan, 'p', false)));
    near(
      outer.value,
      inner.value.map((x, i) => x + (values(1, [rows, width])[i] ?? NaN)),
    );
    near(
      outer.dInput,
      inner.dInput.map((x, i) => x + (values(2, [rows, width])[i] ?? NaN)),
    );
    expect(Object.keys(outer.gradients)).toEqual(Object.keys(inner.gradients));
  });
});

describe('each', () => {
  law('is its layers side by side', fc.tuple(plans, plans), ([f, g]) => {
    const [a, b] = [built(f, 'f', false), built(g, 'g', false)];
    const onBoth: Block = compose(fanOut(identity, identity), each(a, b), total);
    const summed: Block = compose(fanOut(a, b), total);
    same(ran(onBoth), ran(summed));
  });
});

/** The tape has gradients for these plans too, but tests of ops hold those; here finite differences go through combinators. */
describe('finite differences', () => {
  law('agree through any nesting', fc.tuple(plans, fc.boolean()), ([plan, tied]) => {
    const layer = built(plan, 'p', tied);
    const { dInput } = ran(layer);
    const [x, dy, direction] = [values(1, [rows, width]), values(2, [rows, width]), values(3, [rows, width])];
    const step = 1e-3;
    const along = (t: number): number => {
      const moved = tf.tensor2d(
        x.map((value, i) => value + t * (direction[i] ?? 0)),
        [rows, width],
      );
      const { value } = layer(weights, moved, nothing);
      const sum = numbers(value).reduce((total_, out, i) => total_ + out * (dy[i] ?? NaN), 0);
      tf.dispose([moved, value]);
      return sum;
    };
    const slope = (along(step) - along(-step)) / (2 * step);
    const product = dInput.reduce((sum, gradient, i) => sum + gradient * (direction[i] ?? NaN), 0);
    const size = numbers(tf.tensor1d(dInput as number[])).reduce((sum, gradient) => sum + Math.abs(gradient), 1);
    expect(Math.abs(slope - product)).toBeLessThan(2e-2 * size);
  });
});
