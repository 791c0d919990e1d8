/** Output head and a loss of one's own, a block of rows at a time, with the gradients that the way back begins with. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { fatal, isFatal } from '../errors.js';
import { concat, mul, ones, reshape, scalar, sum, tensor1d, tfjs, tidy } from '../tfjs.js';
import { axpy } from './kernels/axpy.js';
import { capped, cappedGrad } from './kernels/capped.js';
import { gatherRows } from './kernels/gatherRows.js';
import { columnSum, linear, linearGradInput, linearGradWeight } from './kernels/linear.js';
import type { LinearCrossEntropyInputs } from './kernels/linearCrossEntropy.js';
import { joinRows } from './layers/putRows.js';
import type { Sequence, Targets } from './sequence.js';

/** The targets that a block of logits is of. */
export interface TargetsPart {
  /** [m] The ids to predict, one a row of the logits. */
  readonly labels: Int32Array;
  /** Which of the micro-batch's targets the first row is. */
  readonly first: number;
}

/** Losses, and how each rises with the logits of its row. */
export interface TokenLosses {
  /** [m] */
  readonly loss: Tensor;
  /** [m, V] ∂ loss of the row / ∂ logit. */
  readonly gradient: Tensor;
}

/**
 * Logits [m, V] ↦ the losses of their rows and the gradients of these. It is called for a few rows at a time, so the logits of a
 * micro-batch never exist as a whole, and is freed of every tensor that it makes. `byTape` has tfjs find the gradients.
 */
export type TokenLoss = (logits: Tensor, part: TargetsPart) => TokenLosses;

/**
 * Losses [m] in operations of tfjs, with the gradients that its tape finds. In Node.js tfjs-core has none by itself: a program that uses
 * this imports `@tensorflow/tfjs` besides, which brings them.
 *
 *     computeLoss: () => byTape((logits, { labels }) => …)
 */
export const byTape =
  (losses: (logits: Tensor, part: TargetsPart) => Tensor): TokenLoss =>
  (logits, part) => {
    const { value, grad } = tfjs().valueAndGrad((x: Tensor) => losses(x, part))(logits, ones([part.labels.length]));
    return { loss: value, gradient: grad };
  };

/**
 * The loss of a micro-batch: given what is read and what is asked for, the loss of any of its rows. Called once a micro-batch, which is
 * when a teacher answers; tensors that it makes are freed with the last row's.
 *
 *     computeLoss: () => (logits, { labels }) => ({ loss, gradient })
 */
export type ComputeLoss = (batch: { readonly sequence: Sequence; readonly targets: Targets }) => TokenLoss;

export interface OwnLossAttrs {
  readonly sequence: Sequence;
  readonly targets: Targets;
  readonly softcap: number | undefined;
  readonly gradient: boolean;
  /** Gradients of w and bias too, not only of h. */
  readonly needWeight: boolean;
}

export interface OwnLoss {
  /** [] Σ weights·loss */
  readonly total: Tensor;
  /** [M] */
  readonly loss: Tensor;
  /** Gradients of `total`. */
  readonly dh?: Tensor | undefined;
  readonly dW?: Tensor | undefined;
  readonly dBias?: Tensor | undefined;
}

const broken = (why: string, cause?: unknown) =>
  fatal('E_CALLBACK', `computeLoss ${why}`, {
    field: 'computeLoss',
    expected: 'of logits [m, V] the losses [m] and their gradients [m, V], float32',
    ...(cause === undefined ? {} : { cause }),
  });

/** `work` of what is not ours: what it throws is told as its own. */
const guarded = <A>(work: () => A): A => {
  try {
    return work();
  } catch (cause) {
    if (isFatal(cause)) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    const untaught = message.includes('gradient function not found');
    throw broken(`failed: ${message}${untaught ? "; import '@tensorflow/tfjs' brings them" : ''}`, cause);
  }
};

/** That it is a tensor of this shape: of who writes in JavaScript it may be anything. */
const checked = (name: string, value: Tensor | undefined, shape: ReadonlyArray<number>): Tensor => {
  const told = (of: ReadonlyArray<number>): string => `[${of.join(', ')}]`;
  if (value?.shape === undefined) throw broken(`gave no ${name}`);
  if (value.dtype !== 'float32' || told(value.shape) !== told(shape))
    throw broken(`gave a ${name} of ${value.dtype} ${told(value.shape)} where ${told(shape)} is due`);
  return value;
};

/** x [m, V] with row i multiplied by factors[i]. */
const rowsTimes = (x: Tensor, factors: Float32Array): Tensor =>
  factors.every((factor) => factor === factors[0])
    ? mul(x, scalar(factors[0] ?? 1))
    : mul(x, reshape(tensor1d(factors), [-1, 1]));

const ofBlock = (
  { h, w, bias }: LinearCrossEntropyInputs,
  { targets, softcap, gradient: wanted, needWeight }: OwnLossAttrs,
  tokenLoss: TokenLoss,
  { labels, first }: TargetsPart,
): ReadonlyArray<Tensor> => {
  const flat = { transposed: false };
  const size = labels.length;
  const hidden = gatherRows(
    h,
    Int32Array.from({ length: size }, (_, i) => first + i),
  );
  const logits = capped(linear(hidden, w, bias, flat), softcap);
  const given = guarded(() => tokenLoss(logits, { labels, first })) as Partial<TokenLosses> | undefined;
  const loss = checked('loss', given?.loss, [size]);
  const gradient = checked('gradient', given?.gradient, logits.shape);
  if (!wanted) return [loss];
  const dLogits = cappedGrad(rowsTimes(gradient, targets.weights.subarray(first, first + size)), logits, softcap);
  const dh = linearGradInput(dLogits, w, undefined, flat);
  if (!needWeight) return [loss, dh];
  const dW = linearGradWeight(hidden, dLogits, flat);
  return bias === undefined ? [loss, dh, dW] : [loss, dh, dW, columnSum(dLogits)];
};

/** `more` on top of `sum`; consumes both. */
const addedTo = (sum: Tensor | undefined, more: Tensor | undefined): Tensor | undefined => {
  if (sum === undefined || more === undefined) return more;
  const added = axpy(sum, more, 1);
  more.dispose();
  return added;
};

/** `ownLoss` with at most `entries` logits (and at least a row of them) alive at once, but for copies that a loss takes. */
export const ownLossInBlocks =
  (entries: number) =>
  (inputs: LinearCrossEntropyInputs, attrs: OwnLossAttrs, computeLoss: ComputeLoss): OwnLoss =>
    tidy(() => {
      const { sequence, targets } = attrs;
      const tokenLoss = guarded(() => computeLoss({ sequence, targets }));
      if (typeof tokenLoss !== 'function') throw broken('gave no function of logits');
      const [vocabSize = 1] = inputs.w.shape;
      const most = Math.max(1, Math.floor(entries / vocabSize));
      const values: Tensor[] = [];
      const back: Tensor[] = [];
      let dW: Tensor | undefined;
      let dBias: Tensor | undefined;
      for (let first = 0; first < targets.rows.length; first += most) {
        const part = { labels: targets.labels.subarray(first, first + most), first };
        const [value, dh, ofW, ofBias] = tidy(() => [...ofBlock(inputs, attrs, tokenLoss, part)]);
        if (value !== undefined) values.push(value);
        if (dh !== undefined) back.push(dh);
        dW = addedTo(dW, ofW);
        dBias = addedTo(dBias, ofBias);
      }
      const loss = concat(values);
      return {
        total: sum(mul(loss, tensor1d(targets.weights))),
        loss,
        ...(back.length === 0 ? {} : { dh: joinRows(back) }),
        ...(dW === undefined ? {} : { dW }),
        ...(dBias === undefined ? {} : { dBias }),
      };
    });

/** The loss that `computeLoss` makes of h·wᵀ + bias. M ≥ 1. Throws `E_CALLBACK` where it fails, or gives anything but that. */
export const ownLoss = ownLossInBlocks(2 ** 22);
