/** The output head, and the adapter it may carry. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, div, mul, reshape, sub, sum, tidy } from '../../tfjs.js';
import { adaptedNorms } from '../adapters/dora.js';
import { adapterNames, tokenRowsName } from '../adapters/adapterNames.js';
import { adapterOptions } from '../adapters/lora.js';
import { moduleOf } from '../adapters/moduleNames.js';
import { tokenIndicesOf } from '../adapters/tokenRows.js';
import { architectureOf } from '../architectures.js';
import { clone } from '../kernels/clone.js';
import { concatColumns, splitColumns } from '../kernels/columns.js';
import { gatherRows } from '../kernels/gatherRows.js';
import type { CausalLM } from '../model.js';
import type { Pass } from '../pass.js';
import { weightOf } from '../weights.js';
import { joinColumns } from './columns.js';
import { adapterDropout } from './dropout.js';
import { compose, fanOut, identity, onlyWanted } from './layer.js';
import type { Gradients, Layer, Weights } from './layer.js';
import { furtherOf, linear, narrowed } from './linear.js';
import { putRows } from './putRows.js';
import { scaled } from './scaled.js';

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
  back: (dW) => ({ [weightName]: clone(dW) }),
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

/** What the adapter in use reads: s·(drop(h)·Aᵀ). */
const narrowedBy = (pass: Pass, a: Tensor): Layer<Tensor, Tensor> => {
  const { scaling, rate } = adapterOptions(pass.lora, 'lm_head', a);
  return compose(adapterDropout(pass, names.a, rate), narrow(pass, scaling));
};

const narrow = (pass: Pass, scaling: number): Layer<Tensor, Tensor> =>
  compose(linear(pass, { module: 'lm_head.lora_A' }), scaled(scaling));

/** A half of an adapter that the table is joined with. */
interface Half {
  readonly name: string;
  readonly b: Tensor;
  readonly input: Layer<Tensor, Tensor>;
}

/** h·Wᵀ + s·(h·Aᵀ)·Bᵀ is one product, of [h, s·h·Aᵀ] with [W, B]; of several adapters, with [W, B, B', …]. */
const joined = (base: Matrix, halves: ReadonlyArray<Half>): Matrix => {
  const w = concatColumns([base.w, ...halves.map(({ b }) => b)]);
  const sizes = [base.w, ...halves.map(({ b }) => b)].map(({ shape: [, size = 0] }) => size);
  return {
    input: compose(fanOut(base.input, ...halves.map(({ input }) => input)), joinColumns),
    w,
    names: [...base.names, ...halves.map(({ name }) => name)],
    back: (dW) => {
      const [ofBase, ...others] = splitColumns(dW, sizes);
      const gradients: Record<string, Tensor> = ofBase === undefined ? {} : { ...base.back(ofBase) };
      ofBase?.dispose();
      halves.forEach(({ name }, i) => {
        const gradient = others[i];
        if (gradient !== undefined) gradients[name] = gradient;
      });
      return gradients;
    },
    dispose: () => {
      w.dispose();
      base.dispose();
    },
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
  const read = compose(
    adapterDropout(pass, names.a, rate),
    compose(fanOut(identity, narrow(pass, scaling)), joinColumns),
  );
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

/** The table, with the rows that train put in: the head's own, or those of the embedding it is tied to. */
const tableOf = (weights: Weights, { lora }: Pass, weightName: string): Matrix => {
  for (const module of ['lm_head', moduleOf(weightName)]) {
    const ids = tokenIndicesOf(lora, module);
    const rows = tokenRowsName(module);
    if (ids !== undefined && rows in weights) return withTokenRows(weights, weightName, rows, ids);
  }
  return asItIs(weights, weightName);
};

const matrixOf = (weights: Weights, pass: Pass, weightName: string): Matrix => {
  const a = pass.lora === undefined ? undefined : weights[names.a];
  const magnitude = weights[names.magnitude];
  if (a !== undefined && magnitude !== undefined) return withDora(pass, weights, weightName, a, magnitude);
  const further = furtherOf(pass, weights, (name) => adapterNames('lm_head', name).a);
  const halves: ReadonlyArray<Half> = [
    ...(a === undefined ? [] : [{ name: names.b, b: weightOf(weights, names.b), input: narrowedBy(pass, a) }]),
    ...further.map((one) => {
      const name = adapterNames('lm_head', one.name).b;
      return { name, b: weightOf(weights, name), input: narrowed(pass, 'lm_head', one) };
    }),
  ];
  const table = tableOf(weights, pass, weightName);
  return halves.length === 0 ? table : joined(table, halves);
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
      const all = {
        ...(dW === undefined ? {} : matrix.back(dW)),
        ...(dBias === undefined ? {} : { [biasName]: dBias }),
      };
      dW?.dispose();
      return onlyWanted(Object.entries(all), trains);
    },
    dispose: matrix.dispose,
  };
};
