import type { KernelConfig, KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import { RxSelectiveScan, RxSelectiveScanGrad } from '../../model/kernels/selectiveScan.js';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Inputs {
  readonly x: TensorInfo;
  readonly dt: TensorInfo;
  readonly b: TensorInfo;
  readonly c: TensorInfo;
  readonly aLog: TensorInfo;
  readonly skip: TensorInfo;
}

interface Attrs {
  readonly cuSeqlens: Int32Array;
}

/** Checks and puts what both directions read. */
const putScan = (backend: NativeBackend, { x, dt, b, c, aLog, skip }: Inputs): void => {
  const [n, channels] = rowsOf('x', x);
  const [, stateDim] = rowsOf('aLog', aLog);
  expectMatrix('dt', dt, n, channels);
  expectMatrix('b', b, n, stateDim);
  expectMatrix('c', c, n, stateDim);
  expectMatrix('aLog', aLog, channels, stateDim);
  expectVector('skip', skip, channels);
  backend.put(n).put(channels).put(stateDim);
  backend.value(x).value(dt).value(b).value(c).tensor(aLog).tensor(skip);
};

/** The widest state that a card's kernels take: 128 numbers (native/cuda/kernels/selective_layout.h). Mamba's have 16. */
const mostOnCard = 128;

/** The kernel, or, of states too wide for that of a card, the reference: plain operations there. */
const besideCard = (
  { reference }: { readonly reference: (inputs: never, attrs: never) => ReadonlyArray<TensorInfo> },
  config: KernelConfig,
): KernelConfig => ({
  ...config,
  kernelFunc: ((call: { readonly inputs: Inputs; readonly attrs: Attrs; readonly backend: NativeBackend }) => {
    const [, stateDim] = rowsOf('aLog', call.inputs.aLog);
    if (!call.backend.onCard || stateDim <= mostOnCard) return config.kernelFunc(call as never);
    return [...reference(call.inputs as never, call.attrs as never)];
  }) as unknown as KernelFunc,
});

const scan = kernel(
  'RxSelectiveScan',
  (
    backend,
    { state, ...inputs }: Inputs & { readonly state?: TensorInfo | undefined },
    { cuSeqlens, keepsState }: Attrs & { readonly keepsState: boolean },
  ) => {
    const [channels, stateDim] = rowsOf('aLog', inputs.aLog);
    const rows = (cuSeqlens.length - 1) * channels;
    expectMatrix('state', state, rows, stateDim);
    const y = backend.outputAs(backend.liesHalved(inputs.x), inputs.x.shape);
    const last = keepsState ? backend.output([rows, stateDim]) : undefined;
    putScan(backend, inputs);
    backend.value(y).optional(state).optional(last).run(backend.op.selectiveScan, cuSeqlens);
    return last === undefined ? [y] : [y, last];
  },
);

const scanGrad = kernel(
  'RxSelectiveScanGrad',
  (backend, { dy, ...inputs }: Inputs & { readonly dy: TensorInfo }, { cuSeqlens }: Attrs) => {
    const { x, dt, b, c, aLog, skip } = inputs;
    const [n, channels] = rowsOf('x', x);
    expectMatrix('dy', dy, n, channels);
    const half = backend.liesHalved(dy);
    const dValues = [x, dt, b, c].map(({ shape }) => backend.outputAs(half, shape));
    const dWeights = [aLog, skip].map(({ shape }) => backend.output(shape));
    putScan(backend, inputs);
    backend.value(dy);
    for (const gradient of dValues) backend.value(gradient);
    for (const gradient of dWeights) backend.tensor(gradient);
    backend.run(backend.op.selectiveScanGrad, cuSeqlens);
    return [...dValues, ...dWeights];
  },
);

export const selectiveScan = besideCard(RxSelectiveScan, scan);
export const selectiveScanGrad = besideCard(RxSelectiveScanGrad, scanGrad);
