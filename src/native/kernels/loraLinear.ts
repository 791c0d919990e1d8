import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Layout {
  readonly transposed: boolean;
  readonly scaling: number;
  readonly flows?: boolean;
}

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
  const u = backend.output([n, rank]);
  backend.put(n).put(inner).put(outer).put(rank).put(Number(transposed)).put(scaling);
  backend.value(x).matrix(w).optional(bias).tensor(a).tensor(b).optionalValue(xDropped).value(y).tensor(u);
  backend.run(backend.op.loraLinear);
  return [y, u];
});

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
  backend.put(n).put(inner).put(outer).put(rank).put(Number(transposed)).put(scaling);
  backend.value(dy).matrix(x).matrix(w).tensor(a).tensor(b).tensor(u);
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
