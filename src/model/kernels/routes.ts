/** Which experts each token goes to, by a router's logits, and the pairs of token and expert in the order in which experts read them. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor1d, tensor2d } from '../../tfjs.js';
import { routes as routesOnHost, routesBack } from '../experts/routing.js';
import type { RoutingShape } from '../experts/routing.js';
import { namedOp } from './namedOp.js';

/** The routes of N tokens, k each. A pair is a token and one of its experts: number n·k + j is token n and its j-th. */
export interface Routes {
  /** [N, E] Of each token's logits, as `scores` says. */
  readonly probabilities: Tensor;
  /** [N, k] int32. Each token's experts, the likeliest first, corrections counted; of equally likely ones the lower number. */
  readonly chosen: Tensor;
  /** [N, k] What each of them counts. */
  readonly weights: Tensor;
  /** [E] int32. Tokens that go to each. */
  readonly counts: Tensor;
  /** [N·k] int32. The pairs of each expert, increasing, below those of the expert before. */
  readonly order: Tensor;
  /** [N·k] int32. Their tokens. */
  readonly rows: Tensor;
  /** [N, k] int32. Where in that order each pair lies. */
  readonly places: Tensor;
  /** [N·k, E] What all experts would count in the place of each of them, with a `tolerance`. */
  readonly shares: Tensor | undefined;
}

export const RxRoutes = namedOp(
  'RxRoutes',
  (
    { logits, correction }: { logits: Tensor; correction?: Tensor | undefined },
    shape: RoutingShape,
  ): ReadonlyArray<Tensor> => {
    const { numExperts, perToken } = shape;
    const { probabilities, chosen, weights, shares, tokens, places } = routesOnHost(
      logits.dataSync<'float32'>(),
      shape,
      correction?.dataSync<'float32'>(),
    );
    const n = probabilities.length / numExperts;
    const order = new Int32Array(places.length);
    places.forEach((place, i) => {
      order[place] = i;
    });
    const integers = (values: Int32Array): Tensor => tensor2d(values, [n, perToken], 'int32');
    return [
      tensor2d(probabilities, [n, numExperts]),
      integers(chosen),
      tensor2d(weights, [n, perToken]),
      tensor1d(
        tokens.map(({ length }) => length),
        'int32',
      ),
      tensor1d(order, 'int32'),
      tensor1d(
        order.map((i) => Math.floor(i / perToken)),
        'int32',
      ),
      integers(places),
      ...(shares === undefined ? [] : [tensor2d(shares, [n * perToken, numExperts])]),
    ];
  },
);

/** The routes that logits [N, E] ask for. `correction` [E] is added to probabilities where experts are chosen, and only there. */
export const routesOf = (logits: Tensor, correction: Tensor | undefined, shape: RoutingShape): Routes => {
  const [probabilities, chosen, weights, counts, order, rows, places, shares] = RxRoutes.run(
    { logits, correction },
    shape,
  ) as readonly [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | undefined];
  return { probabilities, chosen, weights, counts, order, rows, places, shares };
};

/** What the way back reads of routes. */
export type RoutesKept = Pick<Routes, 'probabilities' | 'chosen' | 'weights' | 'shares'>;

interface RoutesGradInputs extends RoutesKept {
  readonly dWeights: Tensor;
  readonly slopes?: Tensor | undefined;
}

export const RxRoutesGrad = namedOp(
  'RxRoutesGrad',
  (
    { probabilities, chosen, weights, shares, dWeights, slopes }: RoutesGradInputs,
    shape: RoutingShape,
  ): readonly [Tensor] => {
    const dLogits = routesBack(
      {
        probabilities: probabilities.dataSync<'float32'>(),
        chosen: chosen.dataSync<'int32'>(),
        weights: weights.dataSync<'float32'>(),
        ...(shares === undefined ? {} : { shares: shares.dataSync<'float32'>() }),
      },
      shape,
      dWeights.dataSync<'float32'>(),
      slopes?.dataSync<'float32'>(),
    );
    return [tensor2d(dLogits, [dLogits.length / shape.numExperts, shape.numExperts])];
  },
);

/**
 * Gradient of the logits, [N, E], from that of the weights, [N, k], and what each probability counts beside them, [E]. Which experts
 * are chosen is constant.
 */
export const routesGrad = (
  { probabilities, chosen, weights, shares }: RoutesKept,
  dWeights: Tensor,
  slopes: Tensor | undefined,
  shape: RoutingShape,
): Tensor => RxRoutesGrad.run({ probabilities, chosen, weights, shares, dWeights, slopes }, shape)[0];
