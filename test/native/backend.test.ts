import { afterAll, beforeAll, expect, it } from '@jest/globals';
import '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { attention } from '../../src/model/kernels/attention.js';
import { linear } from '../../src/model/kernels/linear.js';
import { rmsNorm } from '../../src/model/kernels/rmsNorm.js';
import { registerNative, setPrecision } from '../../src/native/register.js';
import { alive, configurations, describeNative, difference, startNative, valuesOf } from '../native.js';

tf.env().set('IS_TEST', true);

const ramp = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => ((i * 37) % 101) / 50 - 1);

/** Awkward numbers first, then a ramp. */
const awkward = (n: number): Float32Array =>
  Float32Array.from([0, -0, NaN, Infinity, -Infinity, 1e-40, 88, -88, ...ramp(n - 8).map((x) => 9 * x)]);

/** Plain tfjs code, run on both backends. */
const programs: Readonly<Record<string, () => tf.Tensor | ReadonlyArray<tf.Tensor>>> = {
  'unary functions of awkward numbers': () => {
    const x = tf.tensor1d(awkward(37));
    return [
      tf.neg(x),
      tf.exp(x),
      tf.log(x),
      tf.sqrt(x),
      tf.rsqrt(x),
      tf.square(x),
      tf.tanh(x),
      tf.sigmoid(x),
      tf.relu(x),
      tf.abs(x),
      tf.sign(x),
      tf.erf(tf.slice(x, [8])),
    ];
  },
  'binary functions of awkward numbers': () => {
    const x = tf.tensor1d(awkward(37));
    const y = tf.reverse(x);
    return [tf.add(x, y), tf.sub(x, y), tf.mul(x, y), tf.div(x, y), tf.maximum(x, y), tf.minimum(x, y)];
  },
  'broadcasting: scalars, rows, columns, middles': () => {
    const x = tf.tensor3d(ramp(2 * 3 * 5), [2, 3, 5]);
    const shapes = [[], [1], [5], [3, 5], [1, 5], [3, 1], [2, 1, 5], [2, 1, 1], [2, 3, 1], [1, 3, 1], [1, 1, 1]];
    return shapes.flatMap((shape) => {
      const y = tf.tensor(ramp(shape.reduce((a, b) => a * b, 1)), shape);
      return [tf.sub(x, y), tf.div(y, x), tf.mul(y, y)];
    });
  },
  'integers and booleans': () => {
    const i = tf.tensor1d([1, -2, 3, 7], 'int32');
    const b = tf.greater(i, 2);
    return [
      tf.add(i, 1),
      tf.cast(i, 'float32'),
      tf.cast(b, 'float32'),
      tf.logicalNot(b),
      tf.where(b, i, tf.neg(i)),
      tf.less(i, 3),
      tf.equal(i, tf.tensor1d([1, 2, 3, 4], 'int32')),
      tf.sum(i),
      tf.zerosLike(i),
    ].map((t) => tf.cast(t, 'float32'));
  },
  'products of matrices and of batches of them': () => {
    const a = tf.tensor3d(ramp(2 * 3 * 4), [2, 3, 4]);
    const b = tf.tensor3d(ramp(2 * 4 * 5), [2, 4, 5]);
    const one = tf.tensor3d(ramp(4 * 5), [1, 4, 5]);
    const flat = tf.tensor2d(ramp(12), [3, 4]);
    return [
      tf.matMul(a, b),
      tf.matMul(a, one),
      tf.matMul(flat, flat, true, false),
      tf.matMul(flat, flat, false, true),
      tf.matMul(tf.transpose(a, [0, 2, 1]), tf.transpose(b, [0, 2, 1]), true, true),
      tf.matMul(tf.reshape(b, [2, 4, 5]), tf.reshape(a, [2, 3, 4]), true, true),
    ];
  },
  reductions: () => {
    const x = tf.tensor3d(ramp(3 * 4 * 7), [3, 4, 7]);
    return [
      tf.sum(x),
      tf.sum(x, -1),
      tf.sum(x, 0),
      tf.sum(x, [0, 1], true),
      tf.sum(x, [1, 2]),
      tf.sum(x, 1, true),
      tf.mean(x, 2),
      tf.mean(x, [0, 1], true),
      tf.mean(x),
      tf.max(x, 1),
      tf.max(x, 2),
      tf.max(x, -1, true),
      tf.cast(tf.argMax(x, 2), 'float32'),
      tf.softmax(x),
      tf.logSoftmax(x),
      tf.topk(x, 3).values,
    ];
  },
  'shapes and selections': () => {
    const x = tf.tensor2d(ramp(24), [4, 6]);
    const ids = tf.tensor1d([3, 0, 3], 'int32');
    return [
      tf.reshape(x, [-1, 8]),
      tf.expandDims(x, -2),
      tf.expandDims(x),
      tf.clone(x),
      tf.slice(x, [1, 2], [2, 3]),
      tf.concat([x, x], 1),
      tf.pad(x, [
        [0, 1],
        [2, 0],
      ]),
      tf.gather(x, ids),
      tf.unsortedSegmentSum(tf.gather(x, ids), ids, 4),
      tf.tile(x, [2, 1]),
      tf.transpose(x),
      ...tf.split(x, [2, 4], 1),
      tf.fill([2, 3], 0.25),
      tf.onesLike(x),
      tf.cast(tf.range(0, 5), 'float32'),
      tf.cast(tf.oneHot(ids, 4), 'float32'),
      tf.pow(tf.abs(x), 1.5),
    ];
  },
  'softmax of awkward rows': () => {
    const x = tf.tensor2d(
      [
        [1, -Infinity, 3],
        [NaN, 1, 2],
        [500, 500, -500],
        [0, -0, 0],
        [-1e30, 1e30, 0],
      ].flat(),
      [5, 3],
    );
    const sound = tf.gather(x, [0, 2, 3, 4]);
    return [x, sound].flatMap((of) => [tf.max(of, 1), tf.softmax(of), tf.logSoftmax(of), tf.softmax(tf.transpose(of))]);
  },
  'gradients through the tape': () => {
    const w = tf.tensor2d(ramp(12), [3, 4]);
    const x = tf.tensor2d(ramp(15), [5, 3]);
    return tf.grads((a: tf.Tensor, b: tf.Tensor) => tf.mean(tf.logSoftmax(tf.tanh(tf.matMul(a, b)))))([x, w]);
  },
};

const results = (program: () => tf.Tensor | ReadonlyArray<tf.Tensor>) => {
  const list = tf.tidy<tf.Tensor[]>(() => [program()].flat());
  const values = list.map(valuesOf);
  list.forEach((t) => t.dispose());
  return values;
};

describeNative('the native backend', () => {
  beforeAll(async () => {
    await startNative();
  });
  afterAll(async () => {
    await tf.setBackend('cpu');
  });

  it.each(Object.keys(programs))('gives what the cpu backend gives: %s', async (name) => {
    const program = programs[name] ?? (() => []);
    await tf.setBackend('cpu');
    const wanted = results(program);
    for (const configuration of configurations) {
      await startNative(configuration);
      const before = alive();
      const got = results(program);
      expect(got).toHaveLength(wanted.length);
      wanted.forEach((values, i) => {
        const different = difference(got[i] ?? { shape: [], values: new Float32Array() }, values, 1e-5);
        expect({ output: i, on: configuration, different }).toEqual({
          output: i,
          on: configuration,
          different: undefined,
        });
      });
      expect(alive()).toEqual(before);
    }
  });

  it('reads what was computed, at once or later', async () => {
    const x = tf.tensor1d([1, 2, 3]);
    const y = tf.square(x);
    const [late, soon] = [y.data(), y.dataSync()];
    expect(Array.from(soon)).toEqual([1, 4, 9]);
    expect(Array.from(await late)).toEqual([1, 4, 9]);
    tf.dispose([x, y]);
  });

  it('a read that was asked for outlives its tensor', async () => {
    const x = tf.fill([1000, 100], 3);
    const reading = x.data();
    x.dispose();
    tf.fill([1000, 100], 4).dispose();
    expect((await reading).every((v) => v === 3)).toBe(true);
  });

  it('memory that is still in use is not written over by what is uploaded next', () => {
    const n = 256;
    for (let round = 0; round < 10; round++) {
      const a = tf.fill([n, n], round);
      const identity = tf.eye(n);
      const b = tf.matMul(a, identity);
      // a's memory is free now, though the product has hardly begun
      a.dispose();
      const upload = tf.tensor2d(new Float32Array(n * n).fill(-1), [n, n]);
      expect(b.dataSync().every((v) => v === round)).toBe(true);
      expect(upload.dataSync().every((v) => v === -1)).toBe(true);
      tf.dispose([identity, b, upload]);
    }
  });

  it('thousands of operations ahead of the engine stay in order', () => {
    const one = tf.scalar(1);
    let sum: tf.Tensor = tf.scalar(0);
    for (let i = 0; i < 20_000; i++) {
      const next = tf.add(sum, one);
      sum.dispose();
      sum = next;
    }
    expect(sum.dataSync()[0]).toBe(20_000);
    tf.dispose([sum, one]);
  });

  it('tensors move between backends and back', async () => {
    await startNative();
    const before = alive();
    const born = tf.tensor1d([1, 2, 3]);
    await tf.setBackend('cpu');
    const there = tf.add(born, 1);
    expect(Array.from(there.dataSync())).toEqual([2, 3, 4]);
    await tf.setBackend('native');
    const back = tf.mul(there, born);
    expect(Array.from(back.dataSync())).toEqual([2, 6, 12]);
    tf.dispose([born, there, back]);
    expect(alive()).toEqual(before);
  });

  it('clones share memory until the last is gone', () => {
    const before = alive();
    const x = tf.tensor1d(ramp(1000));
    const one = alive().nativeBytes;
    expect(one - before.nativeBytes).toBeGreaterThanOrEqual(4000);
    const y = tf.clone(x);
    const z = tf.reshape(x, [10, 100]);
    expect(alive().nativeBytes).toBe(one);
    x.dispose();
    y.dispose();
    expect(z.dataSync()[999]).toBeCloseTo(ramp(1000)[999] ?? 0);
    z.dispose();
    expect(alive()).toEqual(before);
  });

  it('copies made for a kernel that the engine lacks are given back at once', () => {
    const x = tf.fill([64, 1 << 15], 3);
    const size = 4 * x.size;
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 3; i++) expect(tf.tidy(() => tf.argMin(x, -1).dataSync()[0])).toBe(0);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(size);
    x.dispose();
  });

  it('strings stay in JavaScript', () => {
    const x = tf.tensor1d(['a', 'bc']);
    expect(x.dataSync()).toEqual(['a', 'bc']);
    x.dispose();
  });

  it('wrong shapes and types are refused with the shapes, and nothing stays behind', () => {
    const x = tf.tensor2d(ramp(6), [2, 3]);
    const w = tf.tensor2d(ramp(8), [2, 4]);
    const ints = tf.tensor1d([1, 2, 3], 'int32');
    const before = alive();
    expect(() => linear(x, w, undefined, { transposed: false })).toThrow('w has shape [2, 4], expected [2, 3]');
    expect(() => rmsNorm(x, ints, { eps: 1e-5, offset: 0 })).toThrow('a tensor of int32, expected float32');
    const none = tf.zeros([2, 0]);
    const empty = {
      cuSeqlens: Int32Array.of(0, 2),
      heads: 1,
      kvHeads: 1,
      headDim: 3,
      valueDim: 0,
      scale: 1,
      window: 0,
    };
    expect(() => attention({ q: x, k: x, v: none }, empty)).toThrow('heads without values');
    const keyless = { ...empty, headDim: 0, valueDim: 3 };
    expect(() => attention({ q: none, k: none, v: x }, keyless)).toThrow('heads without keys');
    none.dispose();
    expect(alive()).toEqual(before);
    tf.dispose([x, w, ints]);
  });

  it('the same bits in every run, for any number of threads that is the same', async () => {
    const x = tf.tensor2d(ramp(130 * 257), [130, 257]);
    const w = tf.tensor2d(ramp(190 * 257), [190, 257]);
    for (const threads of [1, 2, 3]) {
      await startNative({ threads });
      const runs = [0, 1, 2, 3].map(() => {
        const y = linear(x, w, undefined, { transposed: false });
        const values = y.dataSync().slice();
        y.dispose();
        return values;
      });
      for (const run of runs) expect(run).toEqual(runs[0]);
    }
    tf.dispose([x, w]);
  });

  it('bfloat16 rounds the operands of products and nothing else', async () => {
    const info = registerNative({ threads: 2 });
    await tf.setBackend('native');
    const fine = 1 + 2 ** -9;
    const x = tf.fill<tf.Rank.R2>([20, 40], fine);
    const w = tf.fill<tf.Rank.R2>([30, 40], 1);
    const multiply = (): number => {
      const y = linear(x, w, undefined, { transposed: false });
      const [value = NaN] = y.dataSync();
      y.dispose();
      return value;
    };
    setPrecision('bfloat16');
    const rounded = multiply();
    setPrecision('float32');
    const there = info._tag === 'Right' && info.right.bfloat16;
    expect(rounded).toBeCloseTo(there ? 40 : 40 * fine, 6);
    expect(multiply()).toBeCloseTo(40 * fine, 6);
    tf.dispose([x, w]);
  });

  it('threads and instruction sets that there are not are refused', () => {
    expect(registerNative({ threads: 0 })).toMatchObject({ _tag: 'Left' });
    process.env['RXTUNE_ISA'] = 'mmx';
    expect(registerNative({ threads: 1 })).toEqual({
      _tag: 'Left',
      left: 'no kernels for instruction set "mmx" on this processor',
    });
    const isa = process.arch === 'arm64' ? 'neon' : 'portable';
    process.env['RXTUNE_ISA'] = isa;
    expect(registerNative({ threads: 1 })).toMatchObject({ right: { isa, threads: 1 } });
    delete process.env['RXTUNE_ISA'];
  });
});
