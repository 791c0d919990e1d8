/**
 * Random calls of every named op that has a gradient, each with what it computes in plain differentiable tfjs ops written from
 * the formula and not from the op's own definition. Any backend's kernels can be held against them.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { activation, activationGrad } from '../../src/model/kernels/activation.js';
import type { ActivationKind } from '../../src/model/kernels/activation.js';
import { attention, attentionGrad, sinksGrad } from '../../src/model/kernels/attention.js';
import { causalConv, causalConvGrad } from '../../src/model/kernels/causalConv.js';
import { clampedGate, clampedGateGrad } from '../../src/model/kernels/clampedGate.js';
import { concatColumns, splitColumns } from '../../src/model/kernels/columns.js';
import { combineRows, combineRowsGrad } from '../../src/model/kernels/combineRows.js';
import type { Combination } from '../../src/model/kernels/combineRows.js';
import { embedding, embeddingGrad } from '../../src/model/kernels/embedding.js';
import {
  groupedColumnSum,
  groupedLinear,
  groupedLinearGradInput,
  groupedLinearGradWeight,
} from '../../src/model/kernels/groupedLinear.js';
import {
  groupedLoraDown,
  groupedLoraDownGrad,
  groupedLoraGradInput,
  groupedLoraUp,
  groupedLoraUpGrad,
} from '../../src/model/kernels/groupedLora.js';
import { gatedActivation, gatedActivationGrad } from '../../src/model/kernels/gatedActivation.js';
import { gatedDeltaRule, gatedDeltaRuleGrad } from '../../src/model/kernels/gatedDeltaRule.js';
import { gatherRows, scatterRows } from '../../src/model/kernels/gatherRows.js';
import { latentHeads, latentHeadsGrad } from '../../src/model/kernels/latentHeads.js';
import { layerNorm, layerNormGrad } from '../../src/model/kernels/layerNorm.js';
import { columnSum, linear, linearGradInput, linearGradWeight } from '../../src/model/kernels/linear.js';
import { linearCrossEntropy } from '../../src/model/kernels/linearCrossEntropy.js';
import { loraLinear, loraLinearGrad } from '../../src/model/kernels/loraLinear.js';
import { rmsNorm, rmsNormGrad } from '../../src/model/kernels/rmsNorm.js';
import { rope } from '../../src/model/kernels/rope.js';
import { selectiveScan, selectiveScanGrad } from '../../src/model/kernels/selectiveScan.js';
import { stateSpaceScan, stateSpaceScanGrad } from '../../src/model/kernels/stateSpaceScan.js';
import { xielu, xieluGrad } from '../../src/model/kernels/xielu.js';
import { random } from '../../src/seed.js';

/** Normal values of a shape, the same for the same seed. */
export const values = (seed: number, shape: ReadonlyArray<number>): Float32Array => {
  const { normal } = random(seed, 'init');
  return Float32Array.from({ length: shape.reduce((size, n) => size * n, 1) }, normal);
};

/** One call: how its inputs are shaped, what it computes, and how its gradient kernels are reached. */
export interface OpCall {
  readonly seed: number;
  readonly shapes: ReadonlyArray<ReadonlyArray<number>>;
  /** The op's value. */
  readonly forward: (...inputs: ReadonlyArray<Tensor>) => Tensor;
  /** The same from the formula, differentiable by the tape. */
  readonly formula: (...inputs: ReadonlyArray<Tensor>) => Tensor;
  /** Gradients of all inputs from that of the value. */
  readonly backward: (dy: Tensor, ...inputs: ReadonlyArray<Tensor>) => ReadonlyArray<Tensor>;
  /** The value is not smooth, or the gradient holds something constant: no finite differences. */
  readonly rough?: boolean;
}

/** [ids, width] with a 1 in each row at its id; tfjs's oneHot refuses a width of 1. */
const oneHot = (ids: Int32Array, width: number): Tensor =>
  tf.tensor2d(
    Float32Array.from({ length: ids.length * width }, (_, at) => (ids[Math.floor(at / width)] === at % width ? 1 : 0)),
    [ids.length, width],
  );

type Six = readonly [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];

const size = (max = 5): fc.Arbitrary<number> => fc.integer({ min: 1, max });
const seed = fc.integer({ min: 0, max: 1 << 20 });
const given = (tensor: Tensor | undefined): Tensor => {
  if (tensor === undefined) throw new Error('the op returned no such gradient');
  return tensor;
};
const ints = (from: number, count: number, below: number): Int32Array => {
  const source = random(from, 'sample');
  return Int32Array.from({ length: count }, () => source.below(below));
};

/** Borders of documents of these lengths, laid end to end. */
const bordersOf = (lengths: ReadonlyArray<number>): Int32Array =>
  Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b, 0))]);

/** The numbers below `count`, each once, in an order of the seed's. */
export const permutation = (from: number, count: number): Int32Array => {
  const { uniform } = random(from, 'sample');
  const lots = Array.from({ length: count }, uniform);
  return Int32Array.from(lots.keys()).sort((a, b) => (lots[a] ?? 0) - (lots[b] ?? 0));
};

const embeddings = fc.record({ seed, n: size(7), v: size(), c: size() }).map(({ seed: s, n, v, c }): OpCall => {
  const ids = ints(s, n, v);
  return {
    seed: s,
    shapes: [[v, c]],
    forward: (table) => embedding(given(table), ids),
    formula: (table) => tf.matMul(oneHot(ids, v), given(table)),
    backward: (dy) => [embeddingGrad(dy, ids, v)],
  };
});

const linears = fc.record({ seed, n: size(), i: size(), o: size(), transposed: fc.boolean() }).map(
  ({ seed: s, n, i, o, transposed }): OpCall => ({
    seed: s,
    shapes: [[n, i], transposed ? [i, o] : [o, i], [o]],
    forward: (...inputs) => {
      const [x, w, bias] = inputs as unknown as Six;
      return linear(x, w, bias, { transposed });
    },
    formula: (...inputs) => {
      const [x, w, bias] = inputs as unknown as Six;
      return tf.add(tf.matMul(x, transposed ? w : tf.transpose(w)), bias);
    },
    backward: (dy, ...inputs) => {
      const [x, w] = inputs as unknown as Six;
      return [
        linearGradInput(dy, w, undefined, { transposed }),
        linearGradWeight(x, dy, { transposed }),
        columnSum(dy),
      ];
    },
  }),
);

const loraLinears = fc
  .record({
    seed,
    n: size(),
    i: size(),
    o: size(),
    r: size(3),
    transposed: fc.boolean(),
    dropped: fc.boolean(),
    added: fc.boolean(),
  })
  .map(({ seed: s, n, i, o, r, transposed, dropped, added }): OpCall => {
    const attrs = { transposed, scaling: 0.7 };
    return {
      seed: s,
      shapes: [[n, i], transposed ? [i, o] : [o, i], [o], [r, i], [o, r], [n, i]],
      forward: (...inputs) => {
        const [x, w, bias, a, b, xDropped] = inputs as unknown as Six;
        return loraLinear({ x, w, bias, a, b, xDropped: dropped ? xDropped : undefined }, attrs).y;
      },
      formula: (...inputs) => {
        const [x, w, bias, a, b, xDropped] = inputs as unknown as Six;
        const base = tf.add(tf.matMul(x, transposed ? w : tf.transpose(w)), bias);
        const read = dropped ? xDropped : tf.add(x, tf.mul(xDropped, 0));
        return tf.add(base, tf.mul(tf.matMul(tf.matMul(read, tf.transpose(a)), tf.transpose(b)), 0.7));
      },
      backward: (dy, ...inputs) => {
        const [x, w, bias, a, b, xDropped] = inputs as unknown as Six;
        const read = dropped ? xDropped : x;
        const { u } = loraLinear({ x, w, bias, a, b, xDropped: dropped ? xDropped : undefined }, attrs);
        const { dx, dA, dB, dxDropped } = loraLinearGrad(
          { dy, x: read, w, a, b, u, accumulate: added ? x : undefined },
          { ...attrs, needInput: true, dropped },
        );
        const dW = linearGradWeight(x, dy, { transposed });
        return [added ? tf.sub(given(dx), x) : given(dx), dW, columnSum(dy), dA, dB, dxDropped ?? tf.zeros([n, i])];
      },
    };
  });

const layerNorms = fc.record({ seed, n: size(), c: fc.integer({ min: 2, max: 6 }), residual: fc.boolean() }).map(
  ({ seed: s, n, c, residual }): OpCall => ({
    seed: s,
    shapes: [[n, c], [c], [c]],
    forward: (...inputs) => {
      const [x, gain, bias] = inputs as unknown as Six;
      const { y } = layerNorm(x, gain, bias, { eps: 1e-2 });
      return residual ? tf.add(y, x) : y;
    },
    formula: (...inputs) => {
      const [x, gain, bias] = inputs as unknown as Six;
      const centred = tf.sub(x, tf.mean(x, 1, true));
      const deviation = tf.sqrt(tf.add(tf.mean(tf.square(centred), 1, true), 1e-2));
      const y = tf.add(tf.mul(tf.div(centred, deviation), gain), bias);
      return residual ? tf.add(y, x) : y;
    },
    backward: (dy, ...inputs) => {
      const [x, gain, bias] = inputs as unknown as Six;
      const { mean, rstd } = layerNorm(x, gain, bias, { eps: 1e-2 });
      const grads = layerNormGrad(
        { dy, x, gain, mean, rstd, dResidual: residual ? dy : undefined },
        { hasBias: true, needWeights: true },
      );
      return [grads.dx, given(grads.dGain), given(grads.dBias)];
    },
  }),
);

const rmsNorms = fc.record({ seed, n: size(), c: size(6), residual: fc.boolean(), offset: fc.constantFrom(0, 1) }).map(
  ({ seed: s, n, c, residual, offset }): OpCall => ({
    seed: s,
    shapes: [[n, c], [c]],
    forward: (...inputs) => {
      const [x, gain] = inputs as unknown as Six;
      const { y } = rmsNorm(x, gain, { eps: 1e-2, offset });
      return residual ? tf.add(y, x) : y;
    },
    formula: (...inputs) => {
      const [x, gain] = inputs as unknown as Six;
      const y = tf.mul(tf.div(x, tf.sqrt(tf.add(tf.mean(tf.square(x), 1, true), 1e-2))), tf.add(gain, offset));
      return residual ? tf.add(y, x) : y;
    },
    backward: (dy, ...inputs) => {
      const [x, gain] = inputs as unknown as Six;
      const { rstd } = rmsNorm(x, gain, { eps: 1e-2, offset });
      const grads = rmsNormGrad(
        { dy, x, gain, rstd, dResidual: residual ? dy : undefined },
        { offset, needWeights: true },
      );
      return [grads.dx, given(grads.dGain)];
    },
  }),
);

interface Pairs {
  readonly headDim: number;
  readonly half: number;
  readonly interleaved: boolean;
}

/** Pair (i, i + half) of a head of x turns by angle i, or (2i, 2i + 1): by plain ops, of which the tape has gradients on every engine. */
const rotated = (x: Tensor, cos: Tensor, sin: Tensor, { headDim, half, interleaved }: Pairs): Tensor => {
  const columns = tf.unstack(x, 1);
  const c = tf.unstack(cos, 1);
  const t = tf.unstack(sin, 1);
  const turned = columns.map((column, j) => {
    const d = j % headDim;
    if (d >= 2 * half) return column;
    const isFirst = interleaved ? d % 2 === 0 : d < half;
    const pair = interleaved ? d >> 1 : d % half;
    const other = given(columns[j + (isFirst ? 1 : -1) * (interleaved ? 1 : half)]);
    const along = tf.mul(column, given(c[pair]));
    const across = tf.mul(other, given(t[pair]));
    return isFirst ? tf.sub(along, across) : tf.add(along, across);
  });
  return tf.stack(turned, 1);
};

const ropes = fc
  .record({ seed, n: size(), heads: size(3), half: size(3), rest: fc.constantFrom(0, 1, 2), interleaved: fc.boolean() })
  .map(({ seed: s, n, heads, half, rest, interleaved }): OpCall => {
    const headDim = 2 * half + rest;
    const angles = values(s + 1, [n, half]);
    const cos = (): Tensor => tf.tensor2d(angles.map(Math.cos), [n, half]);
    const sin = (): Tensor => tf.tensor2d(angles.map(Math.sin), [n, half]);
    const attrs = { heads, headDim, rotaryDim: 2 * half, interleaved };
    return {
      seed: s,
      shapes: [[n, heads * headDim]],
      forward: (x) => rope({ x: given(x), cos: cos(), sin: sin() }, { ...attrs, inverse: false }),
      formula: (x) => rotated(given(x), cos(), sin(), { headDim, half, interleaved }),
      backward: (dy) => [rope({ x: dy, cos: cos(), sin: sin() }, { ...attrs, inverse: true })],
    };
  });

const latents = fc
  .record({
    seed,
    n: size(3),
    heads: size(3),
    nopeDim: size(3),
    half: size(2),
    valueDim: size(4),
    interleaved: fc.boolean(),
  })
  .map(({ seed: s, n, heads, nopeDim, half, valueDim, interleaved }): OpCall => {
    const ropeDim = 2 * half;
    const [width, both] = [nopeDim + ropeDim, nopeDim + valueDim];
    const angles = values(s + 1, [n, half]);
    const cos = (): Tensor => tf.tensor2d(angles.map(Math.cos), [n, half]);
    const sin = (): Tensor => tf.tensor2d(angles.map(Math.sin), [n, half]);
    const attrs = { heads, nopeDim, ropeDim, valueDim, interleaved };
    const sizes = [heads * width, heads * width, heads * valueDim];
    return {
      seed: s,
      shapes: [
        [n, heads * width],
        [n, heads * both],
        [n, ropeDim],
      ],
      forward: (...inputs) => {
        const [q, kv, shared] = inputs as unknown as Six;
        const made = latentHeads({ q, kv, shared, cos: cos(), sin: sin() }, attrs);
        return concatColumns([made.q, made.k, made.v]);
      },
      formula: (...inputs) => {
        const [q, kv, shared] = inputs as unknown as Six;
        const part = (x: Tensor, from: number, columns: number): Tensor => tf.slice(x, [0, from], [n, columns]);
        const turned = (x: Tensor): Tensor => rotated(x, cos(), sin(), { headDim: ropeDim, half, interleaved });
        const each = (of: (h: number) => ReadonlyArray<Tensor>): ReadonlyArray<Tensor> =>
          Array.from({ length: heads }, (_, h) => of(h)).flat();
        return tf.concat(
          [
            ...each((h) => [part(q, h * width, nopeDim), turned(part(q, h * width + nopeDim, ropeDim))]),
            ...each((h) => [part(kv, h * both, nopeDim), turned(shared)]),
            ...each((h) => [part(kv, h * both + nopeDim, valueDim)]),
          ],
          1,
        );
      },
      backward: (dy) => {
        const [dq, dk, dv] = splitColumns(dy, sizes) as unknown as Six;
        const back = latentHeadsGrad({ dq, dk, dv, cos: cos(), sin: sin() }, attrs);
        return [back.dq, back.dKv, back.dShared];
      },
    };
  });

const attentions = fc
  .record({
    seed,
    lengths: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 3 }),
    kvHeads: size(2),
    group: size(2),
    headDim: size(4),
    narrow: fc.boolean(),
    window: fc.constantFrom(0, 0, 1, 3),
    softcap: fc.constantFrom(undefined, 0.7, 3),
    sunk: fc.boolean(),
    alibi: fc.constantFrom(undefined, 0.5),
  })
  .filter(({ lengths }) => lengths.some((length) => length > 0))
  .map(({ seed: s, lengths, kvHeads, group, headDim, narrow, window, softcap, sunk, alibi }): OpCall => {
    const heads = kvHeads * group;
    const valueDim = narrow ? Math.ceil(headDim / 2) : headDim;
    const cuSeqlens = bordersOf(lengths);
    const n = cuSeqlens[lengths.length] ?? 0;
    const attrs = { cuSeqlens, heads, kvHeads, headDim, valueDim, scale: 0.6, window, softcap, alibi };
    const documentOf = (i: number): number => cuSeqlens.findIndex((end, d) => d > 0 && i < end);
    const mask = tf.keep(
      tf.tensor2d(
        Float32Array.from({ length: n * n }, (_, at) => {
          const i = Math.floor(at / n);
          const j = at % n;
          const near = window === 0 || j > i - window;
          return j <= i && near && documentOf(i) === documentOf(j) ? 0 : -1e9;
        }),
        [n, n],
      ),
    );
    const head = (x: Tensor, h: number, width = headDim): Tensor => tf.slice(x, [0, h * width], [n, width]);
    return {
      seed: s,
      shapes: [[n, heads * headDim], [n, kvHeads * headDim], [n, kvHeads * valueDim], [heads]],
      forward: (...inputs) => {
        const [q, k, v, sinks] = inputs as unknown as Six;
        return attention({ q, k, v, sinks: sunk ? sinks : undefined }, attrs).out;
      },
      formula: (...inputs) => {
        const [q, k, v, sinks] = inputs as unknown as Six;
        const outs = Array.from({ length: heads }, (_, h) => {
          const kv = Math.floor(h / group);
          const plain = tf.mul(tf.matMul(head(q, h), tf.transpose(head(k, kv))), 0.6);
          const bent = softcap === undefined ? plain : tf.mul(tf.tanh(tf.div(plain, softcap)), softcap);
          // Heads are powers of two here: the first has a slope of 2^(-8 / heads), each other one that times the one before.
          const slope = (alibi ?? 0) * 2 ** ((-8 * (h + 1)) / heads);
          const token = tf.range(0, n, 1, 'float32');
          const scores = tf.add(bent, tf.mul(tf.sub(token, tf.reshape(token, [n, 1])), slope));
          // The sink is one more key, of no value.
          const sink = tf.add(tf.zeros([n, 1]), tf.add(tf.slice(sinks, [h], [1]), sunk ? 0 : -1e9));
          const weights = tf.softmax(tf.concat([tf.add(scores, mask), sink], 1));
          return tf.matMul(tf.slice(weights, [0, 0], [n, n]), head(v, kv, valueDim));
        });
        return tf.concat(outs, 1);
      },
      backward: (dOut, ...inputs) => {
        const [q, k, v, some] = inputs as unknown as Six;
        const sinks = sunk ? some : undefined;
        const { out, lse } = attention({ q, k, v, sinks }, attrs);
        const { dq, dk, dv } = attentionGrad({ q, k, v, out, lse, dOut }, attrs);
        return [dq, dk, dv, sinks === undefined ? tf.zeros([heads]) : sinksGrad({ sinks, out, lse, dOut }, attrs)];
      },
    };
  });

const convolutions = fc
  .record({
    seed,
    lengths: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 3 }),
    c: size(),
    taps: size(4),
    silu: fc.boolean(),
    gated: fc.boolean(),
    biased: fc.boolean(),
  })
  .filter(({ lengths }) => lengths.some((length) => length > 0))
  .map(({ seed: s, lengths, c, taps, silu, gated, biased }): OpCall => {
    const attrs = { cuSeqlens: bordersOf(lengths), silu, gated };
    const n = attrs.cuSeqlens[lengths.length] ?? 0;
    const documentOf = (t: number): number => attrs.cuSeqlens.findIndex((end, d) => d > 0 && t < end);
    return {
      seed: s,
      shapes: [[n, gated ? 3 * c : c], [c, 1, taps], [c]],
      forward: (...inputs) => {
        const [x, weight, bias] = inputs as unknown as Six;
        return causalConv({ x, weight, bias: biased ? bias : undefined }, attrs);
      },
      formula: (...inputs) => {
        const [x, weight, bias] = inputs as unknown as Six;
        const [before, after, inner] = gated ? tf.split(x, 3, 1) : [tf.scalar(1), tf.scalar(1), x];
        const read = tf.mul(given(before), given(inner));
        // A matrix for each tap: row t reads row t - back where that is in its document.
        const products = Array.from({ length: taps }, (_, back) => {
          const reads = Float32Array.from({ length: n * n }, (_one, at) => {
            const t = Math.floor(at / n);
            return t - (at % n) === back && documentOf(t) === documentOf(at % n) ? 1 : 0;
          });
          const factors = tf.reshape(tf.slice(weight, [0, 0, taps - 1 - back], [c, 1, 1]), [c]);
          return tf.mul(tf.matMul(tf.tensor2d(reads, [n, n]), read), factors);
        });
        const y = products.reduce((a, b) => tf.add(a, b), tf.mul(bias, biased ? 1 : 0));
        return tf.mul(silu ? activationFormula(y, 'silu') : y, given(after));
      },
      backward: (dy, ...inputs) => {
        const [x, weight, bias] = inputs as unknown as Six;
        const { dx, dWeight, dBias } = causalConvGrad(
          { dy, x, weight, bias: biased ? bias : undefined },
          { ...attrs, needWeights: true },
        );
        return [dx, given(dWeight), dBias ?? tf.zeros([c])];
      },
    };
  });

const scans = fc
  .record({
    seed,
    // The last is longer than a chunk.
    lengths: fc.oneof(
      { arbitrary: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 3 }), weight: 3 },
      { arbitrary: fc.constant<ReadonlyArray<number>>([2, 66]), weight: 1 },
    ),
    groups: size(2),
    perGroup: size(2),
    headDim: size(3),
    stateDim: size(3),
    clamped: fc.boolean(),
  })
  .filter(({ lengths }) => lengths.some((length) => length > 0))
  .map(({ seed: s, lengths, groups, perGroup, headDim, stateDim, clamped }): OpCall => {
    const heads = groups * perGroup;
    const [least, most] = clamped ? [0.3, 1.1] : [0, Infinity];
    const attrs = { cuSeqlens: bordersOf(lengths), heads, headDim, groups, stateDim, least, most };
    const n = attrs.cuSeqlens[lengths.length] ?? 0;
    const inputsOf = (inputs: ReadonlyArray<Tensor>) => {
      const [xbc, dt, aLog, skip, dtBias] = inputs as unknown as Six;
      return { xbc, dt, aLog, skip, dtBias };
    };
    return {
      seed: s,
      shapes: [[n, heads * headDim + 2 * groups * stateDim], [n, heads], [heads], [heads], [heads]],
      forward: (...inputs) => stateSpaceScan(inputsOf(inputs), { ...attrs, keepsState: false }).y,
      formula: (...inputs) => {
        // Token by token.
        const { xbc, dt, aLog, skip, dtBias } = inputsOf(inputs);
        const part = (t: number, first: number, width: number): Tensor => tf.slice(xbc, [t, first], [1, width]);
        const rates = tf.clipByValue(tf.softplus(tf.add(dt, dtBias)), least, most);
        const column = (h: number): Tensor => {
          const b = heads * headDim + Math.floor(h / perGroup) * stateDim;
          const ys: Tensor[] = [];
          lengths.forEach((length, d) => {
            let state: Tensor = tf.zeros([stateDim, headDim]);
            for (let t = attrs.cuSeqlens[d] ?? 0, end = t + length; t < end; t++) {
              const rate = tf.slice(rates, [t, h], [1, 1]);
              const kept = tf.exp(tf.mul(tf.neg(tf.exp(tf.slice(aLog, [h], [1]))), rate));
              const x = part(t, h * headDim, headDim);
              const written = tf.matMul(part(t, b, stateDim), tf.mul(rate, x), true);
              state = tf.add(tf.mul(kept, state), written);
              const read = tf.matMul(part(t, b + groups * stateDim, stateDim), state);
              ys.push(tf.add(read, tf.mul(tf.slice(skip, [h], [1]), x)));
            }
          });
          return tf.concat(ys, 0);
        };
        return tf.concat(
          Array.from({ length: heads }, (_, h) => column(h)),
          1,
        );
      },
      backward: (dy, ...inputs) => {
        const { dXbc, dDt, dALog, dSkip, dDtBias } = stateSpaceScanGrad({ dy, ...inputsOf(inputs) }, attrs);
        return [dXbc, dDt, dALog, dSkip, dDtBias];
      },
      rough: clamped,
    };
  });

const selectiveScans = fc
  .record({
    seed,
    lengths: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 3 }),
    channels: size(3),
    stateDim: size(3),
  })
  .filter(({ lengths }) => lengths.some((length) => length > 0))
  .map(({ seed: s, lengths, channels, stateDim }): OpCall => {
    const cuSeqlens = bordersOf(lengths);
    const n = cuSeqlens[lengths.length] ?? 0;
    const inputsOf = (inputs: ReadonlyArray<Tensor>) => {
      const [x, dt, b, c, aLog, skip] = inputs as unknown as Six;
      return { x, dt, b, c, aLog, skip };
    };
    return {
      seed: s,
      shapes: [[n, channels], [n, channels], [n, stateDim], [n, stateDim], [channels, stateDim], [channels]],
      forward: (...inputs) => selectiveScan(inputsOf(inputs), { cuSeqlens, keepsState: false }).y,
      formula: (...inputs) => {
        // What each earlier token of a document has left: no state is carried.
        const { x, dt, b, c, aLog, skip } = inputsOf(inputs);
        const rates = tf.softplus(dt);
        const at = (of: Tensor, t: number): Tensor => tf.slice(of, [t, 0], [1, -1]);
        const rowOf = (t: number, from: number): Tensor => {
          const own = tf.mul(skip, at(x, t));
          const parts = Array.from({ length: t - from + 1 }, (_, i) => {
            // Of a sum over no rows wasm makes what lay there.
            const passed =
              i === t - from ? tf.zeros([channels]) : tf.sum(tf.slice(rates, [from + i + 1, 0], [t - from - i, -1]), 0);
            const left = tf.exp(tf.neg(tf.mul(tf.exp(aLog), tf.reshape(passed, [channels, 1]))));
            const read = tf.matMul(tf.mul(at(b, from + i), at(c, t)), left, false, true);
            return tf.mul(read, tf.mul(at(rates, from + i), at(x, from + i)));
          });
          return tf.addN([own, ...parts]);
        };
        const rows = lengths.flatMap((length, d) => {
          const from = cuSeqlens[d] ?? 0;
          return Array.from({ length }, (_, i) => rowOf(from + i, from));
        });
        return tf.concat(rows, 0);
      },
      backward: (dy, ...inputs) => {
        const { dx, dDt, db, dc, dALog, dSkip } = selectiveScanGrad({ dy, ...inputsOf(inputs) }, { cuSeqlens });
        return [dx, dDt, db, dc, dALog, dSkip];
      },
    };
  });

const deltaRules = fc
  .record({
    seed,
    // The last are as long as a chunk, and longer.
    lengths: fc.oneof(
      { arbitrary: fc.array(fc.constantFrom(0, 1, 2, 5), { minLength: 1, maxLength: 3 }), weight: 3 },
      { arbitrary: fc.constantFrom<ReadonlyArray<number>>([64, 5], [2, 70]), weight: 1 },
    ),
    keyHeads: size(2),
    group: size(2),
    keyDim: size(5),
    valueDim: size(4),
  })
  .filter(({ lengths }) => lengths.some((length) => length > 0))
  .map(({ seed: s, lengths, keyHeads, group, keyDim, valueDim }): OpCall => {
    const valueHeads = keyHeads * group;
    const cuSeqlens = bordersOf(lengths);
    const n = cuSeqlens[lengths.length] ?? 0;
    const attrs = { cuSeqlens, keyHeads, valueHeads, keyDim, valueDim };
    // Of any numbers: a decay ≤ 0, a rate within (0, 1), and what their gradients are multiplied by.
    const decayOf = (x: Tensor): Tensor => tf.mul(tf.square(x), -0.3);
    const rateOf = (x: Tensor): Tensor => tf.sigmoid(x);
    const read = (inputs: ReadonlyArray<Tensor>) => {
      const [qkv, x, y] = inputs as unknown as Six;
      return { qkv, decay: decayOf(x), rate: rateOf(y) };
    };
    const unit = (x: Tensor): Tensor => tf.div(x, tf.sqrt(tf.add(tf.sum(tf.square(x)), 1e-6)));
    return {
      seed: s,
      shapes: [
        [n, 2 * keyHeads * keyDim + valueHeads * valueDim],
        [n, valueHeads],
        [n, valueHeads],
      ],
      forward: (...inputs) => gatedDeltaRule(read(inputs), attrs).out,
      formula: (...inputs) => {
        const { qkv, decay, rate } = read(inputs);
        const part = (i: number, first: number, width: number): Tensor => tf.slice(qkv, [i, first], [1, width]);
        // Token by token, as the rule is written down.
        const outs = Array.from({ length: valueHeads }, (_, h) => {
          const keys = keyDim * Math.floor(h / group);
          let state = tf.zeros([keyDim, valueDim]);
          const rows = Array.from({ length: n }, (__, i) => {
            if (cuSeqlens.includes(i)) state = tf.zeros([keyDim, valueDim]);
            const q = tf.div(unit(part(i, keys, keyDim)), Math.sqrt(keyDim));
            const k = unit(part(i, keyHeads * keyDim + keys, keyDim));
            const v = part(i, 2 * keyHeads * keyDim + h * valueDim, valueDim);
            state = tf.mul(state, tf.exp(tf.slice(decay, [i, h], [1, 1])));
            const missing = tf.mul(tf.sub(v, tf.matMul(k, state)), tf.slice(rate, [i, h], [1, 1]));
            state = tf.add(state, tf.matMul(tf.transpose(k), missing));
            return tf.matMul(q, state);
          });
          return tf.concat(rows, 0);
        });
        return tf.concat(outs, 1);
      },
      backward: (dOut, ...inputs) => {
        const [, x, y] = inputs as unknown as Six;
        const { dQkv, dDecay, dRate } = gatedDeltaRuleGrad({ ...read(inputs), dOut }, attrs);
        const share = rateOf(y);
        return [dQkv, tf.mul(dDecay, tf.mul(x, -0.6)), tf.mul(dRate, tf.mul(share, tf.sub(1, share)))];
      },
      // Among many short vectors one is near 0, where none has a direction.
      rough: keyDim < 4,
    };
  });

const activationFormula = (x: Tensor, kind: ActivationKind): Tensor => {
  switch (kind) {
    case 'relu':
      return tf.maximum(x, 0);
    case 'relu2':
      return tf.pow(tf.maximum(x, 0), 2);
    case 'sigmoid':
      return tf.div(1, tf.add(tf.exp(tf.neg(x)), 1));
    case 'silu':
      return tf.div(x, tf.add(tf.exp(tf.neg(x)), 1));
    case 'quick_gelu':
      return tf.div(x, tf.add(tf.exp(tf.mul(x, -1.702)), 1));
    case 'gelu':
      return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.div(x, Math.SQRT2)), 1));
    case 'gelu_new':
      return tf.mul(
        tf.mul(x, 0.5),
        tf.add(tf.tanh(tf.mul(tf.add(x, tf.mul(tf.pow(x, 3), 0.044715)), Math.sqrt(2 / Math.PI))), 1),
      );
  }
};

const kinds = fc.constantFrom<ActivationKind[]>('gelu', 'gelu_new', 'relu', 'silu', 'quick_gelu', 'relu2', 'sigmoid');

const activations = fc.record({ seed, n: size(), c: size(), kind: kinds }).map(
  ({ seed: s, n, c, kind }): OpCall => ({
    seed: s,
    shapes: [[n, c]],
    forward: (x) => activation(given(x), kind),
    formula: (x) => activationFormula(given(x), kind),
    backward: (dy, x) => [activationGrad(given(x), dy, kind)],
    rough: kind === 'relu',
  }),
);

const xielus = fc.record({ seed, n: size(), c: size() }).map(
  ({ seed: s, n, c }): OpCall => ({
    seed: s,
    shapes: [[n, c], [1], [1]],
    forward: (x, alphaP, alphaN) => xielu({ x: given(x), alphaP: given(alphaP), alphaN: given(alphaN) }),
    formula: (x, alphaP, alphaN) => {
      const above = tf.mul(tf.softplus(given(alphaP)), tf.square(tf.relu(given(x))));
      const curve = tf.sub(tf.expm1(tf.minimum(given(x), -1e-6)), given(x));
      const below = tf.mul(tf.add(tf.softplus(given(alphaN)), 0.5), curve);
      return tf.add(tf.add(above, tf.mul(below, tf.sub(1, tf.step(given(x))))), tf.mul(given(x), 0.5));
    },
    backward: (dy, x, alphaP, alphaN) => {
      const inputs = { x: given(x), alphaP: given(alphaP), alphaN: given(alphaN), dy };
      const { dx, dAlphaP, dAlphaN } = xieluGrad(inputs, true);
      return [dx, given(dAlphaP), given(dAlphaN)];
    },
  }),
);

const clampedGates = fc.record({ seed, n: size(), c: size(), limit: fc.constantFrom(0.4, 1, 7) }).map(
  ({ seed: s, n, c, limit }): OpCall => ({
    seed: s,
    shapes: [
      [n, c],
      [n, c],
    ],
    forward: (gate, up) => clampedGate(given(gate), given(up), limit),
    formula: (gate, up) => {
      const held = tf.clipByValue(given(gate), -Infinity, limit);
      const glu = tf.mul(held, tf.sigmoid(tf.mul(held, 1.702)));
      return tf.mul(glu, tf.add(tf.clipByValue(given(up), -limit, limit), 1));
    },
    backward: (dy, gate, up) => {
      const { dGate, dUp } = clampedGateGrad(given(gate), given(up), dy, limit);
      return [dGate, dUp];
    },
    rough: limit < 7,
  }),
);

const gatedActivations = fc.record({ seed, n: size(), c: size(), kind: kinds }).map(
  ({ seed: s, n, c, kind }): OpCall => ({
    seed: s,
    shapes: [
      [n, c],
      [n, c],
    ],
    forward: (...inputs) => {
      const [gate, up] = inputs as unknown as Six;
      return gatedActivation(gate, up, kind);
    },
    formula: (...inputs) => {
      const [gate, up] = inputs as unknown as Six;
      return tf.mul(activationFormula(gate, kind), up);
    },
    backward: (dy, ...inputs) => {
      const [gate, up] = inputs as unknown as Six;
      const { dGate, dUp } = gatedActivationGrad(gate, up, dy, kind);
      return [dGate, dUp];
    },
    rough: kind === 'relu',
  }),
);

const gathers = fc
  .record({ seed, n: size(6), c: size(), keep: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }) })
  .map(({ seed: s, n, c, keep }): OpCall => {
    const chosen = Array.from({ length: n }, (_, i) => i).filter((i) => keep[i]);
    const rows = Int32Array.from(chosen.length === 0 ? [0] : chosen);
    return {
      seed: s,
      shapes: [[n, c]],
      forward: (x) => gatherRows(given(x), rows),
      formula: (x) => tf.matMul(oneHot(rows, n), given(x)),
      backward: (dy) => [scatterRows(dy, rows, n)],
    };
  });

const combinations = fc
  .record({ seed, n: size(), perRow: size(3), c: size() })
  .map(({ seed: s, n, perRow, c }): OpCall => {
    const places = permutation(s, n * perRow);
    const placed = <A>(run: (attrs: Combination) => A): A => {
      const at = tf.tensor1d(places, 'int32');
      const result = run({ places: at, perRow });
      at.dispose();
      return result;
    };
    return {
      seed: s,
      shapes: [
        [n * perRow, c],
        [n, perRow],
      ],
      forward: (...inputs) => {
        const [x, weights] = inputs as unknown as Six;
        return placed((attrs) => combineRows(x, weights, attrs));
      },
      formula: (...inputs) => {
        const [x, weights] = inputs as unknown as Six;
        const sorted = tf.reshape(tf.matMul(oneHot(places, n * perRow), x), [n, perRow, c]);
        return tf.sum(tf.mul(sorted, tf.reshape(weights, [n, perRow, 1])), 1);
      },
      backward: (dy, ...inputs) => {
        const [x, weights] = inputs as unknown as Six;
        const { dx, dWeights } = placed((attrs) => combineRowsGrad(dy, x, weights, attrs));
        return [dx, dWeights];
      },
    };
  });

const groups = fc
  .record({
    seed,
    i: size(),
    o: size(),
    sizes: fc.array(size(), { minLength: 1, maxLength: 3 }),
    biased: fc.boolean(),
  })
  .map(({ seed: s, i, o, sizes, biased }): OpCall => {
    const count = sizes.length;
    const borders = sizes.map((_, g) => sizes.slice(0, g).reduce((a, b) => a + b, 0));
    const rows = sizes.reduce((a, b) => a + b, 0);
    const parts = (inputs: ReadonlyArray<Tensor>): readonly [Tensor, ReadonlyArray<Tensor>, ReadonlyArray<Tensor>] => [
      given(inputs[0]),
      inputs.slice(1, 1 + count),
      inputs.slice(1 + count),
    ];
    return {
      seed: s,
      shapes: [
        [rows, i],
        ...sizes.map((): [number, number] => [o, i]),
        ...(biased ? sizes.map((): [number] => [o]) : []),
      ],
      forward: (...inputs) => {
        const [x, ws, biases] = parts(inputs);
        return groupedLinear(x, ws, biases, { sizes });
      },
      formula: (...inputs) => {
        const [x, ws, biases] = parts(inputs);
        const ys = sizes.map((size_, g) => {
          const y = tf.matMul(tf.slice(x, [borders[g] ?? 0, 0], [size_, i]), tf.transpose(given(ws[g])));
          return biased ? tf.add(y, given(biases[g])) : y;
        });
        return tf.concat(ys, 0);
      },
      backward: (dy, ...inputs) => {
        const [x, ws, biases] = parts(inputs);
        return [
          groupedLinearGradInput(dy, ws, undefined, { sizes }),
          ...groupedLinearGradWeight(x, dy, { sizes }),
          ...(biases.length > 0 ? groupedColumnSum(dy, { sizes }) : []),
        ];
      },
    };
  });

/** Two maps of groups with adapters that read the same rows; the value is the sum of both. */
const groupsWithAdapters = fc
  .record({
    seed,
    i: size(),
    o: size(),
    ranks: fc.tuple(size(3), size(3)),
    sizes: fc.array(size(), { minLength: 1, maxLength: 3 }),
    scalings: fc.constantFrom([0.5, 2], [1, 1]),
  })
  .map(({ seed: s, i, o, ranks, sizes, scalings }): OpCall => {
    const count = sizes.length;
    const borders = sizes.map((_, g) => sizes.slice(0, g).reduce((a, b) => a + b, 0));
    const rows = sizes.reduce((a, b) => a + b, 0);
    const per = (shape: readonly [number, number]) => sizes.map((): [number, number] => [...shape]);
    const attrs = { sizes, maps: 2 };
    const mapsOf = (inputs: ReadonlyArray<Tensor>) =>
      ranks.map((_, m) => {
        const own = inputs.slice(1 + 3 * m * count, 1 + 3 * (m + 1) * count);
        const [ws, as, bs] = [0, 1, 2].map((part) => own.slice(part * count, (part + 1) * count));
        return { ws: ws ?? [], as: as ?? [], bs: bs ?? [], scaling: scalings[m] ?? 1, first: m === 0 ? 0 : ranks[0] };
      });
    return {
      seed: s,
      shapes: [[rows, i], ...ranks.flatMap((rank) => [...per([o, i]), ...per([rank, i]), ...per([o, rank])])],
      forward: (...inputs) => {
        const [x, maps] = [given(inputs[0]), mapsOf(inputs)];
        const as = maps.flatMap((map) => map.as);
        const u = groupedLoraDown(x, as, attrs);
        const [one, other] = maps.map(({ ws, bs, scaling, first }) =>
          groupedLoraUp({ x, u, ws, bs, biases: [] }, { sizes, scaling, first }),
        );
        return tf.add(given(one), given(other));
      },
      formula: (...inputs) => {
        const [x, maps] = [given(inputs[0]), mapsOf(inputs)];
        const ys = sizes.map((own, g) => {
          const part = tf.slice(x, [borders[g] ?? 0, 0], [own, i]);
          const each = maps.map(({ ws, as, bs, scaling }) =>
            tf.add(
              tf.matMul(part, tf.transpose(given(ws[g]))),
              tf.mul(tf.matMul(tf.matMul(part, tf.transpose(given(as[g]))), tf.transpose(given(bs[g]))), scaling),
            ),
          );
          return tf.add(given(each[0]), given(each[1]));
        });
        return tf.concat(ys, 0);
      },
      backward: (dy, ...inputs) => {
        const [x, maps] = [given(inputs[0]), mapsOf(inputs)];
        const as = maps.flatMap((map) => map.as);
        const u = groupedLoraDown(x, as, attrs);
        const { du, dBs } = groupedLoraUpGrad(
          u,
          maps.map((map) => ({ ...map, dy })),
          { sizes },
        );
        const dAs = groupedLoraDownGrad(x, du, { sizes, ranks });
        const [one, other] = maps.map(({ ws }) => ws);
        const before = groupedLinearGradInput(dy, one ?? [], undefined, { sizes });
        const dx = groupedLoraGradInput({ dy, du, ws: other ?? [], as, accumulate: before }, attrs);
        return [
          dx,
          ...maps.flatMap((_, m) => [
            ...groupedLinearGradWeight(x, dy, { sizes }),
            ...(dAs[m] ?? []),
            ...(dBs[m] ?? []),
          ]),
        ];
      },
    };
  });

const columns = fc.record({ seed, n: size(), sizes: fc.array(size(3), { minLength: 1, maxLength: 3 }) }).map(
  ({ seed: s, n, sizes }): OpCall => ({
    seed: s,
    shapes: sizes.map((width) => [n, width]),
    forward: (...parts) => concatColumns(parts),
    formula: (...parts) =>
      tf.transpose(
        tf.concat(
          parts.map((part) => tf.transpose(part)),
          0,
        ),
      ),
    backward: (dy) => splitColumns(dy, sizes),
  }),
);

const crossEntropies = fc
  .record({
    seed,
    m: size(),
    c: size(),
    v: fc.integer({ min: 2, max: 6 }),
    biased: fc.boolean(),
    labelSmoothing: fc.constantFrom(0, 0.1),
    softcap: fc.constantFrom(undefined, 0.8, 4),
    variant: fc.constantFrom('nll' as const, 'dft' as const),
  })
  .map(({ seed: s, m, c, v, biased, labelSmoothing, softcap, variant }): OpCall => {
    const targets = ints(s, m, v);
    const weights = values(s + 1, [m]).map(Math.abs);
    const attrs = { targets, weights, labelSmoothing, softcap, variant, needWeight: true };
    const wanted = (): Tensor => oneHot(targets, v);
    const nllOf = (h: Tensor, w: Tensor, bias: Tensor): readonly [Tensor, Tensor] => {
      // Not tf.logSoftmax: on wasm tfjs takes one of its outputs for a leak.
      const plain = tf.add(tf.matMul(h, tf.transpose(w)), tf.mul(bias, biased ? 1 : 0));
      const z = softcap === undefined ? plain : tf.mul(tf.tanh(tf.div(plain, softcap)), softcap);
      const logP = tf.sub(z, tf.log(tf.sum(tf.exp(z), 1, true)));
      return [tf.neg(tf.sum(tf.mul(logP, wanted()), 1)), tf.neg(tf.mean(logP, 1))];
    };
    return {
      seed: s,
      shapes: [[m, c], [v, c], [v]],
      forward: (...inputs) => {
        const [h, w, bias] = inputs as unknown as Six;
        return linearCrossEntropy({ h, w, bias: biased ? bias : undefined }, { ...attrs, gradient: false }).total;
      },
      formula: (...inputs) => {
        const [h, w, bias] = inputs as unknown as Six;
        const [nll, uniform] = nllOf(h, w, bias);
        const loss = tf.add(tf.mul(nll, 1 - labelSmoothing), tf.mul(uniform, labelSmoothing));
        // The probability of dft is a constant: taken out of the tape's sight.
        const confidence = variant === 'dft' ? tf.tensor1d(nll.dataSync().map((x) => Math.exp(-x))) : tf.ones([m]);
        return tf.sum(tf.mul(tf.mul(loss, confidence), tf.tensor1d(weights)));
      },
      backward: (dTotal, ...inputs) => {
        const [h, w, bias] = inputs as unknown as Six;
        const { dh, dW, dBias } = linearCrossEntropy(
          { h, w, bias: biased ? bias : undefined },
          { ...attrs, gradient: true },
        );
        return [given(dh), given(dW), dBias ?? tf.zeros([v])].map((gradient) => tf.mul(gradient, dTotal));
      },
      rough: variant === 'dft',
    };
  });

/** Every differentiable op by name. */
export const opCalls = {
  embedding: embeddings,
  linear: linears,
  loraLinear: loraLinears,
  layerNorm: layerNorms,
  rmsNorm: rmsNorms,
  rope: ropes,
  latentHeads: latents,
  attention: attentions,
  causalConv: convolutions,
  gatedDeltaRule: deltaRules,
  stateSpaceScan: scans,
  selectiveScan: selectiveScans,
  activation: activations,
  gatedActivation: gatedActivations,
  clampedGate: clampedGates,
  xielu: xielus,
  gatherRows: gathers,
  combineRows: combinations,
  groupedLinear: groups,
  groupedLora: groupsWithAdapters,
  concatColumns: columns,
  linearCrossEntropy: crossEntropies,
} as const satisfies Readonly<Record<string, fc.Arbitrary<OpCall>>>;
