import type { Tensor } from '@tensorflow/tfjs-core';
import { add, div, erf, exp, mul, relu, sigmoid, square, step, sub, tanh } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

/**
 * `gelu` is the exact one (erf), `gelu_new` its tanh form, `quick_gelu` x·σ(1.702x), `relu2` the square of `relu`; `sigmoid` is that of
 * gates alone.
 */
export type ActivationKind = 'gelu' | 'gelu_new' | 'relu' | 'silu' | 'quick_gelu' | 'relu2' | 'sigmoid';

interface ActivationAttrs {
  readonly kind: ActivationKind;
}

const swish = (x: Tensor, slope: number): Tensor => mul(x, sigmoid(slope === 1 ? x : mul(x, slope)));

const swishSlope = (x: Tensor, slope: number): Tensor => {
  const scaled = slope === 1 ? x : mul(x, slope);
  const s = sigmoid(scaled);
  return mul(s, add(mul(scaled, sub(1, s)), 1));
};

/** √(2/π)·(x + 0.044715x³) */
const geluInner = (x: Tensor): Tensor => mul(add(x, mul(mul(square(x), x), 0.044715)), Math.sqrt(2 / Math.PI));

export const activated = (x: Tensor, kind: ActivationKind): Tensor => {
  switch (kind) {
    case 'relu':
      return relu(x);
    case 'relu2':
      return square(relu(x));
    case 'silu':
      return swish(x, 1);
    case 'quick_gelu':
      return swish(x, 1.702);
    case 'sigmoid':
      return sigmoid(x);
    case 'gelu':
      return mul(mul(x, 0.5), add(erf(div(x, Math.SQRT2)), 1));
    case 'gelu_new':
      return mul(mul(x, 0.5), add(tanh(geluInner(x)), 1));
  }
};

/** Derivative of the activation at x. */
export const slopeOf = (x: Tensor, kind: ActivationKind): Tensor => {
  switch (kind) {
    case 'relu':
      return step(x);
    case 'relu2':
      return mul(relu(x), 2);
    case 'silu':
      return swishSlope(x, 1);
    case 'quick_gelu':
      return swishSlope(x, 1.702);
    case 'sigmoid': {
      const s = sigmoid(x);
      return mul(s, sub(1, s));
    }
    case 'gelu': {
      const density = mul(exp(mul(square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
      return add(mul(add(erf(div(x, Math.SQRT2)), 1), 0.5), mul(x, density));
    }
    case 'gelu_new': {
      const t = tanh(geluInner(x));
      const inner = mul(add(mul(square(x), 3 * 0.044715), 1), Math.sqrt(2 / Math.PI));
      return mul(add(add(t, 1), mul(mul(x, sub(1, square(t))), inner)), 0.5);
    }
  }
};

export const RxActivation = namedOp(
  'RxActivation',
  ({ x }: { x: Tensor }, { kind }: ActivationAttrs): readonly [Tensor] => [activated(x, kind)],
);

/** Elementwise activation, same shape. */
export const activation = (x: Tensor, kind: ActivationKind): Tensor => RxActivation.run({ x }, { kind })[0];

export const RxActivationGrad = namedOp(
  'RxActivationGrad',
  ({ x, dy }: { x: Tensor; dy: Tensor }, { kind }: ActivationAttrs): readonly [Tensor] => [mul(dy, slopeOf(x, kind))],
);

/** Gradient of x from that of the activation's value. */
export const activationGrad = (x: Tensor, dy: Tensor, kind: ActivationKind): Tensor =>
  RxActivationGrad.run({ x, dy }, { kind })[0];
