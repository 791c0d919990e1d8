import type { TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../../tfjs.js';
import { kernel } from '../kernel.js';

const { BatchMatMul } = tfjs();

interface Attrs {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** [..., m, k] by [..., k, n]; a batch dimension of 1 repeats, as tfjs has it. Always in float32. */
export const matMul = kernel(
  BatchMatMul,
  (backend, { a, b }: { a: TensorInfo; b: TensorInfo }, { transposeA, transposeB }: Attrs) => {
    const last = ({ shape }: TensorInfo, back: number): number => shape[shape.length - back] ?? 1;
    const batchOf = ({ shape }: TensorInfo): number => shape.slice(0, -2).reduce((size, length) => size * length, 1);
    const m = last(a, transposeA ? 1 : 2);
    const k = last(a, transposeA ? 2 : 1);
    const n = last(b, transposeB ? 2 : 1);
    const inner = last(b, transposeB ? 1 : 2);
    const batchA = batchOf(a);
    const batchB = batchOf(b);
    if (k !== inner || (batchA !== batchB && batchA !== 1 && batchB !== 1))
      throw new Error(`matMul of shapes [${a.shape.join(', ')}] and [${b.shape.join(', ')}]`);
    const batches = batchA === 1 ? batchB : batchA;
    const outer = (batchA >= batchB ? a : b).shape.slice(0, -2);
    const out = backend.output([...outer, m, n]);
    backend.put(batches).put(m).put(n).put(k).put(Number(transposeA)).put(Number(transposeB));
    backend.put(batchA === 1 ? 0 : m * k).put(batchB === 1 ? 0 : k * n);
    backend.tensor(a).tensor(b).tensor(out).run(backend.op.matMul);
    return out;
  },
);
