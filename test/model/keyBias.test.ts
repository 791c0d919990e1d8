import { afterEach, beforeEach, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import { configs, modelOf } from '../../property-tests/arbitraries/models.js';
import { lossAndGradients } from '../../src/model/causalLm.js';
import { joinHeads, softplusPower, withNumber } from '../../src/model/layers/keyBias.js';
import { compose, each, identity } from '../../src/model/layers/layer.js';
import { setPrecision } from '../../src/native/register.js';
import { alive, describeNative, startNative } from '../native.js';
import { unpadded } from './batches.js';

const wanted = { weight: () => true, input: true };
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

describeNative('keys with a part of their own', () => {
  beforeEach(() => startNative());
  afterEach(() => setPrecision('float32'));

  it.each(['float32', 'bfloat16'] as const)('at %s it lies behind their heads, and has its gradients', (precision) => {
    setPrecision(precision);
    const before = alive();
    const [xs, rates] = [[0.5, -2, 30, 0] as const, [0.25, -1] as const];
    const layer = compose(each(identity, softplusPower('a')), joinHeads);
    const [a, k, x] = [tf.tensor1d([...rates]), tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.tensor2d([...xs], [2, 2])];
    const { value, pullback } = layer({ a }, [k, x], wanted);
    const powers = xs.map((own, i) => Math.exp((rates[i % 2] ?? NaN) * softplus(own)));
    close(
      value,
      [1, 2, 3, 4].flatMap((own, i) => [own, powers[i] ?? NaN]),
    );
    tf.dispose([value, k, x]);
    const dys = [1, 0.5, -1, 2, 3, 0.25, -2, 1];
    const [{ a: dA }, [dk, dx] = []] = pullback(tf.tensor2d(dys, [2, 4]));
    const inner = powers.map((power, i) => power * (dys[2 * i + 1] ?? NaN));
    close(dk, [1, -1, 3, -2]);
    close(
      dx,
      inner.map((own, i) => own * (rates[i % 2] ?? NaN) * sigmoid(xs[i] ?? NaN)),
    );
    const slopes = inner.map((own, i) => own * softplus(xs[i] ?? NaN));
    close(
      dA,
      [0, 1].map((h) => (slopes[h] ?? NaN) + (slopes[h + 2] ?? NaN)),
    );
    tf.dispose([a, dA, dk, dx].flatMap((own) => own ?? []));
    expect(alive()).toEqual(before);
  });

  it.each(['float32', 'bfloat16'] as const)('at %s a number behind all heads gets no gradient', (precision) => {
    setPrecision(precision);
    const before = alive();
    const x = tf.tensor2d([1, 2, 3, 4], [1, 4]);
    const { value, pullback } = withNumber(2, 8)({}, x, wanted);
    close(value, [1, 2, 8, 3, 4, 8]);
    tf.dispose([value, x]);
    const [, dx] = pullback(tf.tensor2d([1, 2, 3, 4, 5, 6], [1, 6]));
    close(dx, [1, 2, 4, 5]);
    dx?.dispose();
    expect(alive()).toEqual(before);
  });

  it('Doge trains at bfloat16 as at float32', () => {
    const documents = { input_ids: [[1, 5, 9, 2, 7, 3]], labels: [[1, 5, 9, 2, 7, 3]] };
    const { sequence, targets } = unpadded(documents);
    const [exact, rounded] = (['float32', 'bfloat16'] as const).map((precision) => {
      setPrecision(precision);
      const model = modelOf(configs['doge'] ?? {}, 1);
      const { gradients, ...losses } = lossAndGradients(model, sequence, targets, {
        seed: 1,
        step: 0,
        training: false,
      });
      const [loss = NaN] = losses.total.dataSync();
      const ofRates = Array.from(gradients['model.layers.0.self_attn.A']?.dataSync() ?? []);
      tf.dispose([...Object.values(gradients), ...Object.values(losses), ...Object.values(model.weights)]);
      return { loss, ofRates };
    });
    expect(Math.abs((rounded?.loss ?? NaN) / (exact?.loss ?? NaN) - 1)).toBeLessThan(0.02);
    expect(rounded?.ofRates).toHaveLength(1);
    expect(exact?.ofRates.every((value) => value !== 0)).toBe(true);
  });
});
