/** A matrix held in 8 or 4 bits, or in bfloat16, on the native engine. */
import { afterAll, expect, it } from '@jest/globals';
import '@tensorflow/tfjs-backend-cpu';
import { env, reshape, setBackend } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { bfloat16ToFloat32 } from '../../src/formats/tensors/float16.js';
import { bfloat16Tensor } from '../../src/model/kernels/bfloat16Tensor.js';
import { release } from '../../src/model/kernels/hold.js';
import { RxLinear, RxLinearGradInput } from '../../src/model/kernels/linear.js';
import { quantizedMatrix, valuesOfLayout } from '../../src/model/kernels/quantizedMatrix.js';
import type { QuantizedLayout } from '../../src/model/kernels/quantizedMatrix.js';
import {
  alive,
  configurations,
  describeNative,
  difference,
  startNative,
  tensorOf,
  valuesOf,
} from '../../test/native.js';
import type { Values } from '../../test/native.js';
import { maker } from './trials/drawn.js';
import { dispose, nothing } from './trials/trial.js';

env().set('IS_TEST', true);

/** A matrix in 8 or 4 bits of any shape, blocks across rows. */
const layouts: fc.Arbitrary<QuantizedLayout> = fc
  .record({
    rows: fc.integer({ min: 1, max: 40 }),
    columns: fc.integer({ min: 1, max: 70 }),
    seed: fc.nat(),
    eight: fc.boolean(),
  })
  .map(({ rows, columns, seed, eight }) => {
    const { values, positive } = maker(seed);
    const size = rows * columns;
    const { values: noise } = values(size, 1);
    const shape = [rows, columns] as const;
    if (eight) {
      const codes = Int8Array.from(noise, (x) => Math.round(40 * x));
      return { shape, codes, scale: positive(rows).values, blockSize: 0 };
    }
    const codes = Uint8Array.from(
      { length: Math.ceil(size / 2) },
      (_, i) => Math.abs(Math.round(1e4 * (noise[i] ?? 0))) & 255,
    );
    return { shape, codes, scale: positive(Math.ceil(size / 64)).values, map: values(16, 1).values, blockSize: 64 };
  });

describeNative('a matrix held in 8 or 4 bits', () => {
  afterAll(async () => {
    await setBackend('cpu');
  });

  it('reads, and multiplies both ways, as the values that it stands for, and leaves nothing behind', async () => {
    await fc.assert(
      fc.asyncProperty(layouts, fc.integer({ min: 1, max: 9 }), fc.nat(), async (layout, n, seed) => {
        const [rows, columns] = layout.shape;
        const { values } = maker(seed);
        const matrix: Values = { shape: layout.shape, values: valuesOfLayout(layout) };
        const trials = [
          { attrs: { transposed: false }, x: values(n, columns), dy: values(n, rows) },
          { attrs: { transposed: true }, x: values(n, rows), dy: values(n, columns) },
        ];
        const products = (w: Tensor): ReadonlyArray<Values> =>
          trials.flatMap(({ attrs, x, dy }) => {
            const [left, right] = [tensorOf(x), tensorOf(dy)];
            const results = [
              RxLinear.run({ x: left, w }, attrs),
              RxLinearGradInput.run({ dy: right, w }, attrs),
            ].flat();
            const turned = reshape(w, [columns, rows]);
            results.push(...RxLinear.run({ x: right, w: turned }, attrs));
            const read = results.map(valuesOf);
            dispose([...results, left, right, turned]);
            return read;
          });
        await setBackend('cpu');
        const plain = tensorOf(matrix);
        const wanted = products(plain);
        plain.dispose();
        for (const configuration of configurations) {
          await startNative(configuration);
          const before = alive();
          const w = quantizedMatrix(layout);
          expect(difference(valuesOf(w), matrix, 1e-6)).toBeUndefined();
          const got = products(w);
          wanted.forEach((values, i) => expect(difference(got[i] ?? nothing, values, 2e-4)).toBeUndefined());
          w.dispose();
          expect(alive()).toEqual(before);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('keeps bfloat16 numbers as they lie in a file, in half of the memory, and reads them exactly', async () => {
    for (const configuration of configurations) {
      await startNative(configuration);
      const before = alive();
      fc.assert(
        fc.property(fc.uint16Array({ minLength: 2, maxLength: 2000 }), (some) => {
          const bits = some.filter((each) => (each & 0x7f80) !== 0x7f80);
          const shape = [1, bits.length];
          const expected = bfloat16ToFloat32(bits);
          const held = bfloat16Tensor({ bits, shape });
          const taken = (): number => alive().nativeBytes - before.nativeBytes;
          // A block of memory is up to 320 bytes larger than what lies in it, by what lay there before.
          expect(taken()).toBeLessThan(2 * bits.length + 320);
          expect(valuesOf(held)).toEqual({ shape, values: expected });
          // A tensor that trains lies as float32 again.
          release(held);
          expect(valuesOf(held)).toEqual({ shape, values: expected });
          expect(taken()).toBeGreaterThanOrEqual(4 * bits.length);
          held.dispose();
          expect(alive()).toEqual(before);
        }),
        { numRuns: 20 },
      );
    }
  });

  it('takes a quarter of the memory in 8 bits, and about an eighth in 4', async () => {
    await startNative({ threads: 1 });
    const bytes = (): number => alive().nativeBytes;
    const before = bytes();
    const plain = tensorOf({ shape: [256, 512], values: new Float32Array(256 * 512) });
    const float = bytes() - before;
    plain.dispose();
    const of = (layout: QuantizedLayout): number => {
      const w = quantizedMatrix(layout);
      const taken = bytes() - before;
      w.dispose();
      return taken / float;
    };
    const shape = [256, 512] as const;
    const eight = of({ shape, codes: new Int8Array(256 * 512), scale: new Float32Array(256), blockSize: 0 });
    const four = of({
      shape,
      codes: new Uint8Array(256 * 256),
      scale: new Float32Array(2048),
      map: new Float32Array(16),
      blockSize: 64,
    });
    expect(eight).toBeLessThan(0.26);
    expect(four).toBeLessThan(0.15);
  });
});
