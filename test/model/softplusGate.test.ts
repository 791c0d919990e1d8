import { afterEach, beforeEach, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import { softcapped } from '../../src/model/layers/softcapped.js';
import { softplusGate } from '../../src/model/layers/softplusGate.js';
import { setPrecision } from '../../src/native/register.js';
import { alive, describeNative, startNative } from '../native.js';

const wanted = { weight: () => false, input: true };
const softplus = (x: number): number => Math.log1p(Math.exp(x));
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

const close = (tensor: tf.Tensor | undefined, expected: ReadonlyArray<number>): void => {
  const got = tensor === undefined ? [] : Array.from(tensor.dataSync());
  expect(got).toHaveLength(expected.length);
  got.forEach((value, i) => {
    const exact = expected[i] ?? NaN;
    expect(Math.abs(value - exact)).toBeLessThan(0.01 * Math.abs(exact) + 1e-6);
  });
};

describeNative('softplusGate and softcapped', () => {
  beforeEach(() => startNative());
  afterEach(() => setPrecision('float32'));

  it.each([
    ['float32', [0.5, -2, 30, 0], 1],
    ['float32', [0.5, -30], 2],
    ['bfloat16', [0.5, -2, 30, 0], 1],
    ['bfloat16', [0.5, -30], 2],
  ] as const)(
    'at %s gates %j weigh %i columns each by their softplus, and have its gradients',
    (precision, gates, width) => {
      setPrecision(precision);
      const before = alive();
      const xs = [1, -2, 0.5, 4];
      const dys = [1, 0.5, -1, 2];
      const g = tf.tensor2d([...gates], [2, gates.length / 2]);
      const x = tf.tensor2d(xs, [2, 2]);
      const gateOf = (i: number): number => gates[Math.floor(i / width)] ?? NaN;
      const { value, pullback } = softplusGate({}, [g, x], wanted);
      close(
        value,
        xs.map((own, i) => softplus(gateOf(i)) * own),
      );
      tf.dispose([value, g, x]);
      const [, [dg, dx] = []] = pullback(tf.tensor2d(dys, [2, 2]));
      close(
        dx,
        dys.map((dy, i) => dy * softplus(gateOf(i))),
      );
      const slopes = dys.map((dy, i) => dy * (xs[i] ?? NaN) * sigmoid(gateOf(i)));
      close(
        dg,
        gates.map((_, k) => slopes.slice(k * width, (k + 1) * width).reduce((sum, slope) => sum + slope, 0)),
      );
      tf.dispose([dg, dx].flatMap((gradient) => gradient ?? []));
      expect(alive()).toEqual(before);
    },
  );

  it.each(['float32', 'bfloat16'] as const)('at %s a cap squeezes what is beyond it, and its gradient', (precision) => {
    setPrecision(precision);
    const before = alive();
    const xs = [0.1, -1, 30];
    const x = tf.tensor2d([xs]);
    const { value, pullback } = softcapped(2)({}, x, wanted);
    close(
      value,
      xs.map((own) => 2 * Math.tanh(own / 2)),
    );
    tf.dispose([value, x]);
    const [, dx] = pullback(tf.ones([1, 3]));
    close(
      dx,
      xs.map((own) => 1 - Math.tanh(own / 2) ** 2),
    );
    dx?.dispose();
    expect(alive()).toEqual(before);
  });
});
