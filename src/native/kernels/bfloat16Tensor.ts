import type { Bfloat16Layout } from '../../model/kernels/bfloat16Tensor.js';
import { kernel } from '../kernel.js';

export const bfloat16Tensor = kernel('RxBfloat16Tensor', (backend, _inputs: object, layout: Bfloat16Layout) => [
  backend.storage.bfloat16(layout),
]);
