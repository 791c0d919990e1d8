import type { Tensor } from '@tensorflow/tfjs-core';
import { add, concat, matMul, mul, slice } from '../../tfjs.js';
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

export interface LoraUpInputs {
  /** [N, I] */
  readonly x: Tensor;
  readonly w: Tensor;
  readonly bias?: Tensor | undefined;
  /** [N, R]: what several adapters made of x, side by side. */
  readonly u: Tensor;
  /** [O, r] */
  readonly b: Tensor;
}

export interface LoraUpAttrs extends LoraLinearAttrs {
  /** Where this adapter's r columns of u begin. */
  readonly first: number;
}

/** Columns `first` to `first` + r of u. */
const columnsOf = (u: Tensor, first: number, r: number): Tensor => slice(u, [0, first], [-1, r]);

export const RxLoraUp = namedOp(
  'RxLoraUp',
  ({ x, w, bias, u, b }: LoraUpInputs, { transposed, scaling, first }: LoraUpAttrs): readonly [Tensor] => {
    const [base] = RxLinear.reference({ x, w, bias }, { transposed });
    const [, r = 0] = b.shape;
    return [add(base, mul(matMul(columnsOf(u, first, r), b, false, true), scaling))];
  },
);

/** x·w + bias + scaling · (u[:, first … first + r - 1]·bᵀ), [N, O]: `loraLinear` of a u that is there. */
export const loraUp = (inputs: LoraUpInputs, attrs: LoraUpAttrs): Tensor => RxLoraUp.run(inputs, attrs)[0];

export const RxLoraUpGrad = namedOp(
  'RxLoraUpGrad',
  (
    [u, ...pairs]: readonly [Tensor, ...Tensor[]],
    { scaling }: { readonly scaling: ReadonlyArray<number> },
  ): ReadonlyArray<Tensor> => {
    let first = 0;
    const gradients = scaling.map((factor, i) => {
      const [dy, b] = pairs.slice(2 * i) as [Tensor, Tensor];
      const [, r = 0] = b.shape;
      const own = columnsOf(u, first, r);
      first += r;
      return { du: mul(matMul(dy, b), factor), dB: mul(matMul(dy, own, true, false), factor) };
    });
    return [
      concat(
        gradients.map(({ du }) => du),
        1,
      ),
      ...gradients.map(({ dB }) => dB),
    ];
  },
);

/** What the way back of one `loraUp` is given. */
export interface LoraUpGradInputs {
  /** [N, O] */
  readonly dy: Tensor;
  /** [O, r] */
  readonly b: Tensor;
  readonly scaling: number;
}

/** Gradients of u [N, R] and of each b, of all adapters that u is of, in its order; the base's way back is `linearGradInput`. */
export const loraUpGrad = (
  u: Tensor,
  adapters: ReadonlyArray<LoraUpGradInputs>,
): { readonly du: Tensor; readonly dB: ReadonlyArray<Tensor> } => {
  const [du, ...dB] = RxLoraUpGrad.run([u, ...adapters.flatMap(({ dy, b }) => [dy, b])], {
    scaling: adapters.map(({ scaling }) => scaling),
  }) as readonly [Tensor, ...Tensor[]];
  return { du, dB };
};

export const RxLoraDown = namedOp(
  'RxLoraDown',
  ([x, ...as]: readonly [Tensor, ...Tensor[]], _attrs: object): readonly [Tensor] => [
    matMul(x, concat(as, 0), false, true),
  ],
);

/** x·aᵀ of each a [r, I] side by side, [N, Σ r]: the u that `loraUp` reads. */
export const loraDown = (x: Tensor, as: ReadonlyArray<Tensor>): Tensor => RxLoraDown.run([x, ...as], {})[0];

export interface LoraDownGradAttrs {
  readonly needInput: boolean;
  /** As in `linear`. */
  readonly flows?: boolean;
}

export const RxLoraDownGrad = namedOp(
  'RxLoraDownGrad',
  ([x, du, ...as]: readonly [Tensor, Tensor, ...Tensor[]], { needInput }: LoraDownGradAttrs): ReadonlyArray<Tensor> => {
    let first = 0;
    const dA = as.map(({ shape: [r = 0] }) => {
      const own = columnsOf(du, first, r);
      first += r;
      return matMul(own, x, true, false);
    });
    return needInput ? [matMul(du, concat(as, 0)), ...dA] : dA;
  },
);

/** Gradients of each a, and where asked for of x, from that of u, [N, Σ r]. */
export const loraDownGrad = (
  x: Tensor,
  du: Tensor,
  as: ReadonlyArray<Tensor>,
  attrs: LoraDownGradAttrs,
): { readonly dA: ReadonlyArray<Tensor>; readonly dx: Tensor | undefined } => {
  const outputs = RxLoraDownGrad.run([x, du, ...as], attrs);
  return attrs.needInput ? { dA: outputs.slice(1), dx: outputs[0] } : { dA: outputs, dx: undefined };
};
