import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectSame, kernel, sizeOf } from '../kernel.js';

interface Attrs {
  readonly limit: number;
}

export const clampedGate = kernel(
  'RxClampedGate',
  (backend, { gate, up }: { gate: TensorInfo; up: TensorInfo }, { limit }: Attrs) => {
    expectSame('up', gate, up);
    const y = backend.outputAs(backend.liesHalved(gate) && backend.liesHalved(up), gate.shape);
    backend.put(sizeOf(gate)).put(limit).value(gate).value(up).value(y);
    backend.run(backend.op.clampedGate);
    return [y];
  },
);

export const clampedGateGrad = kernel(
  'RxClampedGateGrad',
  (backend, { gate, up, dy }: { gate: TensorInfo; up: TensorInfo; dy: TensorInfo }, { limit }: Attrs) => {
    expectSame('up', gate, up);
    expectSame('dy', gate, dy);
    const half = backend.liesHalved(dy);
    const dGate = backend.outputAs(half, gate.shape);
    const dUp = backend.outputAs(half, gate.shape);
    backend.put(sizeOf(gate)).put(limit).value(gate).value(up).value(dy).value(dGate).value(dUp);
    backend.run(backend.op.clampedGateGrad);
    return [dGate, dUp];
  },
);
