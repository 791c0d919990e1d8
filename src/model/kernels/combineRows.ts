import type { Tensor } from '@tensorflow/tfjs-core';
import { add, gather, mul, reshape, slice, sum, tensor1d } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

interface CombineAttrs {
  /** [N·k] The rows of x that row n of the sum is made of are places[n·k] …; a permutation of x's rows. */
  readonly places: Int32Array;
  readonly perRow: number;
}

const column = (x: Tensor, j: number): Tensor => slice(x, [0, j], [-1, 1]);

const every = (places: Int32Array, step: number, first: number): Int32Array =>
  Int32Array.from({ length: places.length / step }, (_, n) => places[n * step + first] ?? 0);

const rowsAt = (x: Tensor, places: Int32Array): Tensor => gather(x, tensor1d(places, 'int32'));

export const RxCombineRows = namedOp(
  'RxCombineRows',
  (
    { x, weights }: { x: Tensor; weights?: Tensor | undefined },
    { places, perRow }: CombineAttrs,
  ): readonly [Tensor] => {
    const parts = Array.from({ length: perRow }, (_, j) => {
      const part = rowsAt(x, every(places, perRow, j));
      return weights === undefined ? part : mul(part, column(weights, j));
    });
    return [parts.reduce((a, b) => add(a, b))];
  },
);

/** y[n] = Σⱼ weights[n, j]·x[places[n·k + j]], of x [N·k, C] and weights [N, k] (1, if absent): [N, C]. */
export const combineRows = (x: Tensor, weights: Tensor | undefined, attrs: CombineAttrs): Tensor =>
  RxCombineRows.run({ x, weights }, attrs)[0];

export const RxCombineRowsGrad = namedOp(
  'RxCombineRowsGrad',
  (
    { dy, x, weights }: { dy: Tensor; x: Tensor; weights: Tensor },
    { places, perRow }: CombineAttrs,
  ): readonly [Tensor, Tensor] => {
    const order = new Int32Array(places.length);
    places.forEach((place, i) => {
      order[place] = i;
    });
    const spread = rowsAt(
      dy,
      order.map((i) => Math.floor(i / perRow)),
    );
    const dx = mul(spread, rowsAt(reshape(weights, [-1, 1]), order));
    const products = sum(mul(spread, x), 1, true);
    return [dx, reshape(rowsAt(products, places), weights.shape)];
  },
);

/** Gradients of x and weights from that of the sum, dy [N, C]. */
export const combineRowsGrad = (
  dy: Tensor,
  x: Tensor,
  weights: Tensor,
  attrs: CombineAttrs,
): { readonly dx: Tensor; readonly dWeights: Tensor } => {
  const [dx, dWeights] = RxCombineRowsGrad.run({ dy, x, weights }, attrs);
  return { dx, dWeights };
};
