import type { Tensor } from '@tensorflow/tfjs-core';
import {
  add,
  addN,
  argMax,
  cast,
  concat,
  div,
  equal,
  exp,
  gatherND,
  log,
  matMul,
  max,
  mul,
  range,
  slice,
  squeeze,
  stack,
  sub,
  sum,
  tensor1d,
  tensor2d,
  tidy,
} from '../../tfjs.js';
import { capped, cappedGrad } from './capped.js';
import { namedOp } from './namedOp.js';

export interface LinearCrossEntropyInputs {
  /** [M, C] */
  readonly h: Tensor;
  /** [V, C] */
  readonly w: Tensor;
  /** [V] */
  readonly bias?: Tensor | undefined;
}

export interface LinearCrossEntropyAttrs {
  /** [M] ids. */
  readonly targets: Int32Array;
  /** [M] factor of each row's loss in the total. */
  readonly weights: Float32Array;
  /** ε: loss = (1 - ε)·nll + ε·mean over the vocabulary of -log p. */
  readonly labelSmoothing: number;
  /** A logit x becomes softcap · tanh(x / softcap) before it counts. Absent: it stays. */
  readonly softcap?: number | undefined;
  /** 'dft' multiplies each row's loss by the probability of its target, held constant (Wu et al. 2025). */
  readonly variant: 'nll' | 'dft';
  readonly gradient: boolean;
  /** Gradients of w and bias too, not only of h. */
  readonly needWeight: boolean;
}

const ofBlock = (
  { h, w, bias }: LinearCrossEntropyInputs,
  attrs: LinearCrossEntropyAttrs,
  start: number,
  rows: number,
): ReadonlyArray<Tensor> => {
  const [, width = 0] = h.shape;
  const [vocabSize = 0] = w.shape;
  const { labelSmoothing, softcap, variant, gradient, needWeight } = attrs;
  const ids = attrs.targets.subarray(start, start + rows);
  const targets = tensor1d(ids, 'int32');
  const weights = tensor1d(attrs.weights.subarray(start, start + rows));
  const hidden = slice(h, [start, 0], [rows, width]);
  const product = matMul(hidden, w, false, true);
  const logits = capped(bias === undefined ? product : add(product, bias), softcap);
  const shifted = sub(logits, max(logits, 1, true));
  const powers = exp(shifted);
  const total = sum(powers, 1, true);
  const p = div(powers, total);
  const logTotal = squeeze(log(total), [1]); // [rows]
  const picked = gatherND(
    shifted,
    tensor2d(
      Int32Array.from({ length: 2 * rows }, (_, i) => (i % 2 === 0 ? i / 2 : (ids[(i - 1) / 2] ?? 0))),
      [rows, 2],
      'int32',
    ),
  );
  const nll = sub(logTotal, picked);
  const meanShifted = mul(sum(shifted, 1), 1 / vocabSize);
  const smooth =
    labelSmoothing === 0 ? nll : add(mul(nll, 1 - labelSmoothing), mul(sub(logTotal, meanShifted), labelSmoothing));
  const confidence = variant === 'dft' ? exp(mul(nll, -1)) : undefined;
  const loss = confidence === undefined ? smooth : mul(smooth, confidence);
  const correct = cast(equal(argMax(logits, 1), targets), 'float32');
  const entropy = sub(logTotal, sum(mul(p, shifted), 1));
  const values = [sum(mul(loss, weights)), loss, correct, entropy];
  if (!gradient) return values;
  const factor = confidence === undefined ? weights : mul(weights, confidence);
  // oneHot refuses a vocabulary of one.
  const hit = equal(stack([targets], 1), range(0, vocabSize, 1, 'int32')); // [rows, V]
  const wanted = add(mul(cast(hit, 'float32'), 1 - labelSmoothing), labelSmoothing / vocabSize);
  const dLogits = cappedGrad(mul(sub(p, wanted), stack([factor], 1)), logits, softcap); // [rows, V]
  const dh = matMul(dLogits, w);
  if (!needWeight) return [...values, dh];
  const dW = matMul(dLogits, hidden, true, false);
  return bias === undefined ? [...values, dh, dW] : [...values, dh, dW, sum(dLogits, 0)];
};

/** The definition, with at most `entries` logits (and at least a row of them) alive at once. */
export const inBlocks =
  (entries: number) =>
  (inputs: LinearCrossEntropyInputs, attrs: LinearCrossEntropyAttrs): ReadonlyArray<Tensor> => {
    const m = attrs.targets.length;
    const [vocabSize = 1] = inputs.w.shape;
    const rows = Math.max(1, Math.floor(entries / vocabSize));
    const blocks: ReadonlyArray<Tensor>[] = [];
    for (let start = 0; start < m; start += rows) {
      blocks.push(tidy(() => [...ofBlock(inputs, attrs, start, Math.min(rows, m - start))]));
    }
    const [first] = blocks;
    if (first === undefined) return [];
    if (blocks.length === 1) return first;
    // total, dW and dBias add up over blocks; loss, correct, entropy and dh are laid end to end.
    const adds = [true, false, false, false, false, true, true];
    return first.map((_, output) => {
      const parts = blocks.map((block) => block[output]).filter((part) => part !== undefined);
      return adds[output] === true ? addN(parts) : concat(parts, 0);
    });
  };

export const RxLinearCrossEntropy = namedOp('RxLinearCrossEntropy', inBlocks(1 << 22));

export interface LinearCrossEntropy {
  /** [] Σ weights·loss */
  readonly total: Tensor;
  /** [M] */
  readonly loss: Tensor;
  /** [M] 1 where the likeliest id is the target, else 0. */
  readonly correct: Tensor;
  /** [M] of the predicted distribution, in nats. */
  readonly entropy: Tensor;
  /** Gradients of `total`. */
  readonly dh?: Tensor | undefined;
  readonly dW?: Tensor | undefined;
  readonly dBias?: Tensor | undefined;
}

/** Output head and cross-entropy as one step, so that logits [M, V] need never exist as a whole. M ≥ 1. */
export const linearCrossEntropy = (
  inputs: LinearCrossEntropyInputs,
  attrs: LinearCrossEntropyAttrs,
): LinearCrossEntropy => {
  const [total, loss, correct, entropy, dh, dW, dBias] = RxLinearCrossEntropy.run(inputs, attrs) as readonly [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor?,
    Tensor?,
    Tensor?,
  ];
  return { total, loss, correct, entropy, dh, dW, dBias };
};
