/**
 * The scan of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060). A head has a state H [stateDim, headDim] that decays, is added to and is read by
 * every token: H ← e^a·H + B·x̃ᵀ, y = Hᵀ·C + D·x, with rate = clamp(softplus(dt + dtBias)), a = -e^aLog·rate and x̃ = rate·x.
 *
 * It is computed in chunks of tokens. With s the running sums of a within the chunk and H the state before it:
 * y_i = Σ_{j ≤ i} e^(s_i - s_j)·(C_i·B_j)·x̃_j + e^s_i·Hᵀ·C_i + D·x_i, and H ← e^s_last·H + Σ_j e^(s_last - s_j)·B_j·x̃_jᵀ.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import {
  add,
  clone,
  concat,
  exp,
  expandDims,
  log,
  matMul,
  maximum,
  minimum,
  mul,
  relu,
  reshape,
  sigmoid,
  sign,
  slice,
  sub,
  sum,
  tensor2d,
  transpose,
  zeros,
} from '../../tfjs.js';
import { namedOp } from './namedOp.js';
import { summedDecay } from './summedDecay.js';

export interface ScanInputs {
  /** [N, heads · headDim + 2 · groups · stateDim] x, B and C side by side. */
  readonly xbc: Tensor;
  /** [N, heads] */
  readonly dt: Tensor;
  /** [heads] */
  readonly aLog: Tensor;
  /** [heads] D. */
  readonly skip: Tensor;
  /** [heads] */
  readonly dtBias: Tensor;
}

export interface ScanAttrs {
  /** [D + 1] Borders of documents: no state crosses them. */
  readonly cuSeqlens: Int32Array;
  readonly heads: number;
  readonly headDim: number;
  /** Divides heads: as many heads in a row as there are in a group share B and C. */
  readonly groups: number;
  readonly stateDim: number;
  /** What rates are held within. */
  readonly least: number;
  readonly most: number;
}

/** Tokens of a chunk. */
const chunkLength = 64;

interface Chunk {
  readonly start: number;
  readonly length: number;
}

const chunksOf = (from: number, to: number): ReadonlyArray<Chunk> =>
  Array.from({ length: Math.ceil((to - from) / chunkLength) }, (_, i) => {
    const start = from + i * chunkLength;
    return { start, length: Math.min(chunkLength, to - start) };
  });

/** log(1 + e^x) */
const softplus = (x: Tensor): Tensor => add(relu(x), log(add(exp(minimum(x, mul(x, -1))), 1)));

/** 1 where x ≥ 0, else 0. */
const notNegative = (x: Tensor): Tensor => sub(1, relu(mul(sign(x), -1)));

/** [heads] as [heads, 1, 1]. */
const each = (x: Tensor): Tensor => reshape(x, [-1, 1, 1]);

/** Columns of a chunk's rows, heads first: [heads, length, dim]. */
const headsFirst = (x: Tensor, { start, length }: Chunk, first: number, heads: number, dim: number): Tensor =>
  transpose(reshape(slice(x, [start, first], [length, heads * dim]), [length, heads, dim]), [1, 0, 2]);

const rowsFirst = (x: Tensor): Tensor => {
  const [heads = 0, length = 0, dim = 0] = x.shape;
  return reshape(transpose(x, [1, 0, 2]), [length, heads * dim]);
};

/** Of each group what its heads have in common, [groups, c, d] to [heads, c, d]. */
const spread = (x: Tensor, heads: number): Tensor => {
  const [groups = 0, length = 0, dim = 0] = x.shape;
  return reshape(add(expandDims(x, 1), zeros([groups, heads / groups, 1, 1])), [heads, length, dim]);
};

/** The way back of `spread`. */
const gathered = (x: Tensor, groups: number): Tensor => {
  const [heads = 0, length = 0, dim = 0] = x.shape;
  return sum(reshape(x, [groups, heads / groups, length, dim]), 1);
};

/** [length, length], 1 where j ≤ i. */
const lower = (length: number): Tensor =>
  tensor2d(
    Float32Array.from({ length: length * length }, (_, at) => (at % length <= Math.floor(at / length) ? 1 : 0)),
    [length, length],
  );

/** Sums of x [heads, length, 1] up to each token, or from each token on. */
const running = (x: Tensor, onward: boolean): Tensor => {
  const [heads = 0, length = 0] = x.shape;
  const flat = reshape(x, [heads, length]);
  return reshape(matMul(flat, lower(length), false, !onward), [heads, length, 1]);
};

/** Of x [heads, i, k] the sum of all that goes past t, i ≥ t > k: [heads, length, 1]. */
const passing = (x: Tensor): Tensor => {
  const [heads = 0, length = 0] = x.shape;
  const onOrBefore = lower(length);
  const from = reshape(matMul(reshape(x, [heads * length, length]), sub(1, onOrBefore)), [heads, length, length]);
  return transpose(sum(mul(from, onOrBefore), 1, true), [0, 2, 1]);
};

/** What a chunk is computed from, heads first. */
const partsOf = ({ xbc, dt, aLog, dtBias }: Omit<ScanInputs, 'skip'>, chunk: Chunk, attrs: ScanAttrs) => {
  const { heads, headDim, groups, stateDim, least, most } = attrs;
  const { length } = chunk;
  const x = headsFirst(xbc, chunk, 0, heads, headDim);
  const b = spread(headsFirst(xbc, chunk, heads * headDim, groups, stateDim), heads);
  const c = spread(headsFirst(xbc, chunk, heads * headDim + groups * stateDim, groups, stateDim), heads);
  const raw = add(headsFirst(dt, chunk, 0, heads, 1), each(dtBias));
  const soft = softplus(raw);
  const rate = minimum(maximum(soft, least), Math.min(most, 3e38));
  const slope = mul(mul(notNegative(sub(soft, least)), notNegative(sub(Math.min(most, 3e38), soft))), sigmoid(raw));
  const a = mul(exp(each(aLog)), -1);
  const sums = running(summedDecay(mul(a, rate)), false);
  const last = slice(sums, [0, length - 1, 0], [heads, 1, 1]);
  // What lies above the diagonal would overflow.
  const between = mul(exp(minimum(sub(sums, transpose(sums, [0, 2, 1])), 0)), lower(length));
  return {
    x,
    b,
    c,
    rate,
    slope,
    a,
    added: mul(rate, x),
    between,
    fromBefore: exp(sums),
    toEnd: exp(sub(last, sums)),
    kept: exp(last),
  };
};
type Parts = ReturnType<typeof partsOf>;

/** The state after a chunk, [heads, stateDim, headDim]. */
const stateAfter = ({ b, added, toEnd, kept }: Parts, before: Tensor): Tensor =>
  add(mul(kept, before), matMul(mul(toEnd, b), added, true, false));

export const RxStateSpaceScan = namedOp(
  'RxStateSpaceScan',
  (
    { state, ...inputs }: ScanInputs & { readonly state?: Tensor | undefined },
    { keepsState, ...attrs }: ScanAttrs & { readonly keepsState: boolean },
  ): ReadonlyArray<Tensor> => {
    const { cuSeqlens, heads, headDim, stateDim } = attrs;
    const outputs: Tensor[] = [];
    const states: Tensor[] = [];
    for (let d = 0; d + 1 < cuSeqlens.length; d++) {
      const [from = 0, to = 0] = cuSeqlens.subarray(d, d + 2);
      let h =
        state === undefined
          ? zeros([heads, stateDim, headDim])
          : reshape(slice(state, [d * heads * stateDim, 0], [heads * stateDim, headDim]), [heads, stateDim, headDim]);
      for (const chunk of chunksOf(from, to)) {
        const parts = partsOf(inputs, chunk, attrs);
        const weights = mul(matMul(parts.c, parts.b, false, true), parts.between);
        const own = add(matMul(weights, parts.added), mul(each(inputs.skip), parts.x));
        outputs.push(rowsFirst(add(own, mul(parts.fromBefore, matMul(parts.c, h)))));
        h = stateAfter(parts, h);
      }
      if (keepsState) states.push(reshape(h, [heads * stateDim, headDim]));
    }
    const y = outputs.length === 0 ? zeros([0, heads * headDim]) : concat(outputs, 0);
    return keepsState ? [y, concat(states, 0)] : [y];
  },
);

/** y [N, heads · headDim], and where it `keepsState` the states after each document, [D · heads · stateDim, headDim]. */
export const stateSpaceScan = (
  inputs: ScanInputs & {
    /** What each document begins with, as the states after it lie. Absent: zeros. */
    readonly state?: Tensor | undefined;
  },
  attrs: ScanAttrs & { readonly keepsState: boolean },
): { readonly y: Tensor; readonly state?: Tensor | undefined } => {
  const [y, state] = RxStateSpaceScan.run(inputs, attrs) as readonly [Tensor, Tensor?];
  return { y, state };
};

/** Gradients of a chunk and of the state before it, from those of its outputs and of the state after it. */
const chunkBack = (
  { x, b, c, rate, slope, a, added, between, fromBefore, toEnd, kept }: Parts,
  { dy, before, dAfter, skip }: { dy: Tensor; before: Tensor; dAfter: Tensor; skip: Tensor },
) => {
  const products = matMul(c, b, false, true);
  const weights = mul(products, between);
  const dWeights = matMul(dy, added, false, true);
  const dProducts = mul(dWeights, between);
  const flows = mul(dWeights, weights);
  const ofEnd = mul(toEnd, matMul(b, dAfter));
  const dAdded = add(matMul(weights, dy, true, false), ofEnd);
  const ofBefore = mul(fromBefore, matMul(dy, before, false, true));
  const left = sum(mul(ofEnd, added), 2, true);
  // All that goes past a token, each at its own gradient: differences of large sums would keep few digits.
  const through = mul(kept, sum(mul(dAfter, before), [1, 2], true));
  const within = add(passing(flows), running(sum(mul(ofBefore, c), 2, true), true));
  const dDecay = add(add(within, sub(running(left, false), left)), through);
  const dRate = add(mul(a, dDecay), sum(mul(dAdded, x), 2, true));
  return {
    dx: add(mul(rate, dAdded), mul(each(skip), dy)),
    db: add(matMul(dProducts, c, true, false), mul(toEnd, matMul(added, dAfter, false, true))),
    dc: add(matMul(dProducts, b), ofBefore),
    dDt: mul(dRate, slope),
    dALog: sum(mul(mul(dDecay, rate), a), [1, 2]),
    dSkip: sum(mul(dy, x), [1, 2]),
    dBefore: add(mul(kept, dAfter), matMul(mul(fromBefore, c), dy, true, false)),
  };
};

const totalOf = (parts: ReadonlyArray<Tensor>, like: Tensor): Tensor =>
  parts.reduce((a, b) => add(a, b), zeros(like.shape));

export const RxStateSpaceScanGrad = namedOp(
  'RxStateSpaceScanGrad',
  (
    { dy, ...inputs }: ScanInputs & { readonly dy: Tensor },
    attrs: ScanAttrs,
  ): readonly [Tensor, Tensor, Tensor, Tensor, Tensor] => {
    const { cuSeqlens, heads, headDim, groups, stateDim } = attrs;
    const rows: Array<readonly [dXbc: Tensor, dDt: Tensor]> = [];
    const sums: Array<readonly [dALog: Tensor, dSkip: Tensor, dBias: Tensor]> = [];
    for (let d = 0; d + 1 < cuSeqlens.length; d++) {
      const [from = 0, to = 0] = cuSeqlens.subarray(d, d + 2);
      let h = zeros([heads, stateDim, headDim]);
      const steps = chunksOf(from, to).map((chunk) => {
        const parts = partsOf(inputs, chunk, attrs);
        const before = h;
        h = stateAfter(parts, before);
        return { chunk, parts, before };
      });
      let dAfter = zeros([heads, stateDim, headDim]);
      const back = steps.toReversed().map(({ chunk, parts, before }) => {
        const dOut = headsFirst(dy, chunk, 0, heads, headDim);
        const { dx, db, dc, dDt, dALog, dSkip, dBefore } = chunkBack(parts, {
          dy: dOut,
          before,
          dAfter,
          skip: inputs.skip,
        });
        dAfter = dBefore;
        sums.push([dALog, dSkip, sum(dDt, [1, 2])]);
        return [concat([dx, gathered(db, groups), gathered(dc, groups)].map(rowsFirst), 1), rowsFirst(dDt)] as const;
      });
      rows.push(...back.toReversed());
    }
    const stacked = (parts: ReadonlyArray<Tensor>, like: Tensor): Tensor =>
      parts.length === 0 ? clone(like) : concat([...parts], 0);
    return [
      stacked(
        rows.map(([dXbc]) => dXbc),
        inputs.xbc,
      ),
      stacked(
        rows.map(([, dDt]) => dDt),
        inputs.dt,
      ),
      totalOf(
        sums.map(([dALog]) => dALog),
        inputs.aLog,
      ),
      totalOf(
        sums.map(([, dSkip]) => dSkip),
        inputs.skip,
      ),
      totalOf(
        sums.map(([, , dBias]) => dBias),
        inputs.dtBias,
      ),
    ];
  },
);

/** Gradients of what begins with no state, from that of y. */
export const stateSpaceScanGrad = (
  inputs: ScanInputs & { readonly dy: Tensor },
  attrs: ScanAttrs,
): Readonly<Record<'dXbc' | 'dDt' | 'dALog' | 'dSkip' | 'dDtBias', Tensor>> => {
  const [dXbc, dDt, dALog, dSkip, dDtBias] = RxStateSpaceScanGrad.run(inputs, attrs);
  return { dXbc, dDt, dALog, dSkip, dDtBias };
};
