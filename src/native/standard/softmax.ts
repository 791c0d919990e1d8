import type { KernelConfig, TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../../tfjs.js';
import { kernel, sizeOf } from '../kernel.js';
import { binaryKernels, unaryKernels } from './elementwise.js';
import { rowMax } from './max.js';
import { drop, spread } from './spread.js';
import { viaCpu } from './viaCpu.js';

const { Exp, RealDiv, Softmax, Sub } = tfjs();

/** Along the last axis. Anything else is handed on, and rows in which a number is none. */
export const softmax = (): KernelConfig => {
  const other = viaCpu(Softmax);
  return kernel(Softmax, (backend, inputs: { logits: TensorInfo }, attrs: { readonly dim: number }) => {
    const { logits: x } = inputs;
    const last = x.shape.length - 1;
    const columns = x.shape[last] ?? 0;
    const size = sizeOf(x);
    const covered = x.dtype === 'float32' && size > 0 && (attrs.dim === last || attrs.dim === -1);
    const rows = size / columns;
    const top = covered ? rowMax(backend, x, rows, columns) : undefined;
    if (top === undefined) return other(backend, inputs, attrs);
    const p = backend.output(x.shape);
    const combined = (name: string, a: TensorInfo, b: TensorInfo): void => {
      backend.put(size).put(binaryKernels.indexOf(name)).put(size).put(size);
      backend.tensor(a).tensor(b).tensor(p).run(backend.op.binary);
    };
    const highest = spread(backend, top, columns, x.shape);
    combined(Sub, x, highest);
    drop(backend, top, highest);
    backend.put(size).put(unaryKernels.indexOf(Exp)).tensor(p).tensor(p).run(backend.op.unary);
    const sums = backend.output([rows]);
    backend.put(rows).put(columns).tensor(p).tensor(sums).run(backend.op.rowSum);
    const totals = spread(backend, sums, columns, x.shape);
    combined(RealDiv, p, totals);
    drop(backend, sums, totals);
    return p;
  });
};
