/** Tensors that lie as bfloat16: what they read as, what they weigh, who sees it, and what is refused. */
import { afterAll, beforeEach, expect, it } from '@jest/globals';
import '@tensorflow/tfjs-backend-cpu';
import { clone, env, reshape, setBackend, square, tensor1d, tidy, zerosLike } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { bfloat16ToFloat32, float32ToBfloat16 } from '../../src/formats/tensors/float16.js';
import { adamW } from '../../src/model/kernels/adamW.js';
import { axpy } from '../../src/model/kernels/axpy.js';
import { hold, keep, release } from '../../src/model/kernels/hold.js';
import { setPrecision } from '../../src/native/register.js';
import { alive, configurations, describeNative, startNative } from '../../test/native.js';

env().set('IS_TEST', true);

/** Any bits at all: NaNs, infinities, numbers too small to be normal. */
const anyFloats = fc
  .array(fc.integer({ min: -0x80000000, max: 0x7fffffff }), { minLength: 1, maxLength: 70 })
  .map((bits) => new Float32Array(Int32Array.from(bits).buffer));

const rounded = (values: Float32Array): Float32Array => bfloat16ToFloat32(float32ToBfloat16(values));

const numbers = (x: Tensor): ReadonlyArray<number> => Array.from(x.dataSync<'float32'>());

/** A way to share a tensor's data. */
const views: ReadonlyArray<(x: Tensor) => Tensor> = [
  clone,
  (x) => reshape(x, [1, -1]),
  (x) => tidy(() => reshape(clone(x), [-1])),
];

describeNative('a tensor held as bfloat16', () => {
  beforeEach(async () => {
    await startNative();
  });
  afterAll(async () => {
    setPrecision('float32');
    await setBackend('cpu');
  });

  it('reads as its values rounded to nearest even, at once, later, on another backend, and after its release', async () => {
    await fc.assert(
      fc.asyncProperty(anyFloats, fc.constantFrom(...configurations), async (values, configuration) => {
        await startNative(configuration);
        const before = alive();
        const x = tensor1d(values);
        hold(x, 'bfloat16');
        const wanted = Array.from(rounded(values));
        expect(numbers(x)).toEqual(wanted);
        expect(Array.from(await x.data())).toEqual(wanted);
        release(x);
        expect(numbers(x)).toEqual(wanted);
        hold(x, 'bfloat16');
        await setBackend('cpu');
        const there = square(x);
        expect(numbers(there)).toEqual(Array.from(Float32Array.from(wanted, (w) => w * w)));
        await setBackend('native');
        expect(numbers(x)).toEqual(wanted);
        there.dispose();
        x.dispose();
        expect(alive()).toEqual(before);
      }),
      { numRuns: 60 },
    );
  });

  it('is one with its clones and reshaped views, in any order of holding, releasing and disposing', () => {
    fc.assert(
      fc.property(
        anyFloats,
        fc.array(fc.constantFrom(...views), { maxLength: 3 }),
        fc.array(fc.constantFrom(hold, release), { maxLength: 5 }),
        fc.nat(),
        (values, made, changes, pick) => {
          const before = alive();
          const x = tensor1d(values);
          const all = [x, ...made.map((view) => view(x))];
          changes.forEach((change, i) => change(all[(pick + i) % all.length] ?? x, 'bfloat16'));
          const wanted = Array.from(changes.includes(hold) ? rounded(values) : values);
          const order = all.map((_, i) => all[(i + pick) % all.length] ?? x);
          for (const view of order) {
            expect(numbers(view)).toEqual(wanted);
            view.dispose();
          }
          expect(alive()).toEqual(before);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('takes half of the memory, and all of it again when released', () => {
    const before = alive().nativeBytes;
    const x = tensor1d(new Float32Array(1 << 16));
    const whole = alive().nativeBytes - before;
    hold(x, 'bfloat16');
    expect(2 * (alive().nativeBytes - before)).toBe(whole);
    hold(x, 'bfloat16');
    expect(2 * (alive().nativeBytes - before)).toBe(whole);
    release(x);
    release(x);
    expect(alive().nativeBytes - before).toBe(whole);
    x.dispose();
    expect(alive().nativeBytes).toBe(before);
  });

  it('is not updated in place, and says what to do', () => {
    const x = tensor1d([1, 2, 3]);
    const y = tensor1d([1, 1, 1]);
    const moments = { m: [zerosLike(y)], v: [zerosLike(y)] };
    hold(x, 'bfloat16');
    const before = alive();
    const message = 'a tensor held as bfloat16 cannot be updated in place: release it first';
    expect(() => axpy(x, y, 1)).toThrow(message);
    const attrs = { learningRate: 1, beta1: 0, beta2: 0, epsilon: 1, step: 1, gradScale: 1 };
    expect(() => adamW({ parameters: [x], ...moments }, [y], { ...attrs, weightDecay: new Float32Array(1) })).toThrow(
      message,
    );
    expect(alive()).toEqual(before);
    expect(numbers(x)).toEqual([1, 2, 3]);
    release(x);
    expect(numbers(axpy(x, y, 1))).toEqual([2, 3, 4]);
    for (const t of [x, y, ...moments.m, ...moments.v]) t.dispose();
  });

  it('is what is kept for later at bfloat16, once for all who keep it; at float32 the data itself is', () => {
    fc.assert(
      fc.property(
        anyFloats,
        fc.constantFrom('float32' as const, 'bfloat16' as const),
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        (values, precision, keepers, originalFirst) => {
          const before = alive();
          const x = tensor1d(values);
          const own = alive().nativeBytes;
          setPrecision(precision);
          const kept = Array.from({ length: keepers }, () => keep(x));
          const one = alive().nativeBytes;
          // One copy, however many keep it. Memory is given in units of 64 bytes, and a free piece that is fewer than four units
          // longer than asked for is given whole: the rest would not be worth keeping apart (memory.cc).
          const unit = 64;
          const units = Math.ceil((2 * values.length) / unit);
          if (precision === 'float32') expect(one).toBe(own);
          else expect([0, 1, 2, 3].map((more) => (units + more) * unit)).toContain(one - own);
          const wanted = precision === 'float32' ? values : rounded(values);
          expect(numbers(x)).toEqual(Array.from(values));
          if (originalFirst) x.dispose();
          for (const later of kept) {
            expect(numbers(later)).toEqual(Array.from(wanted));
            later.dispose();
          }
          if (!originalFirst) {
            // What was kept is gone: keeping again makes it again.
            const again = keep(x);
            expect(numbers(again)).toEqual(Array.from(wanted));
            again.dispose();
            expect(numbers(x)).toEqual(Array.from(values));
            x.dispose();
          }
          setPrecision('float32');
          expect(alive()).toEqual(before);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('must be of floats', () => {
    const ids = tensor1d([1, 2], 'int32');
    const before = alive();
    expect(() => {
      hold(ids, 'bfloat16');
    }).toThrow('a tensor of int32, expected float32');
    expect(alive()).toEqual(before);
    ids.dispose();
  });

  it('is an ordinary tensor on engines that have no such storage', async () => {
    await setBackend('cpu');
    const fine = Math.fround(1 + 2 ** -20);
    const x = tensor1d([fine]);
    hold(x, 'bfloat16');
    expect(numbers(x)).toEqual([fine]);
    release(x);
    expect(numbers(axpy(x, clone(x), 0))).toEqual([fine]);
    await setBackend('native');
  });
});
