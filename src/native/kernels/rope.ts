import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectAngles, expectMatrix, kernel, rowsOf } from '../kernel.js';
import type { Angles } from '../kernel.js';

interface Attrs {
  readonly heads: number;
  readonly headDim: number;
  readonly rotaryDim: number;
  readonly inverse: boolean;
  readonly interleaved: boolean;
}

export const rope = kernel(
  'RxRope',
  (
    backend,
    { x, cos, sin }: Angles & { readonly x: TensorInfo },
    { heads, headDim, rotaryDim, inverse, interleaved }: Attrs,
  ) => {
    const [n] = rowsOf('x', x);
    expectMatrix('x', x, n, heads * headDim);
    expectAngles({ cos, sin }, n, rotaryDim);
    const y = backend.outputAs(backend.liesHalved(x), x.shape);
    backend.put(n).put(heads).put(headDim).put(rotaryDim).put(Number(inverse)).put(Number(interleaved));
    backend.value(x).tensor(cos).tensor(sin).value(y).run(backend.op.rope);
    return [y];
  },
);
