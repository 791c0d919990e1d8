import type { Tensor } from '@tensorflow/tfjs-core';
import { add, concat, expandDims, mul, reshape, slice, stack, sub } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export interface RopeInputs {
  /** [N, heads · headDim] */
  readonly x: Tensor;
  /** [N, rotaryDim / 2] */
  readonly cos: Tensor;
  /** [N, rotaryDim / 2] */
  readonly sin: Tensor;
}

/** Which entries of which heads turn, and which way. */
export interface RopeAttrs {
  readonly heads: number;
  readonly headDim: number;
  /** The first rotaryDim entries of each head turn; the others pass. */
  readonly rotaryDim: number;
  /** Turn back: the pullback of the rotation is the inverse rotation. */
  readonly inverse: boolean;
  /** The two entries of a pair lie beside each other (GPT-J), not half of rotaryDim apart (GPT-NeoX, Llama). */
  readonly interleaved: boolean;
}

export const RxRope = namedOp(
  'RxRope',
  ({ x, cos, sin }: RopeInputs, { heads, headDim, rotaryDim, inverse, interleaved }: RopeAttrs): readonly [Tensor] => {
    const [n = 0] = x.shape;
    const half = rotaryDim / 2;
    const split = reshape(x, [n, heads, headDim]);
    const turning = slice(split, [0, 0, 0], [n, heads, rotaryDim]);
    const pairs = reshape(turning, interleaved ? [n, heads, half, 2] : [n, heads, 2, half]);
    const [x1, x2] = [0, 1].map((which) =>
      reshape(
        interleaved
          ? slice(pairs, [0, 0, 0, which], [n, heads, half, 1])
          : slice(pairs, [0, 0, which, 0], [n, heads, 1, half]),
        [n, heads, half],
      ),
    ) as [Tensor, Tensor];
    const c = expandDims(cos, 1);
    const s = inverse ? mul(expandDims(sin, 1), -1) : expandDims(sin, 1);
    const pair = [sub(mul(x1, c), mul(x2, s)), add(mul(x2, c), mul(x1, s))];
    const turned = interleaved ? [reshape(stack(pair, 3), [n, heads, rotaryDim])] : pair;
    if (rotaryDim < headDim) turned.push(slice(split, [0, 0, rotaryDim], [n, heads, headDim - rotaryDim]));
    return [reshape(concat(turned, 2), [n, heads * headDim])];
  },
);

/** Rotary positions: each pair of a head as (x1·cos - x2·sin, x2·cos + x1·sin) (Su et al. 2021). */
export const rope = (inputs: RopeInputs, attrs: RopeAttrs): Tensor => RxRope.run(inputs, attrs)[0];
