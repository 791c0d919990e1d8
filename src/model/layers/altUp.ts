/**
 * Several streams of hidden states, of which a layer computes one: the others are foretold from all of them before it, and corrected by
 * what it has made of its own (AltUp, Baykal et al. 2023, as Gemma 3n has it).
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, mul, square, sub, tanh, tensor1d, tensor2d, tidy } from '../../tfjs.js';
import { add as sumOf } from '../kernels/add.js';
import { concatColumns, splitColumns as cutColumns } from '../kernels/columns.js';
import { combineRows, combineRowsGrad } from '../kernels/combineRows.js';
import { keep } from '../kernels/hold.js';
import type { Pass } from '../pass.js';
import { splitColumns } from './columns.js';
import { at, compose, each, identity, inactive, landedOn, passed, total } from './layer.js';
import type { Layer } from './layer.js';
import { linear } from './linear.js';
import { rmsNorm } from './norm.js';
import { cutRows, joinRows } from './putRows.js';
import { scaled } from './scaled.js';
import { past, wire, wired } from './wired.js';

type Values = ReadonlyArray<Tensor>;

export interface AltUp {
  /** Path of its module. */
  readonly module: string;
  readonly streams: number;
  /** Which of them the layer computes. */
  readonly active: number;
  readonly hiddenSize: number;
  readonly eps: number;
}

const count = (n: number, first = 0): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => first + i);

const squeezed: Layer<Tensor, Tensor> = (_weights, x, wanted) => {
  const y = tanh(x);
  if (!wanted.input) return inactive(y);
  const kept = y.clone();
  return passed(y, [kept], (dy, onto) => {
    const dx = tidy(() => mul(dy, sub(1, square(kept))));
    dy.dispose();
    return [{}, landedOn(dx, onto)];
  });
};

/** What a token is, seen by one of its streams: [N, hiddenSize] to [N, streams], between ±1. */
const modalities = (pass: Pass, { module, hiddenSize, eps }: AltUp): Layer<Tensor, Tensor> =>
  compose(
    rmsNorm(`${module}.router_norm`, { eps, offset: 0 }),
    linear(pass, { module: `${module}.modality_router` }),
    scaled(1 / hiddenSize),
    squeezed,
  );

/** Row n of each of so many matrices of `rows` rows that lie one below the other. */
const everyRow = (matrices: number, rows: number): Tensor =>
  tensor1d(
    Int32Array.from({ length: matrices * rows }, (_, i) => (i % matrices) * rows + Math.floor(i / matrices)),
    'int32',
  );

/** The identity, a row after another. */
const identityRow = (n: number): Float32Array =>
  Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));

/** Of what may lie as bfloat16, which cannot be added to in place: consumes both. */
const summed = (a: Tensor, b: Tensor): Tensor => {
  const both = sumOf(a, b);
  a.dispose();
  b.dispose();
  return both;
};

/** [x₀, …, m] ↦ xⱼ + Σₖ m[n, j·streams + k]·xₖ of each stream, of m [N, streams²]. */
const mixed =
  (streams: number): Layer<Values, Values> =>
  (_weights, input, wanted) => {
    const [n = 0] = at(input, 0).shape;
    const places = everyRow(streams, n);
    const attrs = { places, perRow: streams };
    const stack = joinRows(input.slice(0, streams));
    // Each stream is itself, and what is added.
    const mixing = tidy(() => add(at(input, streams), tensor2d(identityRow(streams), [1, streams * streams])));
    const counts = cutColumns(
      mixing,
      count(streams).map(() => streams),
    );
    mixing.dispose();
    const values: Values = counts.map((own) => combineRows(stack, own, attrs));
    const free = (): void => {
      for (const tensor of [stack, places, ...counts]) tensor.dispose();
    };
    if (!wanted.input) {
      free();
      return inactive(values);
    }
    const kept = keep(stack);
    stack.dispose();
    return passed(values, [kept, places, ...counts], (dValues, onto) => {
      let dStack: Tensor | undefined;
      const dCounts = dValues.map((dy, j) => {
        const { dx, dWeights } = combineRowsGrad(dy, kept, at(counts, j), attrs);
        dy.dispose();
        const before = dStack;
        dStack = before === undefined ? dx : summed(before, dx);
        return dWeights;
      });
      const dMixing = concatColumns(dCounts);
      for (const tensor of dCounts) tensor.dispose();
      const dStreams =
        dStack === undefined
          ? []
          : cutRows(
              dStack,
              count(streams).map(() => n),
            );
      return [{}, landedOn<Values>([...dStreams, dMixing], onto)];
    });
  };

/** What the streams are before the layer has run, from what they were. */
export const foretold = (pass: Pass, altUp: AltUp): Layer<Values, Values> => {
  const coefficients = linear(pass, { module: `${altUp.module}.prediction_coefs` });
  return compose(
    wired(...past(count(altUp.streams)), wire(altUp.active, compose(modalities(pass, altUp), coefficients))),
    mixed(altUp.streams),
  );
};

/** [x, g] ↦ (1 + g)·x, of x [N, C] and g [N, 1]. */
const grown: Layer<Values, Tensor> = (_weights, input, wanted) => {
  const [x, g] = input as readonly [Tensor, Tensor];
  const attrs = { perRow: 1 };
  const factor = add(g, 1);
  const y = combineRows(x, factor, attrs);
  if (!wanted.input) {
    factor.dispose();
    return inactive(y);
  }
  const kept = keep(x);
  return passed(y, [kept, factor], (dy, onto) => {
    const { dx, dWeights } = combineRowsGrad(dy, kept, factor, attrs);
    dy.dispose();
    return [{}, landedOn<Values>([dx, dWeights], onto)];
  });
};

/** [p₀, …, y], streams as they were foretold and what the layer made of the one it computes, to the streams corrected. */
export const corrected = (pass: Pass, altUp: AltUp): Layer<Values, Values> => {
  const { streams, active, module } = altUp;
  const coefficients = compose(
    modalities(pass, altUp),
    linear(pass, { module: `${module}.correction_coefs` }),
    splitColumns(count(streams).map(() => 1)),
  );
  const surprise = compose(each(identity, scaled(-1)), total);
  return compose(
    wired(...past(count(streams)), wire(streams, coefficients), wire([streams, active], surprise)),
    wired(
      ...count(streams).map((j) =>
        wire([j, streams + j, 2 * streams], compose(wired(...past([0]), wire([2, 1], grown)), total)),
      ),
    ),
  );
};
