import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

export interface Attrs {
  /** Rows of each group, in order. */
  readonly sizes: ReadonlyArray<number>;
  readonly flows?: boolean;
}

export const total = (sizes: ReadonlyArray<number>): number => sizes.reduce((sum, size) => sum + size, 0);

/** The next arguments are the number of groups, rows in all, width of a row of x and of one of y. */
export const putSizes = (
  backend: NativeBackend,
  sizes: ReadonlyArray<number>,
  inner: number,
  outer: number,
): NativeBackend => backend.put(sizes.length).put(total(sizes)).put(inner).put(outer);

/** x, then the weight of each group, then the bias of each or none. */
export const groupedLinear = kernel(
  'RxGroupedLinear',
  (backend, [x, ...parts]: readonly [TensorInfo, ...TensorInfo[]], { sizes, flows }: Attrs) => {
    const [n, inner] = rowsOf('x', x);
    expectMatrix('x', x, total(sizes), inner);
    const [ws, biases] = [parts.slice(0, sizes.length), parts.slice(sizes.length)];
    const outer = ws[0] === undefined ? 0 : rowsOf('w', ws[0])[0];
    const y = backend.outputAs(flows === true && backend.halves, [n, outer]);
    putSizes(backend, sizes, inner, outer).value(x).value(y);
    ws.forEach((w, g) => {
      expectMatrix('w', w, outer, inner);
      if (biases[g] !== undefined) expectVector('bias', biases[g], outer);
      backend
        .put(sizes[g] ?? 0)
        .matrix(w)
        .optional(biases[g]);
    });
    backend.run(backend.op.groupedLinear);
    return [y];
  },
);

/** dy, then the weight of each group, then what is added to dx or nothing. */
export const groupedLinearGradInput = kernel(
  'RxGroupedLinearGradInput',
  (backend, [dy, ...parts]: readonly [TensorInfo, ...TensorInfo[]], { sizes, flows }: Attrs) => {
    const [n, outer] = rowsOf('dy', dy);
    expectMatrix('dy', dy, total(sizes), outer);
    const [ws, accumulate] = [parts.slice(0, sizes.length), parts[sizes.length]];
    const inner = ws[0] === undefined ? 0 : rowsOf('w', ws[0])[1];
    expectMatrix('accumulate', accumulate, n, inner);
    // What it is added to lies in the same way.
    const half = accumulate === undefined ? flows === true && backend.halves : backend.liesHalved(accumulate);
    const dx = backend.outputAs(half, [n, inner]);
    putSizes(backend, sizes, inner, outer).value(dy).optionalValue(accumulate).value(dx);
    ws.forEach((w, g) => {
      expectMatrix('w', w, outer, inner);
      backend.put(sizes[g] ?? 0).matrix(w);
    });
    backend.run(backend.op.groupedLinearGradInput);
    return [dx];
  },
);

export const groupedLinearGradWeight = kernel(
  'RxGroupedLinearGradWeight',
  (backend, { x, dy }: { x: TensorInfo; dy: TensorInfo }, { sizes }: Attrs) => {
    const [, inner] = rowsOf('x', x);
    const [, outer] = rowsOf('dy', dy);
    expectMatrix('x', x, total(sizes), inner);
    expectMatrix('dy', dy, total(sizes), outer);
    const dWs = sizes.map(() => backend.output([outer, inner]));
    putSizes(backend, sizes, inner, outer).matrix(x).value(dy);
    dWs.forEach((dW, g) => backend.put(sizes[g] ?? 0).tensor(dW));
    backend.run(backend.op.groupedLinearGradWeight);
    return dWs;
  },
);

export const groupedColumnSum = kernel(
  'RxGroupedColumnSum',
  (backend, { dy }: { dy: TensorInfo }, { sizes }: Attrs) => {
    const [, columns] = rowsOf('dy', dy);
    expectMatrix('dy', dy, total(sizes), columns);
    const sums = sizes.map(() => backend.output([columns]));
    putSizes(backend, sizes, 0, columns).value(dy);
    sums.forEach((sum, g) => backend.put(sizes[g] ?? 0).tensor(sum));
    backend.run(backend.op.groupedColumnSum);
    return sums;
  },
);
