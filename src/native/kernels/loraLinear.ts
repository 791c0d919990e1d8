import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Layout {
  readonly transposed: boolean;
  readonly scaling: number;
  readonly flows?: boolean;
}

/**
 * Whether what adapters of these ranks make of rows lies as bfloat16: on a card, where only products read it that would round it, and rows
 * of it are whole vectors.
 */
const halvedRows = (backend: NativeBackend, ranks: ReadonlyArray<number>): boolean =>
  backend.onCard && backend.halves && ranks.every((rank) => rank % 8 === 0);

interface Inputs {
  readonly x: TensorInfo;
  readonly w: TensorInfo;
  readonly bias?: TensorInfo | undefined;
  readonly a: TensorInfo;
  readonly b: TensorInfo;
  readonly xDropped?: TensorInfo | undefined;
}

export const loraLinear = kernel('RxLoraLinear', (backend, inputs: Inputs, { transposed, scaling, flows }: Layout) => {
  const { x, w, bias, a, b, xDropped } = inputs;
  const [n, inner] = rowsOf('x', x);
  const [outer, rank] = rowsOf('b', b);
  expectMatrix('w', w, transposed ? inner : outer, transposed ? outer : inner);
  expectMatrix('a', a, rank, inner);
  expectMatrix('xDropped', xDropped, n, inner);
  expectVector('bias', bias, outer);
  const y = backend.outputAs(flows === true && backend.halves, [n, outer]);
  const u = backend.outputAs(halvedRows(backend, [rank]), [n, rank]);
  backend.round(a);
  backend.round(b);
  backend.put(n).put(inner).put(outer).put(rank).put(Number(transposed)).put(scaling);
  backend.value(x).matrix(w).optional(bias).weights(a).weights(b).optionalValue(xDropped).value(y);
  backend.value(u).put(rank).put(0).run(backend.op.loraLinear);
  return [y, u];
});

interface UpInputs {
  readonly x: TensorInfo;
  readonly w: TensorInfo;
  readonly bias?: TensorInfo | undefined;
  readonly u: TensorInfo;
  readonly b: TensorInfo;
}

export const loraUp = kernel(
  'RxLoraUp',
  (backend, { x, w, bias, u, b }: UpInputs, { transposed, scaling, first, flows }: Layout & { first: number }) => {
    const [n, inner] = rowsOf('x', x);
    const [outer, rank] = rowsOf('b', b);
    const [, ranks] = rowsOf('u', u);
    expectMatrix('u', u, n, ranks);
    expectMatrix('w', w, transposed ? inner : outer, transposed ? outer : inner);
    expectVector('bias', bias, outer);
    const y = backend.outputAs(flows === true && backend.halves, [n, outer]);
    backend.round(b);
    backend.put(n).put(inner).put(outer).put(rank).put(Number(transposed)).put(scaling);
    backend.value(x).matrix(w).optional(bias).put(0).put(0).put(0).weights(b).optionalValue(undefined).value(y);
    backend.value(u).put(ranks).put(first).run(backend.op.loraLinear);
    return [y];
  },
);

/** u, then dy and b of each adapter. */
export const loraUpGrad = kernel(
  'RxLoraUpGrad',
  (backend, [u, ...pairs]: readonly [TensorInfo, ...TensorInfo[]], { scaling }: { scaling: ReadonlyArray<number> }) => {
    const [n, ranks] = rowsOf('u', u);
    const du = backend.outputAs(backend.liesHalved(u), [n, ranks]);
    const adapters = scaling.map((factor, i) => {
      const [dy, b] = pairs.slice(2 * i) as [TensorInfo, TensorInfo];
      const [outer, rank] = rowsOf('b', b);
      expectMatrix('dy', dy, n, outer);
      return { dy, b, outer, rank, factor, dB: backend.output([outer, rank]) };
    });
    backend.put(n).put(ranks).put(adapters.length).value(u).value(du);
    let first = 0;
    for (const { dy, b, outer, rank, factor, dB } of adapters) {
      backend.put(outer).put(rank).put(factor).put(first).value(dy).tensor(b).tensor(dB);
      first += rank;
    }
    backend.run(backend.op.loraUpGrad);
    return [du, ...adapters.map(({ dB }) => dB)];
  },
);

interface GradInputs {
  readonly dy: TensorInfo;
  readonly x: TensorInfo;
  readonly w: TensorInfo;
  readonly a: TensorInfo;
  readonly b: TensorInfo;
  readonly u: TensorInfo;
  readonly accumulate?: TensorInfo;
}

interface GradAttrs extends Layout {
  readonly needInput: boolean;
  readonly dropped: boolean;
}

export const loraLinearGrad = kernel('RxLoraLinearGrad', (backend, inputs: GradInputs, attrs: GradAttrs) => {
  const { dy, x, w, a, b, u, accumulate } = inputs;
  const { transposed, scaling, needInput, dropped, flows } = attrs;
  const half = flows === true && backend.halves;
  const [n, inner] = rowsOf('x', x);
  const [outer, rank] = rowsOf('b', b);
  expectMatrix('dy', dy, n, outer);
  expectMatrix('w', w, transposed ? inner : outer, transposed ? outer : inner);
  expectMatrix('a', a, rank, inner);
  expectMatrix('u', u, n, rank);
  expectMatrix('accumulate', accumulate, n, inner);
  // What it is added to lies in the same way.
  const dxHalf = accumulate === undefined ? half : backend.liesHalved(accumulate);
  const dx = needInput ? backend.outputAs(dxHalf, [n, inner]) : undefined;
  const dA = backend.output([rank, inner]);
  const dB = backend.output([outer, rank]);
  const dxDropped = needInput && dropped ? backend.outputAs(half, [n, inner]) : undefined;
  backend.round(a);
  backend.put(n).put(inner).put(outer).put(rank).put(Number(transposed)).put(scaling);
  backend.value(dy).matrix(x).matrix(w).weights(a).tensor(b).value(u);
  backend
    .optionalValue(needInput ? accumulate : undefined)
    .optionalValue(dx)
    .tensor(dA)
    .tensor(dB)
    .optionalValue(dxDropped);
  backend.run(backend.op.loraLinearGrad);
  if (dx === undefined) return [dA, dB];
  return dxDropped === undefined ? [dx, dA, dB] : [dx, dA, dB, dxDropped];
});

const ranksOf = (as: ReadonlyArray<TensorInfo>, inner: number): ReadonlyArray<number> =>
  as.map((a) => {
    const [rank] = rowsOf('a', a);
    expectMatrix('a', a, rank, inner);
    return rank;
  });
const total = (ranks: ReadonlyArray<number>): number => ranks.reduce((sum, rank) => sum + rank, 0);

/** x, then a of each adapter. */
export const loraDown = kernel(
  'RxLoraDown',
  (backend, [x, ...as]: readonly [TensorInfo, ...TensorInfo[]], _attrs: object) => {
    const [n, inner] = rowsOf('x', x);
    const ranks = ranksOf(as, inner);
    const u = backend.outputAs(halvedRows(backend, ranks), [n, total(ranks)]);
    backend.round(...as);
    backend.put(n).put(inner).put(total(ranks)).put(as.length).value(x).value(u);
    as.forEach((a, i) => backend.put(ranks[i] ?? 0).weights(a));
    backend.run(backend.op.loraDown);
    return [u];
  },
);

/** x and du, then a of each adapter. */
export const loraDownGrad = kernel(
  'RxLoraDownGrad',
  (
    backend,
    [x, du, ...as]: readonly [TensorInfo, TensorInfo, ...TensorInfo[]],
    { needInput, flows }: { needInput: boolean; flows?: boolean },
  ) => {
    const [n, inner] = rowsOf('x', x);
    const ranks = ranksOf(as, inner);
    expectMatrix('du', du, n, total(ranks));
    const dx = needInput ? backend.outputAs(flows === true && backend.halves, [n, inner]) : undefined;
    const dAs = ranks.map((rank) => backend.output([rank, inner]));
    backend.round(...as);
    backend.put(n).put(inner).put(total(ranks)).put(as.length).matrix(x).value(du).optionalValue(dx);
    as.forEach((a, i) =>
      backend
        .put(ranks[i] ?? 0)
        .weights(a)
        .tensor(dAs[i] ?? du),
    );
    backend.run(backend.op.loraDownGrad);
    return dx === undefined ? dAs : [dx, ...dAs];
  },
);
