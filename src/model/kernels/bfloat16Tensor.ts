import type { Tensor } from '@tensorflow/tfjs-core';
import { bfloat16ToFloat32 } from '../../formats/tensors/float16.js';
import { tensor } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

/** Row-major numbers of a tensor, each the upper half of a float32. */
export interface Bfloat16Layout {
  readonly bits: Uint16Array;
  readonly shape: ReadonlyArray<number>;
}

export const RxBfloat16Tensor = namedOp(
  'RxBfloat16Tensor',
  (_inputs: object, { bits, shape }: Bfloat16Layout): readonly [Tensor] => [
    tensor(bfloat16ToFloat32(bits), [...shape], 'float32'),
  ],
);

/** The numbers as a float32 tensor; an engine that can keeps them as they lie, as `hold` would. The bits are copied. */
export const bfloat16Tensor = (layout: Bfloat16Layout): Tensor => RxBfloat16Tensor.run({}, layout)[0];
