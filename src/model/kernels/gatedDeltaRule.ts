/**
 * The gated delta rule (Gated DeltaNet, Yang, Kautz & Hatamizadeh 2024): attention whose keys and values lie summed up in one matrix a
 * head. A token lets the state S [keyDim, valueDim] decay, corrects what its key finds there towards its value, and reads it with its
 * query: S ← e^decay·S, then S ← S + rate·k·(v - kᵀS), then out = qᵀS.
 *
 * It is computed in chunks of tokens (the WY form of Yang et al. 2024, arXiv 2406.06484). With s the running sum of decay within the
 * chunk and S the state before it, the corrections u solve (I + A)·u = rate·(v - e^s·kS), A[i, j] = rate_i·(k_i·k_j)·e^(s_i - s_j) for
 * j < i; then out = e^s·qS + P·u, P[i, j] = (q_i·k_j)·e^(s_i - s_j) for j ≤ i, and S ← e^(s_last)·S + (e^(s_last - s)·k)ᵀu.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import {
  add,
  concat,
  exp,
  expandDims,
  matMul,
  mul,
  reshape,
  rsqrt,
  slice,
  square,
  sub,
  sum,
  tensor2d,
  transpose,
  zeros,
} from '../../tfjs.js';
import { namedOp } from './namedOp.js';
import { summedDecay } from './summedDecay.js';

export interface DeltaRuleInputs {
  /** [N, 2 · keyHeads · keyDim + valueHeads · valueDim] Queries, keys and values side by side; the first two of any length. */
  readonly qkv: Tensor;
  /** [N, valueHeads] Logarithm of what the state is multiplied by, ≤ 0. */
  readonly decay: Tensor;
  /** [N, valueHeads] What part of a correction is written. */
  readonly rate: Tensor;
  /** [D · valueHeads · keyDim, valueDim] What each document begins with. Absent: zeros. */
  readonly state?: Tensor | undefined;
}

/** Documents and heads of the gated delta rule. */
export interface DeltaRuleAttrs {
  /** [D + 1]: document d is tokens cuSeqlens[d] … cuSeqlens[d + 1] - 1; no state crosses. */
  readonly cuSeqlens: Int32Array;
  /** Divides valueHeads; value head h has queries and keys of head ⌊h · keyHeads / valueHeads⌋. */
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
}

/** Tokens of a chunk. */
const chunkLength = 64;

/** What is added to a squared length before its root is taken, in transformers as here. */
export const lengthEps = 1e-6;

/** [size, size], 1 where `holds`. */
const mask = (size: number, holds: (i: number, j: number) => boolean): Tensor =>
  tensor2d(
    Float32Array.from({ length: size * size }, (_, at) => (holds(Math.floor(at / size), at % size) ? 1 : 0)),
    [size, size],
  );

/** Some columns of rows from `start` on, heads first: [heads, length, dim]. */
const headsFirst = (
  x: Tensor,
  { start, length }: { readonly start: number; readonly length: number },
  { first, heads, dim }: { readonly first: number; readonly heads: number; readonly dim: number },
): Tensor => transpose(reshape(slice(x, [start, first], [length, heads * dim]), [length, heads, dim]), [1, 0, 2]);

const rowsFirst = (x: Tensor): Tensor => {
  const [heads = 0, length = 0, dim = 0] = x.shape;
  return reshape(transpose(x, [1, 0, 2]), [length, heads * dim]);
};

/** Each of the heads `group` times. */
const repeated = (x: Tensor, group: number): Tensor => {
  const [heads = 0, length = 0, dim = 0] = x.shape;
  return reshape(add(expandDims(x, 1), zeros([heads, group, 1, 1])), [heads * group, length, dim]);
};

/** The way back: sums over those that are one head's. */
const gathered = (x: Tensor, group: number): Tensor => {
  const [heads = 0, length = 0, dim = 0] = x.shape;
  return sum(reshape(x, [heads / group, group, length, dim]), 1);
};

const rowSum = (x: Tensor): Tensor => sum(x, 2, true);

/** 1 / √(|x|² + eps) of the last axis. */
const inverseLength = (x: Tensor): Tensor => rsqrt(add(rowSum(square(x)), lengthEps));

/** Gradient of x from that of x · r, r = inverseLength(x). */
const unitGrad = (dy: Tensor, x: Tensor): Tensor => {
  const r = inverseLength(x);
  const unit = mul(x, r);
  return mul(r, sub(dy, mul(unit, rowSum(mul(unit, dy)))));
};

/** (I + a)⁻¹ of strictly lower triangular a [H, c, c]: the inverses of blocks on the diagonal, which double their size. */
const inverse = (a: Tensor): Tensor => {
  const [, size = 0] = a.shape;
  let inverted = add(
    zeros(a.shape),
    mask(size, (i, j) => i === j),
  );
  for (let block = 1; block < size; block *= 2) {
    const row = (i: number): number => Math.floor(i / block);
    const below = mul(
      a,
      mask(size, (i, j) => row(i) % 2 === 1 && row(j) === row(i) - 1),
    );
    inverted = sub(inverted, matMul(matMul(inverted, below), inverted));
  }
  return inverted;
};

/** One document's heads: [H, length, …] each; queries and keys of length 1, the former scaled. */
interface Heads {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly decay: Tensor;
  readonly rate: Tensor;
}

interface Document {
  readonly start: number;
  readonly length: number;
  readonly index: number;
}

const documents = (cuSeqlens: Int32Array): ReadonlyArray<Document> =>
  Array.from(cuSeqlens.subarray(1), (end, index) => {
    const start = cuSeqlens[index] ?? 0;
    return { start, length: end - start, index };
  });

/** Where in a row of qkv the parts lie. */
const columnsOf = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaRuleAttrs) => ({
  q: { first: 0, heads: keyHeads, dim: keyDim },
  k: { first: keyHeads * keyDim, heads: keyHeads, dim: keyDim },
  v: { first: 2 * keyHeads * keyDim, heads: valueHeads, dim: valueDim },
  gates: { first: 0, heads: valueHeads, dim: 1 },
});

const headsOf = ({ qkv, decay, rate }: DeltaRuleInputs, document: Document, attrs: DeltaRuleAttrs): Heads => {
  const columns = columnsOf(attrs);
  const group = attrs.valueHeads / attrs.keyHeads;
  const unit = (x: Tensor): Tensor => repeated(mul(x, inverseLength(x)), group);
  return {
    q: mul(unit(headsFirst(qkv, document, columns.q)), 1 / Math.sqrt(attrs.keyDim)),
    k: unit(headsFirst(qkv, document, columns.k)),
    v: headsFirst(qkv, document, columns.v),
    decay: summedDecay(headsFirst(decay, document, columns.gates)),
    rate: headsFirst(rate, document, columns.gates),
  };
};

const chunksOf = (length: number): ReadonlyArray<{ readonly from: number; readonly size: number }> =>
  Array.from({ length: Math.ceil(length / chunkLength) }, (_, i) => ({
    from: i * chunkLength,
    size: Math.min(chunkLength, length - i * chunkLength),
  }));

const cut = (heads: Heads, from: number, size: number): Heads => {
  const rows = (x: Tensor): Tensor => {
    const [count = 0, , dim = 0] = x.shape;
    return slice(x, [0, from, 0], [count, size, dim]);
  };
  return { q: rows(heads.q), k: rows(heads.k), v: rows(heads.v), decay: rows(heads.decay), rate: rows(heads.rate) };
};

/** What a chunk makes of the state S before it; names as above. */
const chunkOf = ({ q, k, v, decay, rate }: Heads, state: Tensor) => {
  const [, size = 0] = q.shape;
  const lower = mask(size, (i, j) => j <= i);
  const strictly = mask(size, (i, j) => j < i);
  const [heads = 0] = q.shape;
  const sums = expandDims(matMul(reshape(decay, [heads, size]), lower, false, true), 2);
  const last = slice(sums, [0, size - 1, 0], [heads, 1, 1]);
  // Above the diagonal the difference is positive, and e to it may be no number.
  const pair = mul(exp(mul(sub(sums, transpose(sums, [0, 2, 1])), lower)), lower);
  const since = exp(sums);
  const left = exp(sub(last, sums));
  const whole = exp(last);
  const likeness = mul(mul(matMul(k, k, false, true), pair), strictly);
  const inverted = inverse(mul(likeness, rate));
  const missing = sub(v, mul(since, matMul(k, state)));
  const corrections = matMul(inverted, mul(rate, missing));
  const attended = mul(matMul(q, k, false, true), pair);
  return {
    lower,
    strictly,
    pair,
    since,
    left,
    whole,
    likeness,
    inverted,
    missing,
    corrections,
    attended,
    out: add(mul(since, matMul(q, state)), matMul(attended, corrections)),
    next: add(mul(whole, state), matMul(mul(left, k), corrections, true, false)),
  };
};

const firstState = (
  state: Tensor | undefined,
  { index }: Document,
  { valueHeads, keyDim, valueDim }: DeltaRuleAttrs,
): Tensor => {
  const rows = valueHeads * keyDim;
  const shape: [number, number, number] = [valueHeads, keyDim, valueDim];
  return state === undefined ? zeros(shape) : reshape(slice(state, [index * rows, 0], [rows, valueDim]), shape);
};

export const RxGatedDeltaRule = namedOp(
  'RxGatedDeltaRule',
  (inputs: DeltaRuleInputs, attrs: DeltaRuleAttrs & { readonly keeps: boolean }): ReadonlyArray<Tensor> => {
    const outs: Tensor[] = [];
    const states: Tensor[] = [];
    for (const document of documents(attrs.cuSeqlens)) {
      let state = firstState(inputs.state, document, attrs);
      const heads = document.length === 0 ? undefined : headsOf(inputs, document, attrs);
      for (const { from, size } of heads === undefined ? [] : chunksOf(document.length)) {
        if (heads === undefined) continue;
        const { out, next } = chunkOf(cut(heads, from, size), state);
        outs.push(rowsFirst(out));
        state = next;
      }
      states.push(reshape(state, [attrs.valueHeads * attrs.keyDim, attrs.valueDim]));
    }
    const out = outs.length === 0 ? zeros([0, attrs.valueHeads * attrs.valueDim]) : concat(outs, 0);
    return attrs.keeps ? [out, concat(states, 0)] : [out];
  },
);

export interface DeltaRuled {
  /** [N, valueHeads · valueDim] */
  readonly out: Tensor;
  /** As the state in `DeltaRuleInputs`, after each document's last token; where it `keeps`. */
  readonly state?: Tensor | undefined;
}

/**
 * The gated delta rule in every document and value head. Queries and keys are brought to length 1 (x / √(|x|² + 1e-6)), queries then
 * divided by √keyDim.
 */
export const gatedDeltaRule = (
  inputs: DeltaRuleInputs,
  attrs: DeltaRuleAttrs,
  { keeps = false }: { readonly keeps?: boolean } = {},
): DeltaRuled => {
  const [out, state] = RxGatedDeltaRule.run(inputs, { ...attrs, keeps }) as readonly [Tensor, Tensor?];
  return { out, state };
};

export interface DeltaRuleGradInputs extends Omit<DeltaRuleInputs, 'state'> {
  /** [N, valueHeads · valueDim] */
  readonly dOut: Tensor;
}

/** Gradients of one chunk's heads, and of the state before it from that of the state behind it. */
const chunkGrad = (heads: Heads, state: Tensor, dOut: Tensor, dNext: Tensor): Heads & { readonly dState: Tensor } => {
  const { q, k, rate } = heads;
  const { lower, strictly, pair, since, left, whole, likeness, inverted, missing, corrections, attended } = chunkOf(
    heads,
    state,
  );
  const dCorrections = add(matMul(attended, dOut, true, false), mul(left, matMul(k, dNext)));
  const dScaled = matMul(inverted, dCorrections, true, false);
  const dMissing = mul(rate, dScaled);
  const dAttended = mul(matMul(dOut, corrections, false, true), lower);
  const dSystem = mul(mul(matMul(dScaled, corrections, false, true), strictly), -1);
  const dProducts = mul(dAttended, pair); // of q·k
  const dLikeness = mul(mul(dSystem, rate), pair); // of k·k
  const read = mul(since, matMul(dOut, state, false, true));
  const found = mul(mul(since, matMul(dMissing, state, false, true)), -1);
  const written = mul(left, matMul(corrections, dNext, false, true));
  // Of the running sums: each stands in e^(s_i - s_j), in e^s and in e^(s_last - s).
  const pairs = add(mul(dAttended, attended), mul(mul(dSystem, rate), likeness));
  const alongWritten = rowSum(mul(k, written));
  const dSums = sub(
    add(sub(rowSum(pairs), expandDims(sum(pairs, 1), 2)), add(rowSum(mul(q, read)), rowSum(mul(k, found)))),
    alongWritten,
  );
  const dLast = add(sum(alongWritten, 1, true), mul(whole, sum(mul(dNext, state), [1, 2], true)));
  const [h = 0, size = 0] = q.shape;
  const dDecay = add(expandDims(matMul(reshape(dSums, [h, size]), lower), 2), dLast);
  return {
    q: add(read, matMul(dProducts, k)),
    k: add(
      add(add(found, written), matMul(dProducts, q, true, false)),
      add(matMul(dLikeness, k), matMul(dLikeness, k, true, false)),
    ),
    v: dMissing,
    decay: dDecay,
    rate: add(rowSum(mul(dScaled, missing)), rowSum(mul(dSystem, likeness))),
    dState: add(
      mul(whole, dNext),
      sub(matMul(mul(since, q), dOut, true, false), matMul(mul(since, k), dMissing, true, false)),
    ),
  };
};

/** Gradients of one document's heads. */
const headsGrad = (heads: Heads, dOut: Tensor, state: Tensor): Heads => {
  const [, length = 0] = heads.q.shape;
  const chunks = chunksOf(length);
  const before: Tensor[] = [];
  let running = state;
  for (const { from, size } of chunks) {
    before.push(running);
    running = chunkOf(cut(heads, from, size), running).next;
  }
  const gradients: Heads[] = [];
  let dState = zeros(running.shape);
  for (const [i, { from, size }] of [...chunks.entries()].reverse()) {
    const [h = 0, , valueDim = 0] = dOut.shape;
    const dOwn = slice(dOut, [0, from, 0], [h, size, valueDim]);
    const { dState: dBefore, ...own } = chunkGrad(cut(heads, from, size), before[i] ?? state, dOwn, dState);
    gradients.unshift(own);
    dState = dBefore;
  }
  const joined = (part: keyof Heads): Tensor =>
    concat(
      gradients.map((own) => own[part]),
      1,
    );
  return { q: joined('q'), k: joined('k'), v: joined('v'), decay: joined('decay'), rate: joined('rate') };
};

export const RxGatedDeltaRuleGrad = namedOp(
  'RxGatedDeltaRuleGrad',
  ({ dOut, ...inputs }: DeltaRuleGradInputs, attrs: DeltaRuleAttrs): readonly [Tensor, Tensor, Tensor] => {
    const columns = columnsOf(attrs);
    const group = attrs.valueHeads / attrs.keyHeads;
    const parts = documents(attrs.cuSeqlens)
      .filter(({ length }) => length > 0)
      .map((document) => {
        const d = headsGrad(
          headsOf(inputs, document, attrs),
          headsFirst(dOut, document, { ...columns.v, first: 0 }),
          firstState(undefined, document, attrs),
        );
        const dq = mul(gathered(d.q, group), 1 / Math.sqrt(attrs.keyDim));
        const dqkv = [
          unitGrad(dq, headsFirst(inputs.qkv, document, columns.q)),
          unitGrad(gathered(d.k, group), headsFirst(inputs.qkv, document, columns.k)),
          d.v,
        ];
        return [concat(dqkv.map(rowsFirst), 1), rowsFirst(d.decay), rowsFirst(d.rate)] as const;
      });
    const below = (i: 0 | 1 | 2, like: Tensor): Tensor =>
      parts.length === 0
        ? zeros(like.shape)
        : concat(
            parts.map((part) => part[i]),
            0,
          );
    return [below(0, inputs.qkv), below(1, inputs.decay), below(2, inputs.rate)];
  },
);

export interface DeltaRuleGrads {
  readonly dQkv: Tensor;
  readonly dDecay: Tensor;
  readonly dRate: Tensor;
}

/** Gradients where every document begins with an empty state. */
export const gatedDeltaRuleGrad = (inputs: DeltaRuleGradInputs, attrs: DeltaRuleAttrs): DeltaRuleGrads => {
  const [dQkv, dDecay, dRate] = RxGatedDeltaRuleGrad.run(inputs, attrs);
  return { dQkv, dDecay, dRate };
};
