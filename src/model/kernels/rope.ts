import type { Tensor } from '@tensorflow/tfjs-core';
import { add, concat, expandDims, mul, reshape, slice, sub } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export interface RopeInputs {
  /** [N, heads · headDim] */
  readonly x: Tensor;
  /** [N, rotaryDim / 2] */
  readonly cos: Tensor;
  /** [N, rotaryDim / 2] */
  readonly sin: Tensor;
}

export interface RopeAttrs {
  readonly heads: number;
  readonly headDim: number;
  /** The first rotaryDim entries of each head turn; the others pass. */
  readonly rotaryDim: number;
  /** Turn back: the pullback of the rotation is the inverse rotation. */
  readonly inverse: boolean;
}

export const RxRope = namedOp(
  'RxRope',
  ({ x, cos, sin }: RopeInputs, { heads, headDim, rotaryDim, inverse }: RopeAttrs): readonly [Tensor] => {
    const [n = 0] = x.shape;
    const half = rotaryDim / 2;
    const split = reshape(x, [n, heads, headDim]);
    const x1 = slice(split, [0, 0, 0], [n, heads, half]);
    const x2 = slice(split, [0, 0, half], [n, heads, half]);
    const c = expandDims(cos, 1);
    const s = inverse ? mul(expandDims(sin, 1), -1) : expandDims(sin, 1);
    const turned = [sub(mul(x1, c), mul(x2, s)), add(mul(x2, c), mul(x1, s))];
    if (rotaryDim < headDim) turned.push(slice(split, [0, 0, rotaryDim], [n, heads, headDim - rotaryDim]));
    return [reshape(concat(turned, 2), [n, heads * headDim])];
  },
);

/** Rotary positions on split halves, (x1·cos - x2·sin, x2·cos + x1·sin) in each head (Su et al. 2021, GPT-NeoX order). */
export const rope = (inputs: RopeInputs, attrs: RopeAttrs): Tensor => RxRope.run(inputs, attrs)[0];
