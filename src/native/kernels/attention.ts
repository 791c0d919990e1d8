import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, kernel, rowsOf } from '../kernel.js';

interface Attrs {
  readonly cuSeqlens: Int32Array;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  readonly window: number;
}

interface Inputs {
  readonly q: TensorInfo;
  readonly k: TensorInfo;
  readonly v: TensorInfo;
}

/** A whole matrix where a part of a wider one could be: data, row stride, first column. */
const whole = (backend: NativeBackend, info: TensorInfo, columns: number): NativeBackend =>
  backend.tensor(info).put(columns).put(0);

const putShared = (
  backend: NativeBackend,
  { q, k, v }: Inputs,
  attrs: Attrs,
  out: TensorInfo,
  lse: TensorInfo,
): void => {
  const { heads, kvHeads, headDim, scale, window } = attrs;
  const [n] = rowsOf('q', q);
  const wide = heads * headDim;
  const narrow = kvHeads * headDim;
  expectMatrix('q', q, n, wide);
  expectMatrix('k', k, n, narrow);
  expectMatrix('v', v, n, narrow);
  backend.put(n).put(heads).put(kvHeads).put(headDim).put(scale).put(window);
  whole(backend, q, wide);
  whole(backend, k, narrow);
  whole(backend, v, narrow);
  backend.tensor(out).tensor(lse);
};

export const attention = kernel('RxAttention', (backend, inputs: Inputs, attrs: Attrs) => {
  const [n] = rowsOf('q', inputs.q);
  const out = backend.output([n, attrs.heads * attrs.headDim]);
  const lse = backend.output([n, attrs.heads]);
  putShared(backend, inputs, attrs, out, lse);
  backend.run(backend.op.attention, attrs.cuSeqlens);
  return [out, lse];
});

interface GradInputs extends Inputs {
  readonly out: TensorInfo;
  readonly lse: TensorInfo;
  readonly dOut: TensorInfo;
}

export const attentionGrad = kernel('RxAttentionGrad', (backend, inputs: GradInputs, attrs: Attrs) => {
  const { q, k, v, out, lse, dOut } = inputs;
  const wide = attrs.heads * attrs.headDim;
  const narrow = attrs.kvHeads * attrs.headDim;
  const [n] = rowsOf('q', q);
  expectMatrix('out', out, n, wide);
  expectMatrix('dOut', dOut, n, wide);
  expectMatrix('lse', lse, n, attrs.heads);
  const dq = backend.output(q.shape);
  const dk = backend.output(k.shape);
  const dv = backend.output(v.shape);
  putShared(backend, inputs, attrs, out, lse);
  backend.tensor(dOut);
  whole(backend, dq, wide);
  whole(backend, dk, narrow);
  whole(backend, dv, narrow);
  backend.run(backend.op.attentionGrad, attrs.cuSeqlens);
  return [dq, dk, dv];
});
