/** The output head, and the adapter it may carry. */
import { add, div, mul, reshape, sub, sum, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { architectureOf } from './architectures.js';
import { joinColumns } from './columns.js';
import { adaptedNorms } from './dora.js';
import { dropout } from './dropout.js';
import { scaled } from './embedding.js';
import { concatColumns, splitColumns } from './kernels/columns.js';
import { gatherRows } from './kernels/gatherRows.js';
import { compose, fanOut, identity } from './layer.js';
import type { Gradients, Layer, Weights } from './layer.js';
import { linear } from './linear.js';
import { adapterNames, adapterOptions, moduleOf, tokenIndicesOf, tokenRowsName } from './lora.js';
import type { CausalLM } from './model.js';
import type { Pass } from './pass.js';
import { putRows } from './putRows.js';
import { weightOf } from './weights.js';

export interface Head {
  /** What the matrix below multiplies, from the tail's value. */
  readonly input: Layer<Tensor, Tensor>;
  /** [V, C] */
  readonly w: Tensor;
  /** [V] */
  readonly bias: Tensor | undefined;
  readonly weightName: string;
  /** Whether the gradient of `w` is wanted. */
  readonly trains: boolean;
  readonly trainsBias: boolean;
  /** Gradients by name from those of w and bias; consumes them. */
  readonly gradients: (dW: Tensor | undefined, dBias: Tensor | undefined) => Gradients;
  /** Frees what was made for the pass. */
  readonly dispose: () => void;
}

/** The matrix that multiplies, with what it reads, and the way back from its gradient. */
interface Matrix {
  readonly input: Layer<Tensor, Tensor>;
  readonly w: Tensor;
  /** Weights that get a gradient from that of `w`. */
  readonly names: ReadonlyArray<string>;
  /** Gradients of `names` from that of w, which stays the caller's: new tensors. */
  readonly back: (dW: Tensor) => Readonly<Record<string, Tensor>>;
  readonly dispose: () => void;
}

const biasName = 'lm_head.bias';
const names = adapterNames('lm_head');

const asItIs = (weights: Weights, weightName: string): Matrix => ({
  input: identity,
  w: weightOf(weights, weightName),
  names: [weightName],
  back: (dW) => ({ [weightName]: dW.clone() }),
  dispose: () => undefined,
});

/** The table with the rows that train apart put in. */
const withTokenRows = (weights: Weights, weightName: string, rows: string, ids: ReadonlyArray<number>): Matrix => {
  const w = putRows(weightOf(weights, weightName), weightOf(weights, rows), ids);
  return {
    input: identity,
    w,
    names: [rows],
    back: (dW) => ({ [rows]: gatherRows(dW, Int32Array.from(ids)) }),
    dispose: () => w.dispose(),
  };
};

/** What the adapter reads: its dropout stays on where the model's own is switched off. */
const adapterReads = (pass: Pass, rate: number): Layer<Tensor, Tensor> =>
  dropout(
    pass.training === undefined ? pass : { ...pass, training: { ...pass.training, dropout: true } },
    names.a,
    rate,
  );

const narrowed = (pass: Pass, scaling: number): Layer<Tensor, Tensor> =>
  compose(linear(pass, { module: 'lm_head.lora_A' }), scaled(scaling));

/** h·Wᵀ + s·(h·Aᵀ)·Bᵀ is one product, of [h, s·h·Aᵀ] with [W, B]. */
const withLora = (pass: Pass, weights: Weights, weightName: string, a: Tensor): Matrix => {
  const { scaling, rate } = adapterOptions(pass.lora, 'lm_head', a);
  const [rank = 0, width = 0] = a.shape;
  const w = concatColumns([weightOf(weights, weightName), weightOf(weights, names.b)]);
  return {
    input: compose(fanOut(identity, compose(adapterReads(pass, rate), narrowed(pass, scaling))), joinColumns),
    w,
    names: [weightName, names.b],
    back: (dW) => {
      const [ofTable, ofB] = splitColumns(dW, [width, rank]) as readonly [Tensor, Tensor];
      return { [weightName]: ofTable, [names.b]: ofB };
    },
    dispose: () => w.dispose(),
  };
};

/**
 * DoRA (dora.ts), f = m / ‖W + s·B·A‖: with d what dropout leaves of h it is [h, d, s·d·Aᵀ] times [W, (f - 1)·W, f·B], and
 * [h, s·h·Aᵀ] times f·[W, B] without dropout.
 */
const withDora = (pass: Pass, weights: Weights, weightName: string, a: Tensor, magnitude: Tensor): Matrix => {
  const { scaling, rate } = adapterOptions(pass.lora, 'lm_head', a);
  const [rank = 0, width = 0] = a.shape;
  const table = weightOf(weights, weightName);
  const b = weightOf(weights, names.b);
  const drops = pass.training !== undefined && rate > 0;
  const lengths = adaptedNorms({ w: table, a, b }, { transposed: false, scaling });
  const factor = tidy(() => reshape(div(magnitude, lengths), [-1, 1]));
  const w = tidy(() => {
    const turned = mul(table, factor);
    return concatColumns([...(drops ? [table, sub(turned, table)] : [turned]), mul(b, factor)]);
  });
  const read = compose(adapterReads(pass, rate), compose(fanOut(identity, narrowed(pass, scaling)), joinColumns));
  return {
    input: drops ? compose(fanOut(identity, read), joinColumns) : read,
    w,
    // Of the table itself no gradient is given: the lengths would have to follow it.
    names: [names.b, names.magnitude],
    back: (dJoined) =>
      tidy(() => {
        const start = drops ? [width] : [];
        const parts = splitColumns(dJoined, [...start, width, rank]).slice(start.length);
        const [ofTable, ofB] = parts as [Tensor, Tensor];
        const dFactor = add(sum(mul(ofTable, table), 1), sum(mul(ofB, b), 1));
        return { [names.b]: mul(ofB, factor), [names.magnitude]: div(dFactor, lengths) };
      }),
    dispose: () => {
      for (const tensor of [w, lengths, factor]) tensor.dispose();
    },
  };
};

const matrixOf = (weights: Weights, pass: Pass, weightName: string): Matrix => {
  const a = weights[names.a];
  const magnitude = weights[names.magnitude];
  if (pass.lora === undefined) return asItIs(weights, weightName);
  if (a !== undefined && magnitude !== undefined) return withDora(pass, weights, weightName, a, magnitude);
  if (a !== undefined) return withLora(pass, weights, weightName, a);
  // Rows of the head's own, or of the embedding it is tied to.
  for (const module of ['lm_head', moduleOf(weightName)]) {
    const ids = tokenIndicesOf(pass.lora, module);
    const rows = tokenRowsName(module);
    if (ids !== undefined && rows in weights) return withTokenRows(weights, weightName, rows, ids);
  }
  return asItIs(weights, weightName);
};

/** An own `lm_head.weight` where there is one, else the embedding table. */
export const headOf = (model: CausalLM, pass: Pass): Head => {
  const { weights, config, trainable } = model;
  const weightName = 'lm_head.weight' in weights ? 'lm_head.weight' : `${architectureOf(config).embedding}.weight`;
  const trains = (name: string): boolean => trainable.includes(name);
  const bias = weights[biasName];
  const matrix = matrixOf(weights, pass, weightName);
  return {
    input: matrix.input,
    w: matrix.w,
    bias,
    weightName,
    trains: matrix.names.some(trains),
    trainsBias: bias !== undefined && trains(biasName),
    gradients: (dW, dBias) => {
      const gradients: Record<string, Tensor> = {};
      const all = {
        ...(dW === undefined ? {} : matrix.back(dW)),
        ...(dBias === undefined ? {} : { [biasName]: dBias }),
      };
      dW?.dispose();
      for (const [name, gradient] of Object.entries(all)) {
        if (trains(name)) gradients[name] = gradient;
        else gradient.dispose();
      }
      return gradients;
    },
    dispose: matrix.dispose,
  };
};
