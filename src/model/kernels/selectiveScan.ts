/**
 * The selective scan of Mamba (Gu & Dao 2023, arXiv 2312.00752). Each channel has a state h [stateDim] that decays, is added to and is read
 * by every token: h ← e^(rate·a) ⊙ h + rate·x·b, y = c·h + D·x, with rate = log(1 + e^dt) and a = -e^aLog of the channel. All channels of
 * a token share b and c.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, concat, exp, matMul, mul, reshape, sigmoid, slice, sum, tidy, zeros } from '../../tfjs.js';
import { namedOp } from './namedOp.js';
import { softplus } from './softplus.js';

export interface SelectiveInputs {
  /** [N, channels] */
  readonly x: Tensor;
  /** [N, channels] */
  readonly dt: Tensor;
  /** [N, stateDim] */
  readonly b: Tensor;
  /** [N, stateDim] */
  readonly c: Tensor;
  /** [channels, stateDim] */
  readonly aLog: Tensor;
  /** [channels] D. */
  readonly skip: Tensor;
}

export interface SelectiveAttrs {
  /** [D + 1] Borders of documents: no state crosses them. */
  readonly cuSeqlens: Int32Array;
}

/** [channels, 1] */
const column = (x: Tensor, t: number): Tensor => {
  const { shape } = x;
  return reshape(slice(x, [t, 0], [1, shape[1] ?? 0]), [-1, 1]);
};

/** [1, stateDim] */
const row = (x: Tensor, t: number): Tensor => slice(x, [t, 0], [1, x.shape[1] ?? 0]);

/** What both directions read, with what follows for all tokens at once. */
const prepared = ({ x, dt, b, c, aLog, skip }: SelectiveInputs) => ({
  x,
  b,
  c,
  rate: softplus(dt),
  a: mul(exp(aLog), -1),
  skip: reshape(skip, [-1, 1]),
});
type Prepared = ReturnType<typeof prepared>;

/** What of a state stays at a token, [channels, stateDim]. */
const keptAt = ({ rate, a }: Prepared, t: number): Tensor => exp(mul(column(rate, t), a));

const stateAfter = (all: Prepared, t: number, before: Tensor): Tensor =>
  tidy(() => {
    const added = mul(mul(column(all.rate, t), column(all.x, t)), row(all.b, t));
    return add(mul(keptAt(all, t), before), added);
  });

export const RxSelectiveScan = namedOp(
  'RxSelectiveScan',
  (
    { state, ...inputs }: SelectiveInputs & { readonly state?: Tensor | undefined },
    { cuSeqlens, keepsState }: SelectiveAttrs & { readonly keepsState: boolean },
  ): ReadonlyArray<Tensor> => {
    const [channels = 0, stateDim = 0] = inputs.aLog.shape;
    const all = prepared(inputs);
    const outputs: Tensor[] = [];
    const states: Tensor[] = [];
    for (let d = 0; d + 1 < cuSeqlens.length; d++) {
      const [from = 0, to = 0] = cuSeqlens.subarray(d, d + 2);
      let h = state === undefined ? zeros([channels, stateDim]) : slice(state, [d * channels, 0], [channels, stateDim]);
      for (let t = from; t < to; t++) {
        const before = h;
        const after = stateAfter(all, t, before);
        before.dispose();
        h = after;
        const y = tidy(() => add(matMul(after, row(all.c, t), false, true), mul(all.skip, column(all.x, t))));
        outputs.push(reshape(y, [1, channels]));
      }
      states.push(h);
    }
    const y = outputs.length === 0 ? zeros([0, channels]) : concat(outputs, 0);
    return keepsState ? [y, concat(states, 0)] : [y];
  },
);

/** y [N, channels], and where it `keepsState` the states after each document, [D · channels, stateDim]. */
export const selectiveScan = (
  inputs: SelectiveInputs & {
    /** What each document begins with, as the states after it lie. Absent: zeros. */
    readonly state?: Tensor | undefined;
  },
  attrs: SelectiveAttrs & { readonly keepsState: boolean },
): { readonly y: Tensor; readonly state?: Tensor | undefined } => {
  const [y, state] = RxSelectiveScan.run(inputs, attrs) as readonly [Tensor, Tensor?];
  return { y, state };
};

/**
 * Gradients of a token, and of the state before it, from those of its output and of the state after it. With g what reaches the state
 * after it: da = rate·(g ⊙ kept ⊙ before), d(rate) = Σ a ⊙ g ⊙ kept ⊙ before + x·(g·b), d(before) = kept ⊙ g.
 */
const tokenBack = (
  all: Prepared,
  t: number,
  { dy, before, after, dAfter }: { dy: Tensor; before: Tensor; after: Tensor; dAfter: Tensor },
) => {
  const [up, x, rate] = [column(dy, t), column(all.x, t), column(all.rate, t)];
  const g = add(dAfter, mul(up, row(all.c, t)));
  const dKept = mul(keptAt(all, t), g);
  const decayed = mul(dKept, before);
  const read = matMul(g, row(all.b, t), false, true);
  return {
    dx: reshape(add(mul(rate, read), mul(all.skip, up)), [1, -1]),
    dRate: reshape(add(sum(mul(decayed, all.a), 1, true), mul(x, read)), [1, -1]),
    db: matMul(mul(rate, x), g, true, false),
    dc: matMul(up, after, true, false),
    da: mul(decayed, rate),
    dSkip: mul(up, x),
    dBefore: dKept,
  };
};

const rowsOf = (parts: ReadonlyArray<Tensor>, like: Tensor): Tensor =>
  parts.length === 0 ? zeros(like.shape) : concat([...parts], 0);

export const RxSelectiveScanGrad = namedOp(
  'RxSelectiveScanGrad',
  (
    { dy, ...inputs }: SelectiveInputs & { readonly dy: Tensor },
    { cuSeqlens }: SelectiveAttrs,
  ): readonly [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] => {
    const [channels = 0, stateDim = 0] = inputs.aLog.shape;
    const all = prepared(inputs);
    const tokens: Array<Pick<ReturnType<typeof tokenBack>, 'dx' | 'dRate' | 'db' | 'dc'>> = [];
    let [dA, dSkip] = [zeros([channels, stateDim]), zeros([channels, 1])];
    for (let d = 0; d + 1 < cuSeqlens.length; d++) {
      const [from = 0, to = 0] = cuSeqlens.subarray(d, d + 2);
      let h: Tensor = zeros([channels, stateDim]);
      const states = [h];
      for (let t = from; t < to; t++) {
        h = stateAfter(all, t, h);
        states.push(h);
      }
      let dAfter: Tensor = zeros([channels, stateDim]);
      const back: typeof tokens = [];
      for (let t = to - 1; t >= from; t--) {
        const [before, after] = states.slice(t - from) as [Tensor, Tensor];
        const own = tidy(() => {
          const { da, dSkip: dOwn, ...parts } = tokenBack(all, t, { dy, before, after, dAfter });
          return { ...parts, da: add(dA, da), dSkip: add(dSkip, dOwn) };
        });
        for (const used of [after, dAfter, dA, dSkip]) used.dispose();
        dAfter = own.dBefore;
        [dA, dSkip] = [own.da, own.dSkip];
        back.push(own);
      }
      tokens.push(...back.reverse());
    }
    const gathered = (name: keyof (typeof tokens)[number], like: Tensor): Tensor =>
      rowsOf(
        tokens.map((token) => token[name]),
        like,
      );
    return [
      gathered('dx', inputs.x),
      mul(gathered('dRate', inputs.dt), sigmoid(inputs.dt)),
      gathered('db', inputs.b),
      gathered('dc', inputs.c),
      mul(dA, all.a),
      reshape(dSkip, [channels]),
    ];
  },
);

/** Gradients of what begins with no state, from that of y. */
export const selectiveScanGrad = (
  inputs: SelectiveInputs & { readonly dy: Tensor },
  attrs: SelectiveAttrs,
): Readonly<Record<'dx' | 'dDt' | 'db' | 'dc' | 'dALog' | 'dSkip', Tensor>> => {
  const [dx, dDt, db, dc, dALog, dSkip] = RxSelectiveScanGrad.run(inputs, attrs);
  return { dx, dDt, db, dc, dALog, dSkip };
};
