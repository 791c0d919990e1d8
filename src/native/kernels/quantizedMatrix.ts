import type { QuantizedLayout } from '../../model/kernels/quantizedMatrix.js';
import { kernel } from '../kernel.js';

export const quantizedMatrix = kernel('RxQuantizedMatrix', (backend, _inputs: object, layout: QuantizedLayout) => [
  backend.storage.quantized(layout),
]);
