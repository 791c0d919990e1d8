import type { Tensor } from '@tensorflow/tfjs-core';
import { add, concat, gather, mul, reshape, slice, stack, sum, tensor1d, tensor2d } from '../../tfjs.js';
import { activated, slopeOf } from './activation.js';
import { namedOp } from './namedOp.js';

interface ConvInputs {
  /** [N, C], or gated [N, 3C] */
  readonly x: Tensor;
  /** [C, 1, K]: the last of a channel's K factors is that of the token itself. */
  readonly weight: Tensor;
  /** [C] */
  readonly bias?: Tensor | undefined;
}

export interface ConvAttrs {
  /** [D + 1] Borders of documents: before the first token of each there is nothing. */
  readonly cuSeqlens: Int32Array;
  /** The sum passes SiLU. */
  readonly silu: boolean;
  /**
   * x holds three parts, [N, C] each: a gate in, a gate out, and what is convolved once it is multiplied by the one; the result is multiplied
   * by the other (LFM2).
   */
  readonly gated: boolean;
}

/** For each row the one `by` rows later, or earlier where it is negative: its number, and 1, or 0 where the document has none. */
const neighbours = (
  cuSeqlens: Int32Array,
  by: number,
): { readonly rows: Int32Array; readonly inside: Float32Array } => {
  const n = cuSeqlens[cuSeqlens.length - 1] ?? 0;
  const rows = new Int32Array(n);
  const inside = new Float32Array(n);
  for (let d = 0; d + 1 < cuSeqlens.length; d++) {
    const [from = 0, to = 0] = cuSeqlens.subarray(d, d + 2);
    for (let i = from; i < to; i++) {
      const other = i + by;
      rows[i] = Math.min(Math.max(other, from), to - 1);
      inside[i] = other >= from && other < to ? 1 : 0;
    }
  }
  return { rows, inside };
};

/** Each row of x [N, C] the one `by` rows later; zeros beyond the document. */
const moved = (x: Tensor, cuSeqlens: Int32Array, by: number): Tensor => {
  if (by === 0) return x;
  const { rows, inside } = neighbours(cuSeqlens, by);
  return mul(gather(x, tensor1d(rows, 'int32')), tensor2d(inside, [rows.length, 1]));
};

const tapsOf = ({ shape: [, , taps = 0] }: Tensor): number => taps;

/** [C] What the row `back` rows earlier is multiplied by. */
const factor = (weight: Tensor, back: number): Tensor => {
  const [channels = 0] = weight.shape;
  return reshape(slice(weight, [0, 0, tapsOf(weight) - 1 - back], [channels, 1, 1]), [channels]);
};

const everyTap = <A>(weight: Tensor, make: (back: number) => A): ReadonlyArray<A> =>
  Array.from({ length: tapsOf(weight) }, (_, back) => make(back));

const convolved = ({ x, weight, bias }: ConvInputs, cuSeqlens: Int32Array): Tensor => {
  const products = everyTap(weight, (back) => mul(moved(x, cuSeqlens, -back), factor(weight, back)));
  const y = products.reduce((a, b) => add(a, b));
  return bias === undefined ? y : add(y, bias);
};

/** The gate in, the gate out, and what they are for. */
const partsOf = (x: Tensor): readonly [Tensor, Tensor, Tensor] => {
  const [n = 0, width = 0] = x.shape;
  const part = (i: number): Tensor => slice(x, [0, (i * width) / 3], [n, width / 3]);
  return [part(0), part(1), part(2)];
};

export const RxCausalConv = namedOp(
  'RxCausalConv',
  ({ x, ...factors }: ConvInputs, { cuSeqlens, silu, gated }: ConvAttrs): readonly [Tensor] => {
    const passing = (y: Tensor): Tensor => (silu ? activated(y, 'silu') : y);
    if (!gated) return [passing(convolved({ x, ...factors }, cuSeqlens))];
    const [before, after, inner] = partsOf(x);
    return [mul(passing(convolved({ x: mul(before, inner), ...factors }, cuSeqlens)), after)];
  },
);

/**
 * y[t] = Σₖ weight[·, 0, K - 1 - k]·x[t - k] + bias over the tokens of a document, each channel by itself, then SiLU where asked for:
 * [N, C], perhaps between gates. Torch's depthwise `Conv1d` of K - 1 zeros before the text.
 */
export const causalConv = (inputs: ConvInputs, attrs: ConvAttrs): Tensor => RxCausalConv.run(inputs, attrs)[0];

export const RxCausalConvGrad = namedOp(
  'RxCausalConvGrad',
  (
    { dy, x, weight, bias }: ConvInputs & { readonly dy: Tensor },
    { cuSeqlens, silu, gated, needWeights }: ConvAttrs & { readonly needWeights: boolean },
  ): ReadonlyArray<Tensor> => {
    const parts = gated ? partsOf(x) : undefined;
    const read = parts === undefined ? x : mul(parts[0], parts[2]);
    const y = convolved({ x: read, weight, bias }, cuSeqlens);
    const dSum = parts === undefined ? dy : mul(dy, parts[1]);
    const d = silu ? mul(dSum, slopeOf(y, 'silu')) : dSum;
    const dTaps = everyTap(weight, (back) => mul(moved(d, cuSeqlens, back), factor(weight, back)));
    const dRead = dTaps.reduce((a, b) => add(a, b));
    const dx =
      parts === undefined
        ? dRead
        : concat([mul(dRead, parts[2]), mul(dy, silu ? activated(y, 'silu') : y), mul(dRead, parts[0])], 1);
    if (!needWeights) return [dx];
    const factors = everyTap(weight, (back) => sum(mul(d, moved(read, cuSeqlens, -back)), 0));
    const dWeight = reshape(stack([...factors].reverse(), 1), weight.shape);
    return bias === undefined ? [dx, dWeight] : [dx, dWeight, sum(d, 0)];
  },
);

export interface ConvGrads {
  readonly dx: Tensor;
  readonly dWeight?: Tensor | undefined;
  readonly dBias?: Tensor | undefined;
}

/** Gradients of x and, where asked for, of weight and bias. */
export const causalConvGrad = (
  inputs: ConvInputs & { readonly dy: Tensor },
  attrs: ConvAttrs & { readonly needWeights: boolean },
): ConvGrads => {
  const [dx, dWeight, dBias] = RxCausalConvGrad.run(inputs, attrs) as readonly [Tensor, Tensor?, Tensor?];
  return { dx, dWeight, dBias };
};
