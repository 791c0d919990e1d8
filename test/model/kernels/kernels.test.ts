/** Numbers worked out elsewhere, and the edges of ops. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { dispose, memory, setBackend, tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { activation } from '../../../src/model/kernels/activation.js';
import { adamW } from '../../../src/model/kernels/adamW.js';
import { attention } from '../../../src/model/kernels/attention.js';
import { linearCrossEntropy } from '../../../src/model/kernels/linearCrossEntropy.js';
import { squaredNorm } from '../../../src/model/kernels/squaredNorm.js';

const numbers = (tensor: Tensor | undefined): ReadonlyArray<number> =>
  tensor === undefined ? [] : Array.from(tensor.dataSync());

beforeAll(async () => {
  await setBackend('cpu');
});

describe('AdamW', () => {
  it.each([
    [0, [0.999903381, -1.9999367]],
    [0.01, [0.999902427, -1.999934793]],
  ])('with decay %d takes the two steps that torch takes', (decay, expected) => {
    tidy(() => {
      const attrs = {
        learningRate: 5e-5,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: Float32Array.of(decay),
        gradScale: 1,
      };
      const start = { parameters: [tensor1d([1, -2])], m: [tensor1d([0, 0])], v: [tensor1d([0, 0])] };
      const first = adamW(start, [tensor1d([0.5, -1])], { ...attrs, step: 1 });
      const second = adamW(first, [tensor1d([0.25, 0.5])], { ...attrs, step: 2 });
      numbers(second.parameters[0]).forEach((x, i) => expect(x).toBeCloseTo(expected[i] ?? NaN, 6));
    });
  });

  it('disposes what it replaces and leaves the gradients', () => {
    const before = memory().numTensors;
    const gradient = tensor1d([1]);
    const state = { parameters: [tensor1d([1])], m: [tensor1d([0])], v: [tensor1d([0])] };
    const moved = adamW(state, [gradient], {
      learningRate: 0.1,
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      weightDecay: Float32Array.of(0),
      step: 1,
      gradScale: 1,
    });
    expect(memory().numTensors).toBe(before + 4);
    dispose([gradient, ...moved.parameters, ...moved.m, ...moved.v]);
  });
});

describe('cross-entropy', () => {
  const h = (): Tensor =>
    tensor2d([
      [2, 0, 0],
      [0, 1, 0],
      [1, 1, 1],
    ]);
  const unit = (): Tensor =>
    tensor2d([
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ]);
  // Logits (2,0,0), (0,1,0), (1,1,1) predict 1, 2 and 2.
  const attrs = {
    targets: Int32Array.of(1, 2, 2),
    weights: new Float32Array(3).fill(1 / 3),
    labelSmoothing: 0,
    variant: 'nll',
    gradient: true,
    needWeight: true,
  } as const;
  const nll = [Math.log(Math.exp(2) + 2), Math.log(Math.E + 2), Math.log(3)];

  it('is the mean negative log-likelihood', () => {
    tidy(() => {
      const { total, loss, correct } = linearCrossEntropy({ h: h(), w: unit() }, attrs);
      numbers(loss).forEach((x, i) => expect(x).toBeCloseTo(nll[i] ?? NaN, 5));
      expect(numbers(total)[0]).toBeCloseTo(nll.reduce((a, b) => a + b) / 3, 5);
      expect(numbers(correct)).toEqual([0, 0, 0]);
    });
  });

  it('smooths labels, and weighs by confidence as dft', () => {
    tidy(() => {
      const smooth = linearCrossEntropy({ h: h(), w: unit() }, { ...attrs, labelSmoothing: 0.1 });
      const first = 0.9 * (nll[0] ?? NaN) + 0.1 * (Math.log(Math.exp(2) + 2) - 2 / 3);
      expect(numbers(smooth.loss)[0]).toBeCloseTo(first, 5);
      const dft = linearCrossEntropy({ h: h(), w: unit() }, { ...attrs, variant: 'dft' });
      numbers(dft.loss).forEach((x, i) => expect(x).toBeCloseTo((nll[i] ?? NaN) * Math.exp(-(nll[i] ?? NaN)), 5));
    });
  });
});

describe('attention', () => {
  it('of one token is its value, and skips empty documents', () => {
    tidy(() => {
      const v = tensor2d([[3, 4]]);
      const attrs = { cuSeqlens: Int32Array.of(0, 0, 1, 1), heads: 1, kvHeads: 1, headDim: 2, scale: 1, window: 0 };
      const { out, lse } = attention({ q: tensor2d([[1, 1]]), k: tensor2d([[2, 0]]), v }, attrs);
      expect(numbers(out)).toEqual([3, 4]);
      expect(numbers(lse)).toEqual([2]);
    });
  });
});

describe('activations', () => {
  it.each([
    ['gelu', 0.8413447],
    ['gelu_new', 0.841192],
    ['relu', 1],
    ['relu2', 1],
    ['silu', 0.7310586],
    ['sigmoid', 0.7310586],
    ['quick_gelu', 0.8457958],
  ] as const)('%s of 1 is %d', (kind, expected) => {
    tidy(() => {
      const [one, negative] = numbers(activation(tensor1d([1, -9]), kind));
      expect(one).toBeCloseTo(expected, 5);
      expect(Math.abs(negative ?? NaN)).toBeLessThan(2e-3);
    });
  });
});

describe('the squared norm', () => {
  it('is over all tensors, and 0 over none', () => {
    tidy(() => {
      expect(numbers(squaredNorm([tensor1d([3, 4]), tensor2d([[12]])]))).toEqual([169]);
      expect(numbers(squaredNorm([]))).toEqual([0]);
    });
  });
});
