/** A sum is computed by the kernel that comes next: whatever that is, it reads as the sum of what its terms were. */
import { afterAll, beforeEach, expect, it } from '@jest/globals';
import '@tensorflow/tfjs-backend-cpu';
import { clone, env, reshape, setBackend, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { bfloat16ToFloat32, float32ToBfloat16 } from '../../src/formats/tensors/float16.js';
import { add } from '../../src/model/kernels/add.js';
import { axpy } from '../../src/model/kernels/axpy.js';
import { hold, keep } from '../../src/model/kernels/hold.js';
import { layerNorm } from '../../src/model/kernels/layerNorm.js';
import { rmsNorm } from '../../src/model/kernels/rmsNorm.js';
import { setPrecision } from '../../src/native/register.js';
import { alive, configurations, describeNative, startNative } from '../../test/native.js';

env().set('IS_TEST', true);

const [rows, columns] = [3, 19];
const drawn = fc
  .array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: rows * columns, maxLength: rows * columns })
  .map((values) => Float32Array.from(values));
const numbers = (x: Tensor): Float32Array => x.dataSync<'float32'>();
const summed = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value + (b[i] ?? NaN));

/** Both norms of x, and what they keep of it. */
const norms = (x: Tensor, gain: Tensor, keeps: boolean): ReadonlyArray<ReadonlyArray<Tensor>> => {
  const first = rmsNorm(x, gain, { eps: 1e-3, offset: 0, keeps });
  const second = layerNorm(x, gain, undefined, { eps: 1e-3, keeps });
  const kept = [first.kept, second.kept].filter((tensor) => tensor !== undefined);
  return [[first.y, first.rstd, second.y, second.mean, second.rstd], kept];
};

/** What may come between a sum and its reading; each returns what it made. */
const followers: Readonly<Record<string, (a: Tensor, b: Tensor, sum: Tensor) => ReadonlyArray<Tensor>>> = {
  nothing: () => [],
  'its view': (_a, _b, sum) => [reshape(sum, [rows * columns]), clone(sum)],
  'another sum': (a, _b, sum) => [add(sum, a)],
  'an update of a term': (a, b) => [axpy(a, b, 1)].slice(1),
  'what is kept of it': (_a, _b, sum) => [keep(sum)],
  'a term that is held': (a) => {
    hold(a, 'bfloat16');
    return [];
  },
  'its norm': (_a, b, sum) => {
    const gain = tensor1d(new Float32Array(columns).fill(1));
    const made = [rmsNorm(sum, gain, { eps: 1e-3, offset: 0, keeps: true }), rmsNorm(b, gain, { eps: 1, offset: 0 })];
    return [gain, ...made.flatMap(({ y, rstd, kept }) => [y, rstd, ...(kept === undefined ? [] : [kept])])];
  },
  'a norm of a term': (a) => {
    const gain = tensor1d(new Float32Array(columns).fill(1));
    const { y, rstd } = rmsNorm(a, gain, { eps: 1e-3, offset: 0 });
    return [gain, y, rstd];
  },
  'a norm that is refused': (_a, _b, sum) => {
    const wrong = tensor1d([1]);
    expect(() => rmsNorm(sum, wrong, { eps: 1, offset: 0 })).toThrow('gain has shape [1]');
    return [wrong];
  },
};

describeNative('a sum', () => {
  beforeEach(async () => {
    await startNative();
  });
  afterAll(async () => {
    setPrecision('float32');
    await setBackend('cpu');
  });

  it('is of the terms as they were, whatever comes next, and when they are disposed of', () => {
    fc.assert(
      fc.property(drawn, drawn, fc.constantFrom(...Object.keys(followers)), fc.boolean(), (a, b, follower, early) => {
        const before = alive();
        const terms = [tensor2d(a, [rows, columns]), tensor2d(b, [rows, columns])] as const;
        const sum = add(...terms);
        const made = followers[follower]?.(...terms, sum) ?? [];
        if (early) for (const term of terms) term.dispose();
        expect(numbers(sum)).toEqual(summed(a, b));
        if (!early) for (const term of terms) term.dispose();
        for (const tensor of [sum, ...made]) tensor.dispose();
        expect(alive()).toEqual(before);
      }),
      { numRuns: 200 },
    );
  });

  it('that nobody reads leaves nothing behind', () => {
    const before = alive();
    const a = tensor1d([1, 2]);
    const sum = add(a, a);
    sum.dispose();
    a.dispose();
    expect(alive()).toEqual(before);
  });

  it('is normed as other numbers are, at either precision, and kept for the way back', async () => {
    await fc.assert(
      fc.asyncProperty(
        drawn,
        drawn,
        fc.constantFrom('float32' as const, 'bfloat16' as const),
        fc.boolean(),
        fc.constantFrom(...configurations),
        async (a, b, precision, keeps, configuration) => {
          await startNative(configuration);
          setPrecision(precision);
          const before = alive();
          const terms = [tensor2d(a, [rows, columns]), tensor2d(b, [rows, columns])] as const;
          const gain = tensor1d(Float32Array.from({ length: columns }, (_, i) => 1 + i / 8));
          const known = tensor2d(summed(a, b), [rows, columns]);
          const [wanted = []] = norms(known, gain, false);
          const sums = [add(...terms), add(...terms)] as const;
          const first = add(...terms);
          const [got = [], kept = []] = norms(first, gain, keeps);
          expect(got.map(numbers)).toEqual(wanted.map(numbers));
          expect(kept).toHaveLength(keeps ? 2 : 0);
          const rounded =
            precision === 'bfloat16' ? bfloat16ToFloat32(float32ToBfloat16(numbers(known))) : numbers(known);
          for (const tensor of kept) expect(numbers(tensor)).toEqual(rounded);
          for (const sum of [...sums, first]) expect(numbers(sum)).toEqual(numbers(known));
          for (const tensor of [...terms, gain, known, ...wanted, ...sums, first, ...got, ...kept]) tensor.dispose();
          expect(alive()).toEqual(before);
          setPrecision('float32');
        },
      ),
      { numRuns: 60 },
    );
  });
});
