import type { Tensor } from '@tensorflow/tfjs-core';
import { add, gather, mul, reshape, slice, sum, tensor1d } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

interface CombineAttrs {
  readonly perRow: number;
}

const column = (x: Tensor, j: number): Tensor => slice(x, [0, j], [-1, 1]);

const every = (places: Int32Array, step: number, first: number): Int32Array =>
  Int32Array.from({ length: places.length / step }, (_, n) => places[n * step + first] ?? 0);

const rowsAt = (x: Tensor, places: Int32Array): Tensor => gather(x, tensor1d(places, 'int32'));

/** Where the rows of x lie. */
const placesOf = (x: Tensor, places: Tensor | undefined): Int32Array => {
  const [rows = 0] = x.shape;
  return places?.dataSync<'int32'>() ?? Int32Array.from({ length: rows }, (_, i) => i);
};

export const RxCombineRows = namedOp(
  'RxCombineRows',
  (
    { x, weights, places }: { x: Tensor; weights?: Tensor | undefined; places?: Tensor | undefined },
    { perRow }: CombineAttrs,
  ): readonly [Tensor] => {
    const at = placesOf(x, places);
    const parts = Array.from({ length: perRow }, (_, j) => {
      const part = rowsAt(x, every(at, perRow, j));
      return weights === undefined ? part : mul(part, column(weights, j));
    });
    return [parts.reduce((a, b) => add(a, b))];
  },
);

/** Which rows of x row n of a sum is made of: those at places[n·k] …, k = perRow. */
export interface Combination extends CombineAttrs {
  /** [N·k] int32, a permutation of the rows of x. Default: in order. */
  readonly places?: Tensor | undefined;
}

/** y[n] = Σⱼ weights[n, j]·x[places[n·k + j]], of x [N·k, C] and weights [N, k] (1, if absent): [N, C]. */
export const combineRows = (x: Tensor, weights: Tensor | undefined, { places, perRow }: Combination): Tensor =>
  RxCombineRows.run({ x, weights, places }, { perRow })[0];

export const RxCombineRowsGrad = namedOp(
  'RxCombineRowsGrad',
  (
    { dy, x, weights, places }: { dy: Tensor; x: Tensor; weights: Tensor; places?: Tensor | undefined },
    { perRow }: CombineAttrs,
  ): readonly [Tensor, Tensor] => {
    const at = placesOf(x, places);
    const order = new Int32Array(at.length);
    at.forEach((place, i) => {
      order[place] = i;
    });
    const spread = rowsAt(
      dy,
      order.map((i) => Math.floor(i / perRow)),
    );
    const dx = mul(spread, rowsAt(reshape(weights, [-1, 1]), order));
    const products = sum(mul(spread, x), 1, true);
    return [dx, reshape(rowsAt(products, at), weights.shape)];
  },
);

/** Gradients of x and weights from that of the sum, dy [N, C]. */
export const combineRowsGrad = (
  dy: Tensor,
  x: Tensor,
  weights: Tensor,
  { places, perRow }: Combination,
): { readonly dx: Tensor; readonly dWeights: Tensor } => {
  const [dx, dWeights] = RxCombineRowsGrad.run({ dy, x, weights, places }, { perRow });
  return { dx, dWeights };
};
