import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Inputs {
  readonly xbc: TensorInfo;
  readonly dt: TensorInfo;
  readonly aLog: TensorInfo;
  readonly skip: TensorInfo;
  readonly dtBias: TensorInfo;
}

interface Attrs {
  readonly cuSeqlens: Int32Array;
  readonly heads: number;
  readonly headDim: number;
  readonly groups: number;
  readonly stateDim: number;
  readonly least: number;
  readonly most: number;
}

/** Checks and puts what both directions read. */
const putScan = (
  backend: NativeBackend,
  { xbc, dt, aLog, skip, dtBias }: Inputs,
  { heads, headDim, groups, stateDim, least, most }: Attrs,
): void => {
  const [n] = rowsOf('xbc', xbc);
  expectMatrix('xbc', xbc, n, heads * headDim + 2 * groups * stateDim);
  expectMatrix('dt', dt, n, heads);
  expectVector('aLog', aLog, heads);
  expectVector('skip', skip, heads);
  expectVector('dtBias', dtBias, heads);
  backend.put(n).put(heads).put(headDim).put(groups).put(stateDim).put(least).put(most);
  backend.value(xbc).value(dt).tensor(aLog).tensor(skip).tensor(dtBias);
};

export const stateSpaceScan = kernel(
  'RxStateSpaceScan',
  (
    backend,
    { state, ...inputs }: Inputs & { readonly state?: TensorInfo | undefined },
    { keepsState, ...attrs }: Attrs & { readonly keepsState: boolean },
  ) => {
    const { cuSeqlens, heads, headDim, stateDim } = attrs;
    const [n] = rowsOf('xbc', inputs.xbc);
    const rows = (cuSeqlens.length - 1) * heads * stateDim;
    expectMatrix('state', state, rows, headDim);
    const y = backend.outputAs(backend.liesHalved(inputs.xbc), [n, heads * headDim]);
    const last = keepsState ? backend.output([rows, headDim]) : undefined;
    putScan(backend, inputs, attrs);
    backend.value(y).optional(state).optional(last).run(backend.op.stateSpaceScan, cuSeqlens);
    return last === undefined ? [y] : [y, last];
  },
);

export const stateSpaceScanGrad = kernel(
  'RxStateSpaceScanGrad',
  (backend, { dy, ...inputs }: Inputs & { readonly dy: TensorInfo }, attrs: Attrs) => {
    const { cuSeqlens, heads, headDim } = attrs;
    const [n, width] = rowsOf('xbc', inputs.xbc);
    expectMatrix('dy', dy, n, heads * headDim);
    const half = backend.liesHalved(dy);
    const dXbc = backend.outputAs(half, [n, width]);
    const dDt = backend.outputAs(half, [n, heads]);
    const sums = [backend.output([heads]), backend.output([heads]), backend.output([heads])] as const;
    putScan(backend, inputs, attrs);
    backend.value(dy).value(dXbc).value(dDt);
    for (const sum of sums) backend.tensor(sum);
    backend.run(backend.op.stateSpaceScanGrad, cuSeqlens);
    return [dXbc, dDt, ...sums];
  },
);
