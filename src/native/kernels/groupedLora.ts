import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, expectVector, kernel, rowsOf, sizeOf } from '../kernel.js';
import { putSizes, total } from './groupedLinear.js';
import type { Attrs } from './groupedLinear.js';

/** Part i of `count` equal ones. */
const partOf = (tensors: ReadonlyArray<TensorInfo>, count: number, i: number): ReadonlyArray<TensorInfo> => {
  const each = tensors.length / count;
  return tensors.slice(i * each, (i + 1) * each);
};

const matrixAt = (what: string, tensors: ReadonlyArray<TensorInfo>, g: number): TensorInfo => {
  const tensor = tensors[g];
  if (tensor === undefined) throw new Error(`${what} of group ${g} is missing`);
  return tensor;
};

/** Of each map the matrices a, one a group, which are of one rank. */
const mapsOf = (
  as: ReadonlyArray<TensorInfo>,
  count: number,
  inner: number,
): ReadonlyArray<{ readonly rank: number; readonly own: ReadonlyArray<TensorInfo> }> =>
  Array.from({ length: count }, (_, m) => {
    const own = partOf(as, count, m);
    const [rank] = rowsOf('a', matrixAt('a', own, 0));
    for (const a of own) expectMatrix('a', a, rank, inner);
    return { rank, own };
  });

const ranksOf = (maps: ReadonlyArray<{ readonly rank: number }>): number => total(maps.map(({ rank }) => rank));

/** The next arguments are each map's rank. */
const putRanks = (backend: NativeBackend, ranks: ReadonlyArray<number>): NativeBackend => {
  backend.put(ranks.length);
  for (const rank of ranks) backend.put(rank);
  return backend;
};

/** x, then a of each group of each map. */
export const groupedLoraDown = kernel(
  'RxGroupedLoraDown',
  (
    backend,
    [x, ...as]: readonly [TensorInfo, ...TensorInfo[]],
    { sizes, maps: count }: Attrs & { readonly maps: number },
  ) => {
    const [n, inner] = rowsOf('x', x);
    expectMatrix('x', x, total(sizes), inner);
    const maps = mapsOf(as, count, inner);
    const u = backend.output([n, ranksOf(maps)]);
    putRanks(
      putSizes(backend, sizes, inner, ranksOf(maps)),
      maps.map(({ rank }) => rank),
    );
    backend.value(x).tensor(u);
    sizes.forEach((size, g) => {
      backend.put(size);
      for (const { own } of maps) backend.tensor(matrixAt('a', own, g));
    });
    backend.run(backend.op.groupedLoraDown);
    return [u];
  },
);

/** x and u, then w of each group, b of each, and the bias of each or none. */
export const groupedLoraUp = kernel(
  'RxGroupedLoraUp',
  (
    backend,
    [x, u, ...parts]: readonly [TensorInfo, TensorInfo, ...TensorInfo[]],
    { sizes, scaling, first, flows }: Attrs & { readonly scaling: number; readonly first: number },
  ) => {
    const count = sizes.length;
    const [n, inner] = rowsOf('x', x);
    expectMatrix('x', x, total(sizes), inner);
    const [, ranks] = rowsOf('u', u);
    expectMatrix('u', u, n, ranks);
    const [ws, bs, biases] = [parts.slice(0, count), parts.slice(count, 2 * count), parts.slice(2 * count)];
    const [outer, rank] = rowsOf('b', matrixAt('b', bs, 0));
    const y = backend.outputAs(flows === true && backend.halves, [n, outer]);
    putSizes(backend, sizes, inner, outer).put(ranks).put(first).put(rank).put(scaling).value(x).tensor(u).value(y);
    ws.forEach((w, g) => {
      expectMatrix('w', w, outer, inner);
      expectMatrix('b', matrixAt('b', bs, g), outer, rank);
      if (biases[g] !== undefined) expectVector('bias', biases[g], outer);
      backend
        .put(sizes[g] ?? 0)
        .matrix(w)
        .optional(biases[g])
        .tensor(matrixAt('b', bs, g));
    });
    backend.run(backend.op.groupedLoraUp);
    return [y];
  },
);

/** u, then of each map dy and b of each group. */
export const groupedLoraUpGrad = kernel(
  'RxGroupedLoraUpGrad',
  (
    backend,
    [u, ...parts]: readonly [TensorInfo, ...TensorInfo[]],
    { sizes, scaling }: Attrs & { readonly scaling: ReadonlyArray<number> },
  ) => {
    const [n, ranks] = rowsOf('u', u);
    expectMatrix('u', u, total(sizes), ranks);
    const du = backend.output([n, ranks]);
    const maps = scaling.map((factor, m) => {
      const [dy, ...bs] = partOf(parts, scaling.length, m);
      const [outer, rank] = rowsOf('b', matrixAt('b', bs, 0));
      expectMatrix('dy', dy, n, outer);
      for (const b of bs) expectMatrix('b', b, outer, rank);
      return { dy: matrixAt('dy', dy === undefined ? [] : [dy], 0), bs, outer, rank, factor };
    });
    const dBs = maps.map(({ outer, rank }) => sizes.map(() => backend.output([outer, rank])));
    putSizes(backend, sizes, 0, ranks).tensor(u).tensor(du).put(maps.length);
    let first = 0;
    maps.forEach(({ dy, bs, outer, rank, factor }, m) => {
      backend.put(outer).put(rank).put(factor).put(first).value(dy);
      first += rank;
      sizes.forEach((size, g) =>
        backend
          .put(size)
          .tensor(matrixAt('b', bs, g))
          .tensor(matrixAt('dB', dBs[m] ?? [], g)),
      );
    });
    backend.run(backend.op.groupedLoraUpGrad);
    return [du, ...dBs.flat()];
  },
);

export const groupedLoraDownGrad = kernel(
  'RxGroupedLoraDownGrad',
  (
    backend,
    { x, du }: { x: TensorInfo; du: TensorInfo },
    { sizes, ranks }: Attrs & { readonly ranks: ReadonlyArray<number> },
  ) => {
    const [, inner] = rowsOf('x', x);
    expectMatrix('x', x, total(sizes), inner);
    expectMatrix('du', du, total(sizes), total(ranks));
    const dAs = ranks.map((rank) => sizes.map(() => backend.output([rank, inner])));
    putRanks(putSizes(backend, sizes, inner, total(ranks)), ranks)
      .matrix(x)
      .tensor(du);
    sizes.forEach((size, g) => {
      backend.put(size);
      for (const own of dAs) backend.tensor(matrixAt('dA', own, g));
    });
    backend.run(backend.op.groupedLoraDownGrad);
    return dAs.flat();
  },
);

/** dy and du, then w of each group, a of each group of each map, and what is added to dx or nothing. */
export const groupedLoraGradInput = kernel(
  'RxGroupedLoraGradInput',
  (
    backend,
    [dy, du, ...parts]: readonly [TensorInfo, TensorInfo, ...TensorInfo[]],
    { sizes, maps: count, flows }: Attrs & { readonly maps: number },
  ) => {
    const groups = sizes.length;
    const [n, outer] = rowsOf('dy', dy);
    expectMatrix('dy', dy, total(sizes), outer);
    const [ws, accumulate] = [parts.slice(0, groups), parts[groups * (1 + count)]];
    const [, inner] = rowsOf('w', matrixAt('w', ws, 0));
    const maps = mapsOf(parts.slice(groups, groups * (1 + count)), count, inner);
    expectMatrix('du', du, n, ranksOf(maps));
    expectMatrix('accumulate', accumulate, n, inner);
    // What it is added to lies in the same way.
    const half = accumulate === undefined ? flows === true && backend.halves : backend.liesHalved(accumulate);
    const dx = backend.outputAs(half, [n, inner]);
    putRanks(
      putSizes(backend, sizes, inner, outer),
      maps.map(({ rank }) => rank),
    );
    backend.value(dy).tensor(du).optionalValue(accumulate).value(dx);
    sizes.forEach((size, g) => {
      const w = matrixAt('w', ws, g);
      expectMatrix('w', w, outer, inner);
      backend.put(size).matrix(w);
      for (const { own } of maps) backend.tensor(matrixAt('a', own, g));
    });
    backend.run(backend.op.groupedLoraGradInput);
    return [dx];
  },
);

export const groupedDropout = kernel(
  'RxGroupedDropout',
  (
    backend,
    { x }: { x: TensorInfo },
    { sizes, rate, seeds }: Attrs & { readonly rate: number; readonly seeds: ReadonlyArray<number> },
  ) => {
    const [, columns] = rowsOf('x', x);
    expectMatrix('x', x, total(sizes), columns);
    const y = backend.outputAs(backend.liesHalved(x), x.shape);
    backend.put(sizes.length).put(sizeOf(x)).put(rate).value(x).value(y);
    sizes.forEach((size, g) => backend.put(size * columns).put(seeds[g] ?? 0));
    backend.run(backend.op.groupedDropout);
    return [y];
  },
);
