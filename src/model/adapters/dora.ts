/**
 * DoRA (Liu et al. 2024): the adapted weight keeps the direction of W + s·B·A and learns the length of each output's row.
 * y = m ∘ (x·W'ᵀ) / ‖W'‖ + bias with W' = W + s·B·A, whose lengths count as constants on the way back, as in the paper's section 4.3.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, div, mul, reshape, sqrt, square, sub, sum, tidy } from '../../tfjs.js';
import { linear as multiply, linearGradInput } from '../kernels/linear.js';
import { loraLinear, loraLinearGrad } from '../kernels/loraLinear.js';
import { loraDelta } from './loraDelta.js';

/** A weight and its adapter. */
export interface DoraWeights {
  /** [O, I], or [I, O] where `transposed` (Conv1D). */
  readonly w: Tensor;
  readonly bias: Tensor | undefined;
  /** [r, I] */
  readonly a: Tensor;
  /** [O, r] */
  readonly b: Tensor;
  /** [O] */
  readonly magnitude: Tensor;
}

export interface DoraAttrs {
  readonly transposed: boolean;
  readonly scaling: number;
}

/** Length of each output's row of W + s·B·A, [O]. */
export const adaptedNorms = (
  { w, a, b }: Pick<DoraWeights, 'w' | 'a' | 'b'>,
  { transposed, scaling }: DoraAttrs,
): Tensor => tidy(() => sqrt(sum(square(add(w, mul(loraDelta(a, b, transposed), scaling))), transposed ? 0 : 1)));

/** What the way back needs besides the weights. */
interface Kept {
  /** magnitude / length, [O]. */
  readonly factor: Tensor;
  readonly lengths: Tensor;
  /** x·W'ᵀ of what the adapter read, [N, O]. */
  readonly z: Tensor;
  /** [N, r] */
  readonly u: Tensor;
}

/** Inputs of the base path and of the adapted path, [N, I]; the second is x dropped out, or x itself. */
export interface DoraInputs {
  /** What the base weight multiplies: x, or what an 8-bit product makes of it. */
  readonly xBase: Tensor;
  readonly x: Tensor;
  /** Absent without dropout. */
  readonly dropped: Tensor | undefined;
}

export const doraForward = (
  { xBase, x, dropped }: DoraInputs,
  weights: DoraWeights,
  attrs: DoraAttrs,
): { readonly y: Tensor; readonly kept: Kept } => {
  const { w, bias, a, b, magnitude } = weights;
  const { transposed } = attrs;
  const lengths = adaptedNorms(weights, attrs);
  const factor = div(magnitude, lengths);
  const { y: z, u } = loraLinear({ x: dropped ?? xBase, w, a, b, xDropped: dropped ?? x }, attrs);
  const y = tidy(() => {
    const scaled = mul(z, factor);
    // Dropout is the adapter's alone: what it took from the base path is put back.
    if (dropped !== undefined) return add(scaled, multiply(sub(x, dropped), w, bias, { transposed }));
    return bias === undefined ? scaled : add(scaled, bias);
  });
  return { y, kept: { factor, lengths, z, u } };
};

/** Gradients; `dx` is that of x apart from the adapted path, `dxDropped` that of what the adapted path read. Borrows all. */
export const doraBackward = (
  dy: Tensor,
  read: Tensor,
  weights: DoraWeights,
  { factor, lengths, z, u }: Kept,
  attrs: DoraAttrs & { readonly needInput: boolean; readonly drops: boolean },
): {
  readonly dA: Tensor;
  readonly dB: Tensor;
  readonly dMagnitude: Tensor;
  readonly dxDropped: Tensor | undefined;
  readonly dx: Tensor | undefined;
} => {
  const { w, a, b } = weights;
  const { transposed, scaling, needInput, drops } = attrs;
  const dMagnitude = tidy(() => div(sum(mul(dy, z), 0), lengths));
  const dz = mul(dy, factor);
  const {
    dA,
    dB,
    dx: dAdapted,
  } = loraLinearGrad({ dy: dz, x: read, w, a, b, u }, { transposed, scaling, needInput, dropped: false });
  dz.dispose();
  if (dAdapted === undefined) return { dA, dB, dMagnitude, dxDropped: undefined, dx: undefined };
  if (!drops) return { dA, dB, dMagnitude, dxDropped: undefined, dx: dAdapted };
  const straight = linearGradInput(dy, w, undefined, { transposed });
  const dxDropped = sub(dAdapted, straight);
  dAdapted.dispose();
  return { dA, dB, dMagnitude, dxDropped, dx: straight };
};

/** The weight with its rows as DoRA has them, m ∘ W' / ‖W'‖: a new tensor. */
export const doraMerged = (weights: DoraWeights, attrs: DoraAttrs): Tensor =>
  tidy(() => {
    const { w, a, b, magnitude } = weights;
    const lengths = adaptedNorms(weights, attrs);
    const factor = div(magnitude, lengths);
    const moved = add(w, mul(loraDelta(a, b, attrs.transposed), attrs.scaling));
    return mul(moved, attrs.transposed ? factor : reshape(factor, [-1, 1]));
  });

/** The weight that `doraMerged` was given, from its result and the lengths of before: a new tensor. */
export const doraUnmerged = (
  { w, a, b, magnitude }: DoraWeights,
  lengths: Tensor,
  { transposed, scaling }: DoraAttrs,
): Tensor =>
  tidy(() => {
    const factor = div(lengths, magnitude);
    const moved = mul(w, transposed ? factor : reshape(factor, [-1, 1]));
    return sub(moved, mul(loraDelta(a, b, transposed), scaling));
  });

/** What was kept, for its owner to free. */
export const keptTensors = ({ factor, lengths, z, u }: Kept): ReadonlyArray<Tensor> => [factor, lengths, z, u];
