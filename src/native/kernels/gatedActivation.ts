import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectSame, kernel, sizeOf } from '../kernel.js';
import { activationNumber } from './activation.js';

interface Attrs {
  readonly kind: string;
}

export const gatedActivation = kernel(
  'RxGatedActivation',
  (backend, { gate, up }: { gate: TensorInfo; up: TensorInfo }, { kind }: Attrs) => {
    expectSame('up', gate, up);
    const half = backend.liesHalved(gate) && backend.liesHalved(up);
    const y = backend.outputAs(half, gate.shape);
    backend.put(sizeOf(gate)).put(activationNumber(kind)).value(gate).value(up).value(y);
    backend.run(backend.op.gatedActivation);
    // A card computes it in the time that it takes to read and write it; a processor does not.
    if (half && backend.onCard) backend.keeping.madeOf(y, activationNumber(kind), gate, up);
    return [y];
  },
);

export const gatedActivationGrad = kernel(
  'RxGatedActivationGrad',
  (backend, { gate, up, dy }: { gate: TensorInfo; up: TensorInfo; dy: TensorInfo }, { kind }: Attrs) => {
    expectSame('up', gate, up);
    expectSame('dy', gate, dy);
    const half = backend.liesHalved(dy);
    const dGate = backend.outputAs(half, gate.shape);
    const dUp = backend.outputAs(half, gate.shape);
    backend.put(sizeOf(gate)).put(activationNumber(kind)).value(gate).value(up).value(dy).value(dGate).value(dUp);
    backend.run(backend.op.gatedActivationGrad);
    return [dGate, dUp];
  },
);
