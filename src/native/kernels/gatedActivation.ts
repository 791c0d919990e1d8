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
    const y = backend.output(gate.shape);
    backend.put(sizeOf(gate)).put(activationNumber(kind)).tensor(gate).tensor(up).tensor(y);
    backend.run(backend.op.gatedActivation);
    return [y];
  },
);

export const gatedActivationGrad = kernel(
  'RxGatedActivationGrad',
  (backend, { gate, up, dy }: { gate: TensorInfo; up: TensorInfo; dy: TensorInfo }, { kind }: Attrs) => {
    expectSame('up', gate, up);
    expectSame('dy', gate, dy);
    const dGate = backend.output(gate.shape);
    const dUp = backend.output(gate.shape);
    backend.put(sizeOf(gate)).put(activationNumber(kind)).tensor(gate).tensor(up).tensor(dy).tensor(dGate).tensor(dUp);
    backend.run(backend.op.gatedActivationGrad);
    return [dGate, dUp];
  },
);
