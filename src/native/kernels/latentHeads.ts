import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend, NativeInfo } from '../backend.js';
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

const free = (backend: NativeBackend, ...infos: ReadonlyArray<NativeInfo>): void => {
  for (const { dataId } of infos) backend.disposeData(dataId, true);
};

/** Columns of a matrix that is seen as one of `columns` columns. */
interface Columns {
  readonly columns: number;
  readonly first: number;
  readonly width: number;
}

const rowsIn = ({ shape: [n = 0, width = 0] }: TensorInfo, { columns }: Columns): number => (n * width) / columns;

/** A copy of them. */
const taken = (backend: NativeBackend, x: TensorInfo, from: Columns): NativeInfo => {
  const rows = rowsIn(x, from);
  const part = backend.output([rows, from.width]);
  backend.put(rows).put(from.width).tensor(x).put(from.columns).put(from.first).tensor(part).put(from.width).put(0);
  backend.run(backend.op.copyColumns);
  return part;
};

/** The part becomes those columns; consumes it. */
const placed = (backend: NativeBackend, part: NativeInfo, whole: TensorInfo, to: Columns): void => {
  const rows = rowsIn(whole, to);
  backend.put(rows).put(to.width).tensor(part).put(to.width).put(0).tensor(whole).put(to.columns).put(to.first);
  backend.run(backend.op.copyColumns);
  free(backend, part);
};

/** Heads of nothing but what turns, turned; consumes them. */
const turned = (
  backend: NativeBackend,
  part: NativeInfo,
  { cos, sin }: Angles,
  { ropeDim, interleaved }: Attrs,
  inverse: boolean,
): NativeInfo => {
  const [n] = rowsOf('cos', cos);
  const [rows] = rowsOf('heads', part);
  const y = backend.output(part.shape);
  backend
    .put(n)
    .put(n === 0 ? 1 : rows / n)
    .put(ropeDim)
    .put(ropeDim)
    .put(Number(inverse))
    .put(Number(interleaved));
  backend.value(part).tensor(cos).tensor(sin).value(y).run(backend.op.rope);
  free(backend, part);
  return y;
};

/** Queries, or their gradient, turned or turned back. */
const queriesOnCard = (
  backend: NativeBackend,
  q: TensorInfo,
  angles: Angles,
  attrs: Attrs,
  inverse: boolean,
): NativeInfo => {
  const { nopeDim, ropeDim } = attrs;
  const columns = nopeDim + ropeDim;
  const y = backend.output(q.shape);
  const [stays, turns] = [
    { columns, first: 0, width: nopeDim },
    { columns, first: nopeDim, width: ropeDim },
  ];
  placed(backend, taken(backend, q, stays), y, stays);
  placed(backend, turned(backend, taken(backend, q, turns), angles, attrs, inverse), y, turns);
  return y;
};

/** On a card there is no kernel of its own: copies of columns, and rotations. */
const onCard = (backend: NativeBackend, { q, kv, shared, cos, sin }: Inputs, attrs: Attrs, n: number): TensorInfo[] => {
  const { heads, nopeDim, ropeDim, valueDim } = attrs;
  const [width, both] = [nopeDim + ropeDim, nopeDim + valueDim];
  const k = backend.output([n, heads * width]);
  const stays = taken(backend, kv, { columns: both, first: 0, width: nopeDim });
  placed(backend, stays, k, { columns: width, first: 0, width: nopeDim });
  const whole = taken(backend, shared, { columns: ropeDim, first: 0, width: ropeDim });
  const key = turned(backend, whole, { cos, sin }, attrs, false);
  for (let head = 0; head < heads; head++) {
    const copy = taken(backend, key, { columns: ropeDim, first: 0, width: ropeDim });
    placed(backend, copy, k, { columns: heads * width, first: head * width + nopeDim, width: ropeDim });
  }
  free(backend, key);
  const v = taken(backend, kv, { columns: both, first: nopeDim, width: valueDim });
  return [queriesOnCard(backend, q, { cos, sin }, attrs, false), k, { ...v, shape: [n, heads * valueDim] }];
};

const gradOnCard = (
  backend: NativeBackend,
  { dq, dk, dv, cos, sin }: GradInputs,
  attrs: Attrs,
  n: number,
): TensorInfo[] => {
  const { heads, nopeDim, ropeDim, valueDim } = attrs;
  const [width, both] = [nopeDim + ropeDim, nopeDim + valueDim];
  const dKv = backend.output([n, heads * both]);
  const stays = taken(backend, dk, { columns: width, first: 0, width: nopeDim });
  placed(backend, stays, dKv, { columns: both, first: 0, width: nopeDim });
  const values = taken(backend, dv, { columns: valueDim, first: 0, width: valueDim });
  placed(backend, values, dKv, { columns: both, first: nopeDim, width: valueDim });
  const ofHead = (head: number): NativeInfo =>
    taken(backend, dk, { columns: heads * width, first: head * width + nopeDim, width: ropeDim });
  let sum = ofHead(0);
  for (let head = 1; head < heads; head++) {
    const [before, more, next] = [sum, ofHead(head), backend.output([n, ropeDim])];
    backend
      .put(n * ropeDim)
      .value(before)
      .value(more)
      .value(next)
      .run(backend.op.add);
    free(backend, before, more);
    sum = next;
  }
  const dShared = turned(backend, sum, { cos, sin }, attrs, true);
  return [queriesOnCard(backend, dq, { cos, sin }, attrs, true), dKv, dShared];
};

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
  if (backend.onCard) return onCard(backend, inputs, attrs, n);
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
  if (backend.onCard) return gradOnCard(backend, inputs, attrs, n);
  const half = backend.liesHalved(dk);
  const dQueries = backend.outputAs(backend.liesHalved(dq), dq.shape);
  const dKv = backend.outputAs(half, [n, heads * (nopeDim + valueDim)]);
  const dShared = backend.outputAs(half, [n, ropeDim]);
  putShape(backend, n, attrs).value(dq).value(dk).value(dv).tensor(cos).tensor(sin);
  backend.value(dQueries).value(dKv).value(dShared).run(backend.op.latentHeadsGrad);
  return [dQueries, dKv, dShared];
});
