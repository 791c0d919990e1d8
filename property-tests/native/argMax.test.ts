/** Where the greatest stands, on the native engine as on the cpu backend: of equals the first, NaN passed over unless it comes first. */
import { afterAll, expect, it } from '@jest/globals';
import '@tensorflow/tfjs-backend-cpu';
import { argMax, env, setBackend, tensor, tidy } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { hold } from '../../src/model/kernels/hold.js';
import { alive, configurations, describeNative, startNative } from '../../test/native.js';

env().set('IS_TEST', true);

/** Few different ones, so that many are equal. */
const number = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(-2, -0, 0, 1, 1.5, 3) },
  { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity) },
  fc.float({ noNaN: true }),
);

const matrices = fc
  .tuple(fc.integer({ min: 1, max: 5 }), fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 500, max: 1300 })))
  .chain(([rows, columns]) =>
    fc.record({
      shape: fc.constantFrom<number[]>([rows, columns], [1, rows, columns], [rows, columns, 1], [rows * columns]),
      values: fc.oneof(
        fc.array(number, { minLength: rows * columns, maxLength: rows * columns }),
        // all alike but one
        fc
          .tuple(fc.constantFrom(-Infinity, 0, NaN), fc.nat(rows * columns - 1), number)
          .map(([all, at, other]) => Array.from({ length: rows * columns }, (_, i) => (i === at ? other : all))),
      ),
      axis: fc.constantFrom(-1, 0),
    }),
  );

describeNative('argMax', () => {
  afterAll(async () => {
    await setBackend('cpu');
  });

  it('is what the cpu backend says, and leaves nothing behind', async () => {
    const found = ({ shape, values, axis }: { shape: number[]; values: number[]; axis: number }) =>
      tidy(() => {
        const out = argMax(tensor(values, shape, 'float32'), axis);
        return { shape: out.shape, dtype: out.dtype, places: Array.from(out.dataSync()) };
      });
    await fc.assert(
      fc.asyncProperty(matrices, fc.constantFrom(...configurations), async (matrix, configuration) => {
        await setBackend('cpu');
        const wanted = found(matrix);
        await startNative(configuration);
        const before = alive();
        expect(found(matrix)).toEqual(wanted);
        expect(alive()).toEqual(before);
      }),
      { numRuns: 300 },
    );
  });

  it('reads values held as bfloat16', async () => {
    await startNative();
    tidy(() => {
      const x = tensor([1, 3, 2, 5, 5, 4], [2, 3]);
      hold(x, 'bfloat16');
      expect(Array.from(argMax(x, 1).dataSync())).toEqual([1, 0]);
    });
  });
});
