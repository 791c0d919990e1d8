import type { Tensor } from '@tensorflow/tfjs-core';
import {
  add,
  concat,
  div,
  exp,
  expandDims,
  log,
  matMul,
  max,
  maximum,
  mul,
  reshape,
  slice,
  split,
  squeeze,
  sub,
  sum,
  transpose,
} from '../../tfjs.js';
import { leaning } from './alibi.js';
import { capped, cappedGrad } from './capped.js';
import { causalMask } from './causalMask.js';
import { namedOp } from './namedOp.js';

export interface AttentionInputs {
  /** [N, heads · headDim] */
  readonly q: Tensor;
  /** [N, kvHeads · headDim] */
  readonly k: Tensor;
  /** [N, kvHeads · valueDim] */
  readonly v: Tensor;
  /**
   * [heads] A logit a head that takes part in the softmax beside the scores and has no value: exp of it is in the denominator alone.
   * Absent: none.
   */
  readonly sinks?: Tensor | undefined;
}

/** How heads attend. */
export interface AttentionAttrs {
  /** [D + 1]: document d is tokens cuSeqlens[d] … cuSeqlens[d + 1] - 1; attention never crosses. */
  readonly cuSeqlens: Int32Array;
  /** Of queries. */
  readonly heads: number;
  /** Of keys and values. Divides heads; query head h reads key head ⌊h · kvHeads / heads⌋. */
  readonly kvHeads: number;
  /** Width of a head's queries and keys. */
  readonly headDim: number;
  /** Width of a head's values, and so of what comes of it: at most headDim. Default: headDim. */
  readonly valueDim?: number | undefined;
  /** What products of queries and keys are multiplied by, as a rule 1 / √headDim. */
  readonly scale: number;
  /** 0: token i sees all j ≤ i of its document; else only i - window < j ≤ i. */
  readonly window: number;
  /** A score s becomes softcap · tanh(s / softcap) before it is masked. Absent: it stays. */
  readonly softcap?: number | undefined;
  /** alibi · `alibiSlope` of the head · (j - i) is added to the score of query i and key j. Absent: nothing is. */
  readonly alibi?: number | undefined;
}

const documents = (cuSeqlens: Int32Array): ReadonlyArray<{ readonly start: number; readonly length: number }> =>
  Array.from(cuSeqlens.subarray(1), (end, d) => ({
    start: cuSeqlens[d] ?? 0,
    length: end - (cuSeqlens[d] ?? 0),
  })).filter(({ length }) => length > 0);

/** Rows of one document, heads first: [groups, heads/groups · length, headDim]. */
const headsFirst = (x: Tensor, start: number, length: number, heads: number, groups: number, headDim: number): Tensor =>
  reshape(transpose(reshape(slice(x, [start, 0], [length, heads * headDim]), [length, heads, headDim]), [1, 0, 2]), [
    groups,
    (heads / groups) * length,
    headDim,
  ]);

const rowsFirst = (x: Tensor, length: number, heads: number, headDim: number): Tensor =>
  reshape(transpose(reshape(x, [heads, length, headDim]), [1, 0, 2]), [length, heads * headDim]);

const joined = (parts: Tensor[]): Tensor => {
  const [only] = parts;
  return only !== undefined && parts.length === 1 ? only : concat(parts, 0);
};

/** Scaled scores of one document, capped, [heads, length, length]. */
const scoresOf = (q: Tensor, k: Tensor, length: number, { heads, scale, softcap }: AttentionAttrs): Tensor =>
  capped(reshape(mul(matMul(q, k, false, true), scale), [heads, length, length]), softcap);

const masked = (scores: Tensor, length: number, { heads, window, alibi }: AttentionAttrs): Tensor =>
  add(leaning(scores, length, { heads, alibi }), causalMask(length, length, window));

export const RxAttention = namedOp(
  'RxAttention',
  ({ q, k, v, sinks }: AttentionInputs, attrs: AttentionAttrs): readonly [Tensor, Tensor] => {
    const sunk = sinks === undefined ? undefined : reshape(sinks, [attrs.heads, 1, 1]);
    const { cuSeqlens, heads, kvHeads, headDim, valueDim = headDim } = attrs;
    const parts = documents(cuSeqlens).map(({ start, length }) => {
      const qd = headsFirst(q, start, length, heads, kvHeads, headDim);
      const kd = headsFirst(k, start, length, kvHeads, kvHeads, headDim);
      const vd = headsFirst(v, start, length, kvHeads, kvHeads, valueDim);
      const scores = masked(scoresOf(qd, kd, length, attrs), length, attrs);
      const ofKeys = max(scores, 2, true);
      const highest = sunk === undefined ? ofKeys : maximum(ofKeys, sunk);
      const weights = exp(sub(scores, highest));
      const overKeys = sum(weights, 2, true);
      const total = sunk === undefined ? overKeys : add(overKeys, exp(sub(sunk, highest)));
      const p = div(weights, total);
      const mixed = matMul(reshape(p, [kvHeads, (heads / kvHeads) * length, length]), vd);
      return {
        out: rowsFirst(mixed, length, heads, valueDim),
        lse: transpose(squeeze(add(log(total), highest), [2]), [1, 0]),
      };
    });
    return [joined(parts.map(({ out }) => out)), joined(parts.map(({ lse }) => lse))];
  },
);

export interface Attended {
  /** [N, heads · valueDim] */
  readonly out: Tensor;
  /** [N, heads] log Σ exp of the masked scores, and of the sink beside them: all that the way back needs to rebuild the probabilities. */
  readonly lse: Tensor;
}

/** The engine's kernel, or the reference: step by step, all scores in memory. */
export type How = 'run' | 'reference';

/** Causal attention inside each document, softmax(q·kᵀ·scale)·v. */
export const attention = (inputs: AttentionInputs, attrs: AttentionAttrs, how: How = 'run'): Attended => {
  const [out, lse] = RxAttention[how](inputs, attrs);
  return { out, lse };
};

export interface AttentionGradInputs extends AttentionInputs, Attended {
  readonly dOut: Tensor;
}

export const RxAttentionGrad = namedOp(
  'RxAttentionGrad',
  ({ q, k, v, out, lse, dOut }: AttentionGradInputs, attrs: AttentionAttrs): readonly [Tensor, Tensor, Tensor] => {
    const { cuSeqlens, heads, kvHeads, headDim, valueDim = headDim, scale } = attrs;
    const group = heads / kvHeads;
    const parts = documents(cuSeqlens).map(({ start, length }) => {
      const qd = headsFirst(q, start, length, heads, kvHeads, headDim);
      const kd = headsFirst(k, start, length, kvHeads, kvHeads, headDim);
      const vd = headsFirst(v, start, length, kvHeads, kvHeads, valueDim);
      const od = headsFirst(out, start, length, heads, heads, valueDim);
      const dOd = headsFirst(dOut, start, length, heads, heads, valueDim);
      const lseD = expandDims(transpose(slice(lse, [start, 0], [length, heads]), [1, 0]), 2);
      const scores = scoresOf(qd, kd, length, attrs);
      const p = exp(sub(masked(scores, length, attrs), lseD)); // [heads, length, length]
      const grouped = reshape(p, [kvHeads, group * length, length]);
      const dOg = reshape(dOd, [kvHeads, group * length, valueDim]);
      const dv = matMul(grouped, dOg, true, false);
      const dp = reshape(matMul(dOg, vd, false, true), [heads, length, length]);
      const delta = sum(mul(dOd, od), 2, true);
      const slopes = cappedGrad(mul(p, sub(dp, delta)), scores, attrs.softcap);
      const ds = reshape(mul(slopes, scale), [kvHeads, group * length, length]);
      return [
        rowsFirst(matMul(ds, kd), length, heads, headDim),
        rowsFirst(matMul(ds, qd, true, false), length, kvHeads, headDim),
        rowsFirst(dv, length, kvHeads, valueDim),
      ] as const;
    });
    return [joined(parts.map(([dq]) => dq)), joined(parts.map(([, dk]) => dk)), joined(parts.map(([, , dv]) => dv))];
  },
);

/** Gradients of q, k and v from dOut [N, heads · valueDim]. */
export const attentionGrad = (
  inputs: AttentionGradInputs,
  attrs: AttentionAttrs,
  how: How = 'run',
): { readonly dq: Tensor; readonly dk: Tensor; readonly dv: Tensor } => {
  const [dq, dk, dv] = RxAttentionGrad[how](inputs, attrs);
  return { dq, dk, dv };
};

export interface SinksGradInputs extends Attended {
  /** [heads] */
  readonly sinks: Tensor;
  /** [N, heads · valueDim] */
  readonly dOut: Tensor;
}

/** A sink's weight is p = exp(sink - lse), and what it adds has no value: its slope is p · (0 - dOut · out), summed over rows. */
export const RxSinksGrad = namedOp(
  'RxSinksGrad',
  (
    { sinks, out, lse, dOut }: SinksGradInputs,
    { heads, headDim, valueDim = headDim }: Pick<AttentionAttrs, 'heads' | 'headDim' | 'valueDim'>,
  ): readonly [Tensor] => {
    const delta = sum(reshape(mul(dOut, out), [dOut.size / (heads * valueDim), heads, valueDim]), 2);
    return [mul(sum(mul(exp(sub(sinks, lse)), delta), 0), -1)];
  },
);

/** Gradient of the sinks, [heads]. Those of q, k and v need no more of them than lse. */
export const sinksGrad = (
  inputs: SinksGradInputs,
  attrs: Pick<AttentionAttrs, 'heads' | 'headDim' | 'valueDim'>,
): Tensor => RxSinksGrad.run(inputs, attrs)[0];

/** Columns of q, k and v in the matrix that holds them side by side. */
const parts = (qkv: Tensor, { heads, kvHeads, headDim }: AttentionAttrs): AttentionInputs => {
  const [q, k, v] = split(qkv, [heads * headDim, kvHeads * headDim, kvHeads * headDim], 1) as [Tensor, Tensor, Tensor];
  return { q, k, v };
};

export const RxJoinedAttention = namedOp(
  'RxJoinedAttention',
  ({ qkv }: { qkv: Tensor }, attrs: AttentionAttrs): readonly [Tensor, Tensor] =>
    RxAttention.reference(parts(qkv, attrs), attrs),
);

/**
 * The same from q, k and v side by side, [N, (heads + 2 · kvHeads) · headDim], as one projection makes them: no copies of them. Values
 * are as wide as keys.
 */
export const joinedAttention = (qkv: Tensor, attrs: AttentionAttrs): Attended => {
  const [out, lse] = RxJoinedAttention.run({ qkv }, attrs);
  return { out, lse };
};

export interface JoinedAttentionGradInputs extends Attended {
  readonly qkv: Tensor;
  readonly dOut: Tensor;
}

export const RxJoinedAttentionGrad = namedOp(
  'RxJoinedAttentionGrad',
  ({ qkv, ...back }: JoinedAttentionGradInputs, attrs: AttentionAttrs): readonly [Tensor] => [
    concat([...RxAttentionGrad.reference({ ...parts(qkv, attrs), ...back }, attrs)], 1),
  ],
);

/** Gradient of qkv, likewise side by side. */
export const joinedAttentionGrad = (inputs: JoinedAttentionGradInputs, attrs: AttentionAttrs): Tensor =>
  RxJoinedAttentionGrad.run(inputs, attrs)[0];
