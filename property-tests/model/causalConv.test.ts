/** The convolution over tokens: what it gives token by token, and piece by piece, is what it gives of the whole text. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { emptyKvCache, makeKvCache } from '../../src/model/attention/cachedAttention.js';
import type { KvCache } from '../../src/model/attention/cachedAttention.js';
import { causalConv } from '../../src/model/recurrent/causalConv.js';
import { nothing } from '../../src/model/layers/layer.js';
import { enginesUnderTest, startEngine } from '../../test/engine.js';
import { values } from '../arbitraries/ops.js';

const channels = 3;

describe.each(enginesUnderTest('cpu', 'native'))('on %s', (backend) => {
  beforeAll(async () => {
    await startEngine(backend);
  });
  afterAll(async () => {
    await tf.setBackend('cpu');
  });

  it('a text in pieces is convolved as the whole, and an emptied cache knows nothing of it', () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(pieces, fc.integer({ min: 1, max: 5 }), fc.boolean(), fc.nat(), (lengths, taps, silu, seed) => {
        const before = tf.memory().numTensors;
        const n = lengths.reduce((a, b) => a + b, 0);
        const text = values(seed, [n, channels]);
        const weights = {
          'conv.weight': tf.tensor3d(values(seed + 1, [channels, 1, taps]), [channels, 1, taps]),
          'conv.bias': tf.tensor1d(values(seed + 2, [channels])),
        };
        const run = (from: number, length: number, cache?: KvCache): ReadonlyArray<number> => {
          const sequence = {
            inputIds: new Int32Array(length),
            positionIds: Int32Array.from({ length }, (_, i) => from + i),
            cuSeqlens: Int32Array.of(0, length),
          };
          const x: Tensor = tf.tensor2d(text.subarray(from * channels, (from + length) * channels), [length, channels]);
          const { value } = causalConv({ sequence, caches: cache && [cache] }, { module: 'conv', silu })(
            weights,
            x,
            nothing,
          );
          const read = Array.from(value.dataSync());
          tf.dispose([x, value]);
          return read;
        };
        const whole = run(0, n);
        const cache = makeKvCache();
        const inPieces = (): ReadonlyArray<number> => {
          let from = 0;
          return lengths.flatMap((length) => {
            from += length;
            return run(from - length, length, cache);
          });
        };
        for (const got of [inPieces(), (emptyKvCache(cache), inPieces())])
          got.forEach((x, i) => expect(x).toBeCloseTo(whole[i] ?? NaN, 5));
        emptyKvCache(cache);
        tf.dispose(weights);
        expect(tf.memory().numTensors).toBe(before);
      }),
      { numRuns: 30 },
    );
  });
});
