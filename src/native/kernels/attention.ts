import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import type { NativeInfo } from '../nativeData.js';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Attrs {
  readonly cuSeqlens: Int32Array;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim?: number | undefined;
  readonly scale: number;
  readonly window: number;
  readonly softcap?: number | undefined;
  readonly alibi?: number | undefined;
}

/** A matrix that may be some columns of a wider one. */
interface Place {
  readonly matrix: TensorInfo;
  readonly firstColumn: number;
}

type Places = readonly [q: Place, k: Place, v: Place];

const whole = (matrix: TensorInfo): Place => ({ matrix, firstColumn: 0 });

/** Queries, keys and values side by side in one matrix. */
const besideEachOther = (matrix: TensorInfo, { heads, kvHeads, headDim }: Attrs): Places => {
  const [n] = rowsOf('qkv', matrix);
  expectMatrix('qkv', matrix, n, (heads + 2 * kvHeads) * headDim);
  return [0, heads * headDim, (heads + kvHeads) * headDim].map((firstColumn) => ({
    matrix,
    firstColumn,
  })) as unknown as Places;
};

/** Where activations lie as bfloat16 all does: what does not is rounded first, as the kernel would. */
const putRead = (backend: NativeBackend, matrix: TensorInfo): NativeBackend =>
  backend.halves ? backend.halved(matrix) : backend.tensor(matrix);

const putPlaces = (backend: NativeBackend, places: Places): void => {
  for (const { matrix, firstColumn } of places) {
    const [, columns] = rowsOf('a matrix', matrix);
    putRead(backend, matrix).put(columns).put(firstColumn);
  }
};

const putShared = (backend: NativeBackend, places: Places, attrs: Attrs, out: TensorInfo, lse: TensorInfo): void => {
  const { heads, kvHeads, headDim, valueDim = headDim, scale, window, softcap = 0, alibi = 0 } = attrs;
  const [n] = rowsOf('q', places[0].matrix);
  backend
    .put(n)
    .put(heads)
    .put(kvHeads)
    .put(headDim)
    .put(valueDim)
    .put(scale)
    .put(window)
    .put(softcap)
    .put(alibi)
    .put(Number(backend.halves));
  putPlaces(backend, places);
  putRead(backend, out).tensor(lse);
};

const forward = (
  backend: NativeBackend,
  places: Places,
  attrs: Attrs,
  sinks?: TensorInfo,
): [NativeInfo, NativeInfo] => {
  expectVector('sinks', sinks, attrs.heads);
  const [n] = rowsOf('q', places[0].matrix);
  const { heads, headDim, valueDim = headDim } = attrs;
  const out = backend.outputAs(backend.halves, [n, heads * valueDim]);
  const lse = backend.output([n, heads]);
  putShared(backend, places, attrs, out, lse);
  backend.optional(sinks);
  backend.run(backend.op.attention, attrs.cuSeqlens);
  return [out, lse];
};

interface Back {
  readonly out: TensorInfo;
  readonly lse: TensorInfo;
  readonly dOut: TensorInfo;
}

const backward = (
  backend: NativeBackend,
  places: Places,
  gradients: Places,
  { out, lse, dOut }: Back,
  attrs: Attrs,
): void => {
  const [n] = rowsOf('q', places[0].matrix);
  const { heads, headDim, valueDim = headDim } = attrs;
  expectMatrix('out', out, n, heads * valueDim);
  expectMatrix('dOut', dOut, n, heads * valueDim);
  expectMatrix('lse', lse, n, heads);
  putShared(backend, places, attrs, out, lse);
  putRead(backend, dOut);
  putPlaces(backend, gradients);
  backend.run(backend.op.attentionGrad, attrs.cuSeqlens);
};

interface Inputs {
  readonly q: TensorInfo;
  readonly k: TensorInfo;
  readonly v: TensorInfo;
}

const apart = ({ q, k, v }: Inputs, { heads, kvHeads, headDim, valueDim = headDim }: Attrs): Places => {
  const [n] = rowsOf('q', q);
  expectMatrix('q', q, n, heads * headDim);
  expectMatrix('k', k, n, kvHeads * headDim);
  expectMatrix('v', v, n, kvHeads * valueDim);
  return [whole(q), whole(k), whole(v)];
};

export const attention = kernel(
  'RxAttention',
  (backend, { sinks, ...inputs }: Inputs & { sinks?: TensorInfo | undefined }, attrs: Attrs) =>
    forward(backend, apart(inputs, attrs), attrs, sinks),
);

export const attentionGrad = kernel('RxAttentionGrad', (backend, inputs: Inputs & Back, attrs: Attrs) => {
  const places = apart(inputs, attrs);
  const gradients = [inputs.q, inputs.k, inputs.v].map(({ shape }) => backend.outputAs(backend.halves, shape)) as [
    NativeInfo,
    NativeInfo,
    NativeInfo,
  ];
  backward(backend, places, gradients.map(whole) as unknown as Places, inputs, attrs);
  return gradients;
});

export const joinedAttention = kernel('RxJoinedAttention', (backend, { qkv }: { qkv: TensorInfo }, attrs: Attrs) =>
  forward(backend, besideEachOther(qkv, attrs), attrs),
);

export const joinedAttentionGrad = kernel(
  'RxJoinedAttentionGrad',
  (backend, { qkv, ...back }: { qkv: TensorInfo } & Back, attrs: Attrs) => {
    const dQkv = backend.outputAs(backend.halves, qkv.shape);
    backward(backend, besideEachOther(qkv, attrs), besideEachOther(dQkv, attrs), back, attrs);
    return [dQkv];
  },
);
