import type { TensorInfo } from '@tensorflow/tfjs-core';
import { kernel, sizeOf } from '../kernel.js';

interface Attrs {
  readonly rate: number;
  readonly seed: number;
  readonly offset: number;
}

export const dropout = kernel('RxDropout', (backend, { x }: { x: TensorInfo }, { rate, seed, offset }: Attrs) => {
  const y = backend.outputAs(backend.liesHalved(x), x.shape);
  backend.put(sizeOf(x)).put(rate).put(seed).put(offset).value(x).value(y).run(backend.op.dropout);
  return [y];
});
