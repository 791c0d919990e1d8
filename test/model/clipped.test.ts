import { afterEach, beforeEach, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import { clipped } from '../../src/model/layers/clipped.js';
import { setPrecision } from '../../src/native/register.js';
import { alive, describeNative, startNative } from '../native.js';

describeNative('clipped', () => {
  beforeEach(() => startNative());
  afterEach(() => setPrecision('float32'));

  it.each(['float32', 'bfloat16'] as const)(
    'at %s hands back the gradient of what was not clipped alone',
    (precision) => {
      setPrecision(precision);
      const before = alive();
      // As bfloat16 0.7 is less than 0.7: what was clipped would look as if it had not been.
      const x = tf.tensor2d([[0.9, 0.69999, 0.69, -0.5, -0.9]]);
      const { value, pullback } = clipped(0.7)({}, x, { weight: () => false, input: true });
      const limit = Math.fround(0.7);
      expect(Array.from(value.dataSync())).toEqual([limit, 0.69999, 0.69, -0.5, -limit].map(Math.fround));
      x.dispose();
      value.dispose();
      const [, dx] = pullback(tf.ones([1, 5]));
      expect(dx === undefined ? [] : Array.from(dx.dataSync())).toEqual([0, 1, 1, 1, 0]);
      dx?.dispose();
      expect(alive()).toEqual(before);
    },
  );
});
