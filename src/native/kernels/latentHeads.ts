import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectAngles, expectMatrix, kernel, rowsOf } from '../kernel.js';
import type { Angles } from '../kernel.js';

interface Attrs {
  readonly heads: number;
  readonly nopeDim: number;
  readonly ropeDim: number;
  readonly valueDim: number;
  readonly interleaved: boolean;
}

const putShape = (backend: NativeBackend, n: number, attrs: Attrs): NativeBackend =>
  backend
    .put(n)
    .put(attrs.heads)
    .put(attrs.nopeDim)
    .put(attrs.ropeDim)
    .put(attrs.valueDim)
    .put(Number(attrs.interleaved));

interface Inputs extends Angles {
  readonly q: TensorInfo;
  readonly kv: TensorInfo;
  readonly shared: TensorInfo;
}

export const latentHeads = kernel('RxLatentHeads', (backend, inputs: Inputs, attrs: Attrs) => {
  const { q, kv, shared, cos, sin } = inputs;
  const { heads, nopeDim, ropeDim, valueDim } = attrs;
  const [n] = rowsOf('q', q);
  expectMatrix('q', q, n, heads * (nopeDim + ropeDim));
  expectMatrix('kv', kv, n, heads * (nopeDim + valueDim));
  expectMatrix('shared', shared, n, ropeDim);
  expectAngles(inputs, n, ropeDim);
  const y = backend.outputAs(backend.liesHalved(q), q.shape);
  const half = backend.liesHalved(kv);
  const k = backend.outputAs(half, q.shape);
  const v = backend.outputAs(half, [n, heads * valueDim]);
  putShape(backend, n, attrs).value(q).value(kv).value(shared).tensor(cos).tensor(sin);
  backend.value(y).value(k).value(v).run(backend.op.latentHeads);
  return [y, k, v];
});

interface GradInputs extends Angles {
  readonly dq: TensorInfo;
  readonly dk: TensorInfo;
  readonly dv: TensorInfo;
}

export const latentHeadsGrad = kernel('RxLatentHeadsGrad', (backend, inputs: GradInputs, attrs: Attrs) => {
  const { dq, dk, dv, cos, sin } = inputs;
  const { heads, nopeDim, ropeDim, valueDim } = attrs;
  const [n] = rowsOf('dq', dq);
  expectMatrix('dq', dq, n, heads * (nopeDim + ropeDim));
  expectMatrix('dk', dk, n, heads * (nopeDim + ropeDim));
  expectMatrix('dv', dv, n, heads * valueDim);
  expectAngles(inputs, n, ropeDim);
  const half = backend.liesHalved(dk);
  const dQueries = backend.outputAs(backend.liesHalved(dq), dq.shape);
  const dKv = backend.outputAs(half, [n, heads * (nopeDim + valueDim)]);
  const dShared = backend.outputAs(half, [n, ropeDim]);
  putShape(backend, n, attrs).value(dq).value(dk).value(dv).tensor(cos).tensor(sin);
  backend.value(dQueries).value(dKv).value(dShared).run(backend.op.latentHeadsGrad);
  return [dQueries, dKv, dShared];
});
