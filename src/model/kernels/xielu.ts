/** xIELU (Huang & Schlag 2024): a parabola above 0, an exponential below, each as steep as a trained number says. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, exp, log, minimum, mul, relu, sigmoid, square, step, sub, sum } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export interface XieluInputs {
  /** [N, F] */
  readonly x: Tensor;
  /** [1] Softplus of it is the steepness above 0. */
  readonly alphaP: Tensor;
  /** [1] beta + softplus of it is the steepness below. */
  readonly alphaN: Tensor;
}

/** Slope of the straight part. transformers knows no other. */
const beta = 0.5;
/** The exponential is taken of no more than this. */
const eps = -1e-6;

const softplus = (a: Tensor): Tensor => log(add(exp(a), 1));
const steepness = ({ alphaP, alphaN }: XieluInputs): readonly [Tensor, Tensor] => [
  softplus(alphaP),
  add(softplus(alphaN), beta),
];

/** e^min(x, eps) - 1 - x where x ≤ 0, else 0. */
const curve = (x: Tensor): Tensor => mul(sub(sub(exp(minimum(x, eps)), 1), x), sub(1, step(x)));

export const RxXielu = namedOp('RxXielu', (inputs: XieluInputs): readonly [Tensor] => {
  const { x } = inputs;
  const [above, below] = steepness(inputs);
  return [add(add(mul(square(relu(x)), above), mul(curve(x), below)), mul(x, beta))];
});

/** αp·x² + βx where x > 0, else αn·(e^min(x, ε) - 1 - x) + βx, the same shape. */
export const xielu = (inputs: XieluInputs): Tensor => RxXielu.run(inputs, {})[0];

export const RxXieluGrad = namedOp(
  'RxXieluGrad',
  (
    { dy, ...inputs }: XieluInputs & { readonly dy: Tensor },
    { needWeights }: { readonly needWeights: boolean },
  ): ReadonlyArray<Tensor> => {
    const { x, alphaP, alphaN } = inputs;
    const [above, below] = steepness(inputs);
    const curveSlope = mul(sub(mul(exp(minimum(x, eps)), step(sub(eps, x))), 1), sub(1, step(x)));
    const slope = add(add(mul(relu(x), mul(above, 2)), mul(curveSlope, below)), beta);
    const dx = mul(dy, slope);
    if (!needWeights) return [dx];
    return [dx, mul(sum(mul(dy, square(relu(x)))), sigmoid(alphaP)), mul(sum(mul(dy, curve(x))), sigmoid(alphaN))];
  },
);

/** Gradients of x and, where asked for, of both numbers. */
export const xieluGrad = (
  inputs: XieluInputs & { readonly dy: Tensor },
  needWeights: boolean,
): { readonly dx: Tensor; readonly dAlphaP?: Tensor; readonly dAlphaN?: Tensor } => {
  const [dx, dAlphaP, dAlphaN] = RxXieluGrad.run(inputs, { needWeights }) as readonly [Tensor, Tensor?, Tensor?];
  return dAlphaP === undefined || dAlphaN === undefined ? { dx } : { dx, dAlphaP, dAlphaN };
};
