import { add, matMul, mul } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { RxLinear, RxLinearGradInput } from './linear.js';
import { namedOp } from './namedOp.js';

export interface LoraLinearAttrs {
  /** Layout of w, as in `linear`. */
  readonly transposed: boolean;
  /** alpha / r, or alpha / √r. */
  readonly scaling: number;
  /** As in `linear`. */
  readonly flows?: boolean;
}

export interface LoraLinearInputs {
  /** [N, I] */
  readonly x: Tensor;
  readonly w: Tensor;
  readonly bias?: Tensor | undefined;
  /** [r, I] */
  readonly a: Tensor;
  /** [O, r] */
  readonly b: Tensor;
  /** [N, I]: what the adapter reads when it has dropout. */
  readonly xDropped?: Tensor | undefined;
}

export const RxLoraLinear = namedOp(
  'RxLoraLinear',
  (
    { x, w, bias, a, b, xDropped }: LoraLinearInputs,
    { transposed, scaling }: LoraLinearAttrs,
  ): readonly [Tensor, Tensor] => {
    const [base] = RxLinear.reference({ x, w, bias }, { transposed });
    const u = matMul(xDropped ?? x, a, false, true);
    return [add(base, mul(matMul(u, b, false, true), scaling)), u];
  },
);

/** y = x·w + bias + scaling · (u·bᵀ) [N, O], and u = (xDropped ?? x)·aᵀ [N, r], which the way back needs (Hu et al. 2021). */
export const loraLinear = (
  inputs: LoraLinearInputs,
  attrs: LoraLinearAttrs,
): { readonly y: Tensor; readonly u: Tensor } => {
  const [y, u] = RxLoraLinear.run(inputs, attrs);
  return { y, u };
};

export interface LoraLinearGradInputs {
  /** [N, O] */
  readonly dy: Tensor;
  /** [N, I]: what the adapter read, so xDropped where there was one. */
  readonly x: Tensor;
  readonly w: Tensor;
  readonly a: Tensor;
  readonly b: Tensor;
  readonly u: Tensor;
  /** [N, I]: what is added to dx. */
  readonly accumulate?: Tensor | undefined;
}

export interface LoraLinearGradAttrs extends LoraLinearAttrs {
  readonly needInput: boolean;
  /** The adapter had its own input: then dx is of the base path only and dxDropped comes beside it. */
  readonly dropped: boolean;
}

export const RxLoraLinearGrad = namedOp(
  'RxLoraLinearGrad',
  (
    { dy, x, w, a, b, u, accumulate }: LoraLinearGradInputs,
    { transposed, scaling, needInput, dropped }: LoraLinearGradAttrs,
  ): ReadonlyArray<Tensor> => {
    const du = mul(matMul(dy, b), scaling); // [N, r]
    const dA = matMul(du, x, true, false);
    const dB = mul(matMul(dy, u, true, false), scaling);
    if (!needInput) return [dA, dB];
    const [base] = RxLinearGradInput.reference({ dy, w, accumulate }, { transposed });
    const adapter = matMul(du, a);
    return dropped ? [base, dA, dB, adapter] : [add(base, adapter), dA, dB];
  },
);

export interface LoraLinearGrads {
  readonly dA: Tensor;
  readonly dB: Tensor;
  readonly dx?: Tensor | undefined;
  readonly dxDropped?: Tensor | undefined;
}

/** Gradients of a [r, I], b [O, r], and, where asked for, of x (with `accumulate` added) and of xDropped [N, I]. */
export const loraLinearGrad = (inputs: LoraLinearGradInputs, attrs: LoraLinearGradAttrs): LoraLinearGrads => {
  const outputs = RxLoraLinearGrad.run(inputs, attrs);
  if (attrs.needInput) {
    const [dx, dA, dB, dxDropped] = outputs as readonly [Tensor, Tensor, Tensor, Tensor?];
    return { dA, dB, dx, dxDropped };
  }
  const [dA, dB] = outputs as readonly [Tensor, Tensor];
  return { dA, dB };
};
