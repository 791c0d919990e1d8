import type { Tensor } from '@tensorflow/tfjs-core';
import { concat, expandDims, reshape, slice, sum } from '../../tfjs.js';
import { namedOp } from './namedOp.js';
import { RxRope } from './rope.js';

/** Queries and keys are `nopeDim` entries that stay and then `ropeDim` that turn; those of keys are the same for all heads. */
export interface LatentHeadsAttrs {
  readonly heads: number;
  readonly nopeDim: number;
  readonly ropeDim: number;
  readonly valueDim: number;
  /** As in `RopeAttrs`. */
  readonly interleaved: boolean;
}

export interface LatentHeadsInputs {
  /** [N, heads · (nopeDim + ropeDim)] */
  readonly q: Tensor;
  /** [N, heads · (nopeDim + valueDim)] Of each head the entries of its key that stay, and its values. */
  readonly kv: Tensor;
  /** [N, ropeDim] What turns of all keys. */
  readonly shared: Tensor;
  /** [N, ropeDim / 2] */
  readonly cos: Tensor;
  /** [N, ropeDim / 2] */
  readonly sin: Tensor;
}

interface Angles {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Each head of x [N, heads, width] cut at `at`. */
const cut = (x: Tensor, at: number): readonly [Tensor, Tensor] => {
  const [n = 0, heads = 0, width = 0] = x.shape;
  return [slice(x, [0, 0, 0], [n, heads, at]), slice(x, [0, 0, at], [n, heads, width - at])];
};

/** x [N, heads, ropeDim], turned. */
const turned = (x: Tensor, { cos, sin }: Angles, interleaved: boolean, inverse: boolean): Tensor => {
  const [n = 0, heads = 0, width = 0] = x.shape;
  const flat = reshape(x, [n, heads * width]);
  const attrs = { heads, headDim: width, rotaryDim: width, inverse, interleaved };
  return reshape(RxRope.reference({ x: flat, cos, sin }, attrs)[0], [n, heads, width]);
};

const split = (x: Tensor, heads: number): Tensor => {
  const [n = 0, width = 0] = x.shape;
  return reshape(x, [n, heads, width / heads]);
};

const joined = (parts: Tensor[]): Tensor => {
  const whole = concat(parts, 2);
  const [n = 0, heads = 0, width = 0] = whole.shape;
  return reshape(whole, [n, heads * width]);
};

export const RxLatentHeads = namedOp(
  'RxLatentHeads',
  (
    { q, kv, shared, cos, sin }: LatentHeadsInputs,
    { heads, nopeDim, interleaved }: LatentHeadsAttrs,
  ): readonly [Tensor, Tensor, Tensor] => {
    const [qStays, qTurns] = cut(split(q, heads), nopeDim);
    const [kStays, v] = cut(split(kv, heads), nopeDim);
    const rotary = turned(expandDims(shared, 1), { cos, sin }, interleaved, false);
    return [
      joined([qStays, turned(qTurns, { cos, sin }, interleaved, false)]),
      joined([kStays, concat(Array<Tensor>(heads).fill(rotary), 1)]),
      joined([v]),
    ];
  },
);

export interface LatentHeads {
  /** [N, heads · (nopeDim + ropeDim)] */
  readonly q: Tensor;
  /** [N, heads · (nopeDim + ropeDim)] */
  readonly k: Tensor;
  /** [N, heads · valueDim] */
  readonly v: Tensor;
}

/** Queries turned in part, and keys and values of multi-head latent attention (DeepSeek-V2, section 2.1) from what projections make. */
export const latentHeads = (inputs: LatentHeadsInputs, attrs: LatentHeadsAttrs): LatentHeads => {
  const [q, k, v] = RxLatentHeads.run(inputs, attrs);
  return { q, k, v };
};

export interface LatentHeadsGradInputs extends Pick<LatentHeadsInputs, 'cos' | 'sin'> {
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
}

export const RxLatentHeadsGrad = namedOp(
  'RxLatentHeadsGrad',
  (
    { dq, dk, dv, cos, sin }: LatentHeadsGradInputs,
    { heads, nopeDim, interleaved }: LatentHeadsAttrs,
  ): readonly [Tensor, Tensor, Tensor] => {
    const [qStays, qTurns] = cut(split(dq, heads), nopeDim);
    const [kStays, kTurns] = cut(split(dk, heads), nopeDim);
    const ofAll = sum(kTurns, 1, true);
    return [
      joined([qStays, turned(qTurns, { cos, sin }, interleaved, true)]),
      joined([kStays, split(dv, heads)]),
      joined([turned(ofAll, { cos, sin }, interleaved, true)]),
    ];
  },
);

/** Gradients of q, kv and shared. */
export const latentHeadsGrad = (
  inputs: LatentHeadsGradInputs,
  attrs: LatentHeadsAttrs,
): { readonly dq: Tensor; readonly dKv: Tensor; readonly dShared: Tensor } => {
  const [dq, dKv, dShared] = RxLatentHeadsGrad.run(inputs, attrs);
  return { dq, dKv, dShared };
};
