/** What runs when an op is called by its name, and what tfjs notes of it. */
import { afterEach, beforeAll, expect, it } from '@jest/globals';
import {
  env,
  getKernel,
  grad,
  memory,
  mul,
  profile,
  registerKernel,
  reverse,
  setBackend,
  tensor1d,
  tidy,
  unregisterKernel,
} from '@tensorflow/tfjs-core';
import type { KernelFunc, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import { clone } from '../../../src/model/kernels/clone.js';
import { namedOp } from '../../../src/model/kernels/namedOp.js';

const numbers = (tensor: Tensor): ReadonlyArray<number> => Array.from(tensor.dataSync());

/** An op whose definition is reversal, under a name that nobody else has. */
const reversal = (name: string) =>
  namedOp(name, ({ x }: { x: Tensor; y?: Tensor | undefined }, _attrs: object): readonly [Tensor] => [reverse(x)]);

const kernelOn = (kernelName: string, kernelFunc: KernelFunc): void =>
  registerKernel({ kernelName, backendName: 'cpu', kernelFunc });

const counts = (): ReadonlyArray<number> => [memory().numTensors, memory().numDataBuffers, memory().numBytes];
const since = (before: ReadonlyArray<number>): ReadonlyArray<number> =>
  counts().map((count, i) => count - (before[i] ?? 0));

beforeAll(async () => {
  await setBackend('cpu');
});

afterEach(() => env().set('IS_TEST', false));

it('is the reference, until the current backend has a kernel', () => {
  const op = reversal('RxTestKernel');
  const x = tensor1d([1, 2]);
  expect(numbers(op.run({ x }, {})[0])).toEqual([2, 1]);
  kernelOn('RxTestKernel', () => [tensor1d([-1])]);
  expect(numbers(op.run({ x }, {})[0])).toEqual([-1]);
  expect(numbers(op.reference({ x }, {})[0])).toEqual([2, 1]);
  unregisterKernel('RxTestKernel', 'cpu');
});

it.each([true, false])('counts tensors and bytes as tfjs does; watched: %p', (watched) => {
  const name = `RxTestCounts${watched}`;
  // As backends write kernels: what comes out is no tensor yet.
  const { kernelFunc } = getKernel('Reverse', 'cpu');
  kernelOn(name, (call) => [kernelFunc({ ...call, attrs: { dims: [0] } }) as TensorInfo]);
  env().set('IS_TEST', watched);
  const x = tensor1d([1, 2, 3]);
  for (const op of [reversal(name), reversal('RxTestNowhere')]) {
    const before = counts();
    const [y] = op.run({ x, y: undefined }, {});
    expect(since(before)).toEqual([1, 1, 12]);
    expect(numbers(y)).toEqual([3, 2, 1]);
    y.dispose();
    tidy(() => void op.run({ x }, {}));
    expect(since(before)).toEqual([0, 0, 0]);
  }
  unregisterKernel(name, 'cpu');
});

it('is noted by a tape and by a profile', async () => {
  const x = tensor1d([1, 2, 3]);
  expect(numbers(grad((values: Tensor) => mul(clone(values), 2))(x))).toEqual([2, 2, 2]);
  const { kernelNames } = await profile(() => clone(x));
  expect(kernelNames).toEqual(['Identity']);
});

it('gives clones that share their data, which lives as long as one of them', () => {
  const x = tensor1d([1, 2, 3]);
  const before = counts();
  const first = clone(x);
  const second = clone(first);
  expect(since(before)).toEqual([2, 0, 24]);
  first.dispose();
  x.dispose();
  expect(numbers(second)).toEqual([1, 2, 3]);
  second.dispose();
  expect(since(before)).toEqual([-1, -1, -12]);
});
