/** A mixture of experts: a router sends each token to a few of many MLPs, and their outputs are added by what each counts. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { dispose, mul, ones, reshape, sigmoid, sub, tensor1d, tensor2d, tidy } from '../../tfjs.js';
import { clone } from '../kernels/clone.js';
import { combineRows, combineRowsGrad } from '../kernels/combineRows.js';
import { gatherRows } from '../kernels/gatherRows.js';
import { keep } from '../kernels/hold.js';
import { readSoon } from '../kernels/readSoon.js';
import { routesGrad, routesOf } from '../kernels/routes.js';
import type { Routes } from '../kernels/routes.js';
import type { Layer, Passed, Weights } from '../layers/layer.js';
import { compose, fanOut, inactive, landedOn, passed } from '../layers/layer.js';
import { cutRows, joinRows } from '../layers/putRows.js';
import type { Pass } from '../pass.js';
import { weightOf } from '../weights.js';
import { balanceSlopes, noteLoad } from './balance.js';
import { likedBy } from './routing.js';
import type { RoutingShape } from './routing.js';
import { weighedRows } from './weighedRows.js';

type Map = Layer<Tensor, Tensor>;

export interface Mixture extends RoutingShape {
  /** Which layer of the model this is. */
  readonly layer: number;
  /** [N, C] to logits [N, E]. */
  readonly router: Map;
  /** Name of what is added to probabilities where experts are chosen, a buffer of E numbers. Default: nothing is. */
  readonly correction?: string | undefined;
  /** The e-th expert, [m, C] to the same. */
  readonly expert: (e: number) => Map;
  /** What the experts read in place of x, [N, C]. Default: x, as the router does. */
  readonly reads?: Map | undefined;
  /** Name of what each expert's output counts besides, a weight [E]. Default: 1. */
  readonly scales?: string | undefined;
  /** What an expert counts multiplies what it reads, which is x, not its output. Default: false. */
  readonly ahead?: boolean | undefined;
  /** Some of these experts as one map of all of their rows, where the weights let any of them be. Default: each runs alone. */
  readonly together?: (weights: Weights, experts: ReadonlyArray<number>) => Together | undefined;
}

/** The experts that were chosen as one map of all of their rows. */
export type Together = (chosen: ReadonlyArray<Chosen>) => Map;

/** An expert that some tokens go to. */
export interface Chosen {
  readonly expert: number;
  readonly rows: number;
}

/** An expert's rows on their way through it. */
interface Lane {
  readonly rows: number;
  readonly run: Passed<Tensor, Tensor>;
}

/** One below the other; consumes them. */
const stacked = (parts: ReadonlyArray<Tensor>): Tensor => {
  const joined = joinRows(parts);
  dispose([...parts]);
  return joined;
};

/** What experts count besides, by the places of those that are chosen. */
interface ExpertScales {
  /** [N·k] What each output counts in all. */
  readonly counts: Float32Array;
  /** From the gradients of those, [N·k]: of what the routes alone count, [N·k], and of the scales, [E]. */
  readonly back: (dCounts: Float32Array) => { readonly dWeights: Float32Array; readonly dScales: Float32Array };
}

const scaledBy = (routes: Routes, scales: Float32Array): ExpertScales => {
  const [chosen, weights] = [routes.chosen.dataSync<'int32'>(), routes.weights.dataSync<'float32'>()];
  const own = Float32Array.from(chosen, (e) => scales[e] ?? NaN);
  return {
    counts: weights.map((weight, i) => weight * (own[i] ?? NaN)),
    back: (dCounts) => {
      const dScales = new Float32Array(scales.length);
      dCounts.forEach((d, i) => {
        const e = chosen[i] ?? 0;
        dScales[e] = (dScales[e] ?? NaN) + d * (weights[i] ?? NaN);
      });
      return { dWeights: dCounts.map((d, i) => d * (own[i] ?? NaN)), dScales };
    },
  };
};

/**
 * What the experts make of their tokens of x, [N, C] to [N·k, C], an expert's rows below those of the one before. The gradient of the
 * input is that of these rows.
 */
type Through = Map;

const apart =
  (rowsOf: ReadonlyArray<Int32Array>, expert: (e: number) => Map): Through =>
  (weights, x, wanted) => {
    const lanes = rowsOf.flatMap((rows, e): ReadonlyArray<Lane> => {
      if (rows.length === 0) return [];
      const own = gatherRows(x, rows);
      const run = expert(e)(weights, own, wanted);
      own.dispose();
      return [{ rows: rows.length, run }];
    });
    const value = stacked(lanes.map(({ run }) => run.value));
    if (!lanes.some(({ run }) => run.active)) return inactive(value);
    return {
      value,
      active: true,
      pullback: (dValue) => {
        // Each module has one place: no name comes twice.
        const gradients: Record<string, Tensor> = {};
        const dInputs: Tensor[] = [];
        const parts = cutRows(
          dValue,
          lanes.map(({ rows }) => rows),
        );
        parts.forEach((part, i) => {
          const [more, dInput] = lanes[i]?.run.pullback(part) ?? [{}, undefined];
          Object.assign(gradients, more);
          if (dInput !== undefined) dInputs.push(dInput);
        });
        return [gradients, wanted.input ? stacked(dInputs) : undefined];
      },
      drop: () => {
        for (const { run } of lanes) run.drop();
      },
    };
  };

/** By expert, the numbers of its own of `all`, which lie one expert's below another's. */
const byExpert = (all: Int32Array, sizes: ReadonlyArray<number>): ReadonlyArray<Int32Array> => {
  let first = 0;
  return sizes.map((size) => {
    first += size;
    return all.subarray(first - size, first);
  });
};

/** What experts are asked for, before anything is corrected. */
const noted = (
  { balance }: Pass,
  layer: number,
  shape: RoutingShape,
  { logits, routes, corrected }: { readonly logits: Tensor; readonly routes: Routes; readonly corrected: boolean },
): void => {
  if (balance === undefined) return;
  const probabilities = routes.probabilities.dataSync<'float32'>();
  const liked = corrected
    ? likedBy(logits.dataSync<'float32'>(), probabilities, shape)
    : routes.counts.dataSync<'int32'>();
  noteLoad(balance, layer, { liked, probabilities });
};

/**
 * Σ over the experts that the router chooses of weight · expert(x), or expert(weight · x), [N, C] to the same. Each expert reads its own
 * tokens and no others, so the work is in proportion to the experts a token. How many tokens each has is read from the engine while it
 * gathers their rows, once on the way there; the way back reads nothing.
 */
export const mixture =
  (
    pass: Pass,
    { layer, router, expert, together, correction, reads, scales: scalesName, ahead = false, ...shape }: Mixture,
  ): Map =>
  (weights, x, wanted) => {
    const { balance } = pass;
    const asked = router(weights, x, wanted);
    const added = correction === undefined ? undefined : weightOf(weights, correction);
    const routes = routesOf(asked.value, added, shape);
    noted(pass, layer, shape, { logits: asked.value, routes, corrected: added !== undefined });
    asked.value.dispose();
    const coming = readSoon(routes.counts);
    const scales =
      scalesName === undefined ? undefined : scaledBy(routes, weightOf(weights, scalesName).dataSync<'float32'>());
    const trainsScales = scalesName !== undefined && wanted.weight(scalesName);
    const [n = 0] = x.shape;
    const ofInputs = ahead ? reshape(routes.weights, [n * shape.perToken, 1]) : undefined;
    const weighed = ofInputs && weighedRows(weights, [x, ofInputs], { ...wanted, input: wanted.input || asked.active });
    const reading = reads?.(weights, x, wanted);
    const read = weighed ?? reading;
    const source = read?.value ?? x;
    const order = ahead ? routes.order : routes.rows;
    const all = together?.(
      weights,
      Array.from({ length: shape.numExperts }, (_, e) => e),
    );
    // What needs no more than the order of rows is under way while the counts come.
    const rows = all && gatherRows(source, order);
    const sizes = Array.from(coming());
    const chosen = sizes.flatMap((own, expert) => (own === 0 ? [] : [{ expert, rows: own }]));
    const ways = { ...wanted, input: read?.active ?? wanted.input };
    const through =
      all === undefined || rows === undefined
        ? apart(byExpert(order.dataSync<'int32'>(), sizes), expert)(weights, source, ways)
        : all(chosen)(weights, rows, ways);
    rows?.dispose();
    read?.value.dispose();
    const { places, probabilities, chosen: experts, weights: shares, shares: mixed } = routes;
    const attrs = { places, perRow: shape.perToken };
    const outputs = through.value;
    const counts = ahead
      ? ones([n, shape.perToken])
      : scales === undefined
        ? clone(routes.weights)
        : tensor2d(scales.counts, [n, shape.perToken]);
    const y = combineRows(outputs, counts, attrs);
    dispose([routes.counts, routes.order, routes.rows]);
    const forRouter = [probabilities, experts, shares, ...(mixed === undefined ? [] : [mixed])];
    const others = [counts, places, ...(ofInputs === undefined ? [] : [ofInputs])];
    if (!asked.active) dispose(forRouter);
    if (!through.active && !asked.active && !trainsScales) {
      dispose([outputs, ...others]);
      return inactive(y);
    }
    const kept = keep(outputs);
    outputs.dispose();
    const own = [kept, ...others, ...(asked.active ? forRouter : [])];
    const inner = passed<Tensor, Tensor>(y, own, (dy, onto) => {
      const { dx: dOutputs, dWeights: dCounts } = combineRowsGrad(dy, kept, counts, attrs);
      dy.dispose();
      let dWeights = dCounts;
      const [more, dRows] = through.pullback(dOutputs);
      const gradients: Record<string, Tensor> = { ...more };
      let dx = onto;
      if (dRows !== undefined) {
        const dRead = combineRows(dRows, undefined, ahead ? { ...attrs, perRow: 1 } : attrs);
        dRows.dispose();
        if (weighed !== undefined) {
          const [, [dInput, dFactors] = []] = weighed.pullback(dRead);
          if (dFactors !== undefined) {
            dWeights.dispose();
            dWeights = dFactors;
          }
          if (wanted.input && dInput !== undefined) dx = landedOn(dInput, onto);
          else dInput?.dispose();
        } else if (reading === undefined) dx = landedOn(dRead, onto);
        else {
          const [ofReading, dInput] = reading.pullback(dRead, onto);
          Object.assign(gradients, ofReading);
          dx = dInput;
        }
      }
      const scaled = asked.active || trainsScales ? scales?.back(dWeights.dataSync<'float32'>()) : undefined;
      if (trainsScales && scaled !== undefined) gradients[scalesName] = tensor1d(scaled.dScales);
      if (asked.active) {
        const unscaled = tidy(() =>
          scaled === undefined
            ? reshape(dWeights, [n, shape.perToken])
            : tensor2d(scaled.dWeights, [n, shape.perToken]),
        );
        const slopes = balance === undefined ? undefined : tensor1d(Float32Array.from(balanceSlopes(balance)));
        const dLogits = routesGrad(routes, unscaled, slopes, shape);
        dispose([unscaled, ...(slopes === undefined ? [] : [slopes])]);
        const [ofRouter, dInput] = asked.pullback(dLogits, dx);
        Object.assign(gradients, ofRouter);
        dx = dInput;
      }
      dWeights.dispose();
      return [gradients, dx];
    });
    return {
      ...inner,
      drop: () => {
        inner.drop();
        through.drop();
        read?.drop();
        asked.drop();
      },
    };
  };

/** [x, g] ↦ σ(g)·x, of x [N, C] and g [N, 1]. */
const opened: Layer<ReadonlyArray<Tensor>, Tensor> = (_weights, input, wanted) => {
  const [x, g] = input as readonly [Tensor, Tensor];
  const gate = sigmoid(g);
  const attrs = { perRow: 1 };
  const y = combineRows(x, gate, attrs);
  if (!wanted.input) {
    gate.dispose();
    return inactive(y);
  }
  const kept = keep(x);
  return passed(y, [kept, gate], (dy, onto) => {
    const { dx, dWeights } = combineRowsGrad(dy, kept, gate, attrs);
    dy.dispose();
    const dg = tidy(() => mul(dWeights, mul(gate, sub(1, gate))));
    dWeights.dispose();
    return [{}, landedOn<ReadonlyArray<Tensor>>([dx, dg], onto)];
  });
};

/** σ(gate(x))·expert(x): an expert that every token goes to, [N, C] to the same. */
export const shared = (expert: Map, gate: Map): Map => compose(fanOut(expert, gate), opened);
