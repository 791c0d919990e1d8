import type { KernelConfig, TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../../tfjs.js';
import { kernel, sizeOf } from '../kernel.js';
import { viaCpu } from './viaCpu.js';

const { Mean, Sum, util } = tfjs();

interface Attrs {
  readonly axis: number | number[];
  readonly keepDims: boolean;
}

/** Sums or means over the last axes, or over the first; others are handed on. */
const reduction = (name: typeof Sum | typeof Mean): KernelConfig => {
  const other = viaCpu(name);
  return kernel(name, (backend, inputs: { x: TensorInfo }, attrs: Attrs) => {
    const { x } = inputs;
    const rank = x.shape.length;
    const axes = util.parseAxisParam(attrs.axis, x.shape);
    const trailing = axes.every((axis, i) => axis === rank - axes.length + i);
    const leading = axes.every((axis, i) => axis === i);
    if (x.dtype !== 'float32' || (!trailing && !leading) || sizeOf(x) === 0) return other(backend, inputs, attrs);
    const summed = axes.reduce((size, axis) => size * (x.shape[axis] ?? 1), 1);
    const kept = sizeOf(x) / summed;
    const shape = attrs.keepDims
      ? x.shape.map((length, axis) => (axes.includes(axis) ? 1 : length))
      : x.shape.filter((_, axis) => !axes.includes(axis));
    const out = backend.output(shape);
    if (trailing) backend.put(kept).put(summed).tensor(x).tensor(out).run(backend.op.rowSum);
    else backend.put(summed).put(kept).value(x).tensor(out).run(backend.op.columnSum);
    if (name === Mean)
      backend
        .put(kept)
        .put(1 / summed)
        .tensor(out)
        .tensor(out)
        .run(backend.op.scale);
    return out;
  });
};

export const reductions = (): ReadonlyArray<KernelConfig> => [reduction(Sum), reduction(Mean)];
