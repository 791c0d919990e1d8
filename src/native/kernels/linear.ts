import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Layout {
  readonly transposed: boolean;
  readonly flows?: boolean;
}

export const linear = kernel(
  'RxLinear',
  (
    backend,
    { x, w, bias }: { x: TensorInfo; w: TensorInfo; bias?: TensorInfo | undefined },
    { transposed, flows }: Layout,
  ) => {
    const [n, inner] = rowsOf('x', x);
    const [first, second] = rowsOf('w', w);
    const outer = transposed ? second : first;
    expectMatrix('w', w, transposed ? inner : outer, transposed ? outer : inner);
    expectVector('bias', bias, outer);
    const y = backend.outputAs(flows === true && backend.halves, [n, outer]);
    backend.put(n).put(inner).put(outer).put(Number(transposed)).value(x).matrix(w).optional(bias).value(y);
    backend.run(backend.op.linear);
    return [y];
  },
);

export const linearGradInput = kernel(
  'RxLinearGradInput',
  (
    backend,
    { dy, w, accumulate }: { dy: TensorInfo; w: TensorInfo; accumulate?: TensorInfo | undefined },
    { transposed, flows }: Layout,
  ) => {
    const [n, outer] = rowsOf('dy', dy);
    const [first, second] = rowsOf('w', w);
    const inner = transposed ? first : second;
    expectMatrix('w', w, transposed ? inner : outer, transposed ? outer : inner);
    expectMatrix('accumulate', accumulate, n, inner);
    // What it is added to lies in the same way.
    const half = accumulate === undefined ? flows === true && backend.halves : backend.liesHalved(accumulate);
    const dx = backend.outputAs(half, [n, inner]);
    backend.put(n).put(inner).put(outer).put(Number(transposed));
    backend.value(dy).matrix(w).optionalValue(accumulate).value(dx);
    backend.run(backend.op.linearGradInput);
    return [dx];
  },
);

export const linearGradWeight = kernel(
  'RxLinearGradWeight',
  (backend, { x, dy }: { x: TensorInfo; dy: TensorInfo }, { transposed }: Layout) => {
    const [n, inner] = rowsOf('x', x);
    const [, outer] = rowsOf('dy', dy);
    expectMatrix('dy', dy, n, outer);
    const dw = backend.output(transposed ? [inner, outer] : [outer, inner]);
    backend.put(n).put(inner).put(outer).put(Number(transposed)).matrix(x).value(dy).tensor(dw).put(0);
    backend.run(backend.op.linearGradWeight);
    return [dw];
  },
);

export const columnSum = kernel('RxColumnSum', (backend, { dy }: { dy: TensorInfo }, _attrs: object) => {
  const [n, columns] = rowsOf('dy', dy);
  const sum = backend.output([columns]);
  backend.put(n).put(columns).value(dy).tensor(sum).run(backend.op.columnSum);
  return [sum];
});
