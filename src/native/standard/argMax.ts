import type { KernelConfig, TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../../tfjs.js';
import { kernel, sizeOf } from '../kernel.js';
import { viaCpu } from './viaCpu.js';

const { ArgMax, util } = tfjs();

/** Along the last axis: predictions are made of logits so. Anything else is handed on. */
export const argMax = (): KernelConfig => {
  const other = viaCpu(ArgMax);
  return kernel(ArgMax, (backend, inputs: { x: TensorInfo }, attrs: { readonly axis: number }) => {
    const { x } = inputs;
    const last = x.shape.length - 1;
    const [axis] = util.parseAxisParam(attrs.axis, x.shape);
    const columns = x.shape[last] ?? 0;
    if (x.dtype !== 'float32' || axis !== last || sizeOf(x) === 0) return other(backend, inputs, attrs);
    const out = backend.output(x.shape.slice(0, last), 'int32');
    backend
      .put(sizeOf(x) / columns)
      .put(columns)
      .tensor(x)
      .integers(out)
      .run(backend.op.rowArgMax);
    return out;
  });
};
