/**
 * The wasm backend of tfjs 4.22 with what training needs and it lacks: one kernel is missing, one writes wrong bits, and
 * matMul is fast in one form only.
 */
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import { left, right } from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { getKernel, ready, registerKernel, setBackend, unregisterKernel, loadBackend, tfjs } from '../../tfjs.js';

const backendName = 'wasm';

const sizeOf = (shape: ReadonlyArray<number>): number => shape.reduce((size, length) => size * length, 1);

/** What the wasm backend passes to its kernels, which tfjs types loosely. */
interface Call<Inputs, Attrs> {
  readonly inputs: Inputs;
  readonly attrs: Attrs;
  readonly backend: BackendWasm;
}

const kernelFunc = (run: (call: never) => TensorInfo): KernelFunc => run as KernelFunc;

/** Missing in the backend: without it a gather has no gradient. */
const unsortedSegmentSum = kernelFunc(
  ({
    inputs: { x, segmentIds },
    attrs: { numSegments },
    backend,
  }: Call<{ x: TensorInfo; segmentIds: TensorInfo }, { numSegments: number }>) => {
    const row = x.shape.slice(1);
    const width = sizeOf(row);
    const out = backend.makeOutput([numSegments, ...row], 'float32');
    const sums = backend.typedArrayFromHeap(out).fill(0);
    const values = backend.typedArrayFromHeap(x);
    backend.typedArrayFromHeap(segmentIds).forEach((segment: number, i: number) => {
      if (segment < 0 || segment >= numSegments) return;
      const to = segment * width;
      const from = i * width;
      for (let c = 0; c < width; c++) sums[to + c] = (sums[to + c] ?? 0) + (values[from + c] ?? 0);
    });
    return out;
  },
);

/** The backend's own writes the bits of integers whatever dtype was asked for. */
interface OneHotAttrs {
  readonly depth: number;
  readonly onValue: number;
  readonly offValue: number;
  readonly dtype: 'float32' | 'int32' | 'bool';
}

const oneHot = kernelFunc(({ inputs: { indices }, attrs, backend }: Call<{ indices: TensorInfo }, OneHotAttrs>) => {
  const { depth, onValue, offValue, dtype } = attrs;
  const out = backend.makeOutput([...indices.shape, depth], dtype);
  const values = backend.typedArrayFromHeap(out).fill(offValue);
  backend.typedArrayFromHeap(indices).forEach((id: number, i: number) => {
    if (id >= 0 && id < depth) values[i * depth + id] = onValue;
  });
  return out;
});

interface MatMulInputs {
  readonly a: TensorInfo;
  readonly b: TensorInfo;
}

interface MatMulAttrs {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** Below this many multiplications the backend's plain loop is faster than making a matrix product for XNNPACK. */
const smallProduct = 1 << 9;

/** XNNPACK is reached by an untransposed product of two matrices only (60 × on the transposed forms): bring all to that form. */
const batchMatMul = (stock: KernelFunc, stockTranspose: KernelFunc): KernelFunc =>
  kernelFunc(({ inputs: { a, b }, attrs, backend }: Call<MatMulInputs, MatMulAttrs>) => {
    const product = (left: TensorInfo, right: TensorInfo, transposeA = false, transposeB = false): TensorInfo =>
      stock({ inputs: { a: left, b: right }, attrs: { transposeA, transposeB }, backend }) as TensorInfo;
    const transposed = (x: TensorInfo): TensorInfo => {
      const rank = x.shape.length;
      const perm = [...x.shape.keys()].slice(0, rank - 2).concat(rank - 1, rank - 2);
      return stockTranspose({ inputs: { x }, attrs: { perm }, backend }) as TensorInfo;
    };
    const { transposeA, transposeB } = attrs;
    const batchOf = ({ shape }: TensorInfo): number => sizeOf(shape.slice(0, -2));
    const batch = batchOf(a);
    const [rows = 0, inner = 0] = transposeA ? a.shape.slice(-2).reverse() : a.shape.slice(-2);
    const [columns = 0] = transposeB ? b.shape.slice(-2) : b.shape.slice(-1);
    // Broadcast batches are not of this library; they keep the backend's own way.
    if (batch !== batchOf(b) || rows * inner * columns < smallProduct) return product(a, b, transposeA, transposeB);
    const left = transposeA ? transposed(a) : a;
    const right = transposeB ? transposed(b) : b;
    const free = (x: TensorInfo): unknown => backend.disposeData(x.dataId);
    const freeCopies = (): void => {
      if (left !== a) free(left);
      if (right !== b) free(right);
    };
    if (batch === 1) {
      const out = product(left, right);
      freeCopies();
      return out;
    }
    const part = (x: TensorInfo, i: number, shape: number[]): TensorInfo => {
      const copy = backend.makeOutput(shape, 'float32');
      const size = sizeOf(shape);
      // Views are made after the allocation: it may have moved the heap.
      backend.typedArrayFromHeap(copy).set(backend.typedArrayFromHeap(x).subarray(i * size, (i + 1) * size));
      return copy;
    };
    const out = backend.makeOutput([...a.shape.slice(0, -2), rows, columns], 'float32');
    for (let i = 0; i < batch; i++) {
      // A fresh matrix each time: XNNPACK keeps packed copies by identity.
      const l = part(left, i, [rows, inner]);
      const r = part(right, i, [inner, columns]);
      const piece = product(l, r);
      backend.typedArrayFromHeap(out).set(backend.typedArrayFromHeap(piece), i * rows * columns);
      free(l);
      free(r);
      free(piece);
    }
    freeCopies();
    return out;
  });

const isRegistered = (name: string): boolean => (getKernel(name, backendName) as unknown) !== undefined;

/** Keeps the kernel's setup, changes what it runs. */
const replace = (name: string, replacement: (stock: KernelFunc) => KernelFunc): void => {
  const stock = getKernel(name, backendName);
  unregisterKernel(name, backendName);
  registerKernel({ ...stock, kernelFunc: replacement(stock.kernelFunc) });
};

const mend = (): void => {
  const { BatchMatMul, OneHot, Transpose, UnsortedSegmentSum } = tfjs();
  // The kernel that the backend lacks tells whether this has been done.
  if (isRegistered(UnsortedSegmentSum)) return;
  registerKernel({ kernelName: UnsortedSegmentSum, backendName, kernelFunc: unsortedSegmentSum });
  replace(OneHot, () => oneHot);
  const { kernelFunc: transpose } = getKernel(Transpose, backendName);
  replace(BatchMatMul, (stock) => batchMatMul(stock, transpose));
};

/** Loads the wasm backend, mends it and makes it the current one. `E_ENGINE_UNAVAILABLE` where it cannot run. */
export const prepareWasm = (): TaskEither<FatalError, void> => async () => {
  try {
    loadBackend('wasm');
    mend();
    if (!(await setBackend(backendName))) return left(fatal('E_ENGINE_UNAVAILABLE', 'the wasm backend did not start'));
    await ready();
    return right(undefined);
  } catch (cause) {
    return left(fatal('E_ENGINE_UNAVAILABLE', 'the wasm backend could not be loaded', { cause }));
  }
};
