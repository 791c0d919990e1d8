/** A mixture of experts: a router sends each token to a few of many MLPs, and their outputs are added by what each counts. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { dispose, mul, sigmoid, sub, tensor1d, tensor2d, tidy } from '../../tfjs.js';
import { combineRows, combineRowsGrad } from '../kernels/combineRows.js';
import { gatherRows } from '../kernels/gatherRows.js';
import { keep } from '../kernels/hold.js';
import type { Layer, Passed, Weights } from '../layers/layer.js';
import { compose, fanOut, inactive, landedOn, passed } from '../layers/layer.js';
import { cutRows, joinRows } from '../layers/putRows.js';
import type { Pass } from '../pass.js';
import { weightOf } from '../weights.js';
import { balanceSlopes, noteLoad } from './balance.js';
import { routes, routesBack } from './routing.js';
import type { Routing, RoutingShape } from './routing.js';
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
  /** Some experts as one map of all of their rows, where these weights let them be. Default: each runs alone. */
  readonly together?: (weights: Weights, chosen: ReadonlyArray<Chosen>) => Map | undefined;
}

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

const scaledBy = ({ chosen, weights }: Routing, scales: Float32Array): ExpertScales => {
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
  (tokens: ReadonlyArray<Int32Array>, expert: (e: number) => Map): Through =>
  (weights, x, wanted) => {
    const lanes = tokens.flatMap((rows, e): ReadonlyArray<Lane> => {
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

const asOne =
  (tokens: ReadonlyArray<Int32Array>, layer: Map): Through =>
  (weights, x, wanted) => {
    const rows = gatherRows(x, Int32Array.from(tokens.flatMap((own) => Array.from(own))));
    const run = layer(weights, rows, wanted);
    rows.dispose();
    return run;
  };

/** By expert: which of the N·k rows of all tokens, k each, are its own, in the order of `tokens`. */
const copiesOf = ({ tokens, places }: Routing): ReadonlyArray<Int32Array> => {
  const order = new Int32Array(places.length);
  places.forEach((place, i) => {
    order[place] = i;
  });
  let first = 0;
  return tokens.map(({ length }) => {
    first += length;
    return order.subarray(first - length, first);
  });
};

/**
 * Σ over the experts that the router chooses of weight · expert(x), or expert(weight · x), [N, C] to the same. Each expert reads its own tokens and no
 * others, so the work is in proportion to the experts a token. Routes are made of the logits here, on the way there and on the way
 * back: each waits for the engine once.
 */
export const mixture =
  (
    pass: Pass,
    { layer, router, expert, together, correction, reads, scales: scalesName, ahead = false, ...shape }: Mixture,
  ): Map =>
  (weights, x, wanted) => {
    const { balance } = pass;
    const asked = router(weights, x, wanted);
    const logits = asked.value.dataSync<'float32'>();
    const added = correction === undefined ? undefined : weightOf(weights, correction).dataSync<'float32'>();
    const routing = routes(logits, shape, added);
    asked.value.dispose();
    if (balance !== undefined) noteLoad(balance, layer, routing);
    const scales =
      scalesName === undefined ? undefined : scaledBy(routing, weightOf(weights, scalesName).dataSync<'float32'>());
    const trainsScales = scalesName !== undefined && wanted.weight(scalesName);
    const [n = 0] = x.shape;
    const ofInputs = ahead ? tensor2d(routing.weights, [n * shape.perToken, 1]) : undefined;
    const weighed = ofInputs && weighedRows(weights, [x, ofInputs], { ...wanted, input: wanted.input || asked.active });
    const reading = reads?.(weights, x, wanted);
    const read = weighed ?? reading;
    const chosen = routing.tokens.flatMap((tokens, e) =>
      tokens.length === 0 ? [] : [{ expert: e, rows: tokens.length }],
    );
    const one = together?.(weights, chosen);
    const rows = ahead ? copiesOf(routing) : routing.tokens;
    const through = (one === undefined ? apart(rows, expert) : asOne(rows, one))(weights, read?.value ?? x, {
      ...wanted,
      input: read?.active ?? wanted.input,
    });
    read?.value.dispose();
    const attrs = { places: routing.places, perRow: shape.perToken };
    const outputs = through.value;
    const ofOutputs = ahead ? new Float32Array(routing.weights.length).fill(1) : (scales?.counts ?? routing.weights);
    const counts = tensor2d(ofOutputs, [n, shape.perToken]);
    const y = combineRows(outputs, counts, attrs);
    if (!through.active && !asked.active && !trainsScales) {
      dispose([outputs, counts, ...(ofInputs === undefined ? [] : [ofInputs])]);
      return inactive(y);
    }
    const kept = keep(outputs);
    outputs.dispose();
    const own = ofInputs === undefined ? [kept, counts] : [kept, counts, ofInputs];
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
      const back = asked.active || trainsScales ? dWeights.dataSync<'float32'>() : undefined;
      const scaled = back && scales?.back(back);
      if (trainsScales && scaled !== undefined) gradients[scalesName] = tensor1d(scaled.dScales);
      if (asked.active && back !== undefined) {
        const slopes = balance === undefined ? undefined : balanceSlopes(balance);
        const dLogits = routesBack(routing, shape, scaled?.dWeights ?? back, slopes);
        const [ofRouter, dInput] = asked.pullback(tensor2d(dLogits, [n, shape.numExperts]), dx);
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
  const [n = 0] = x.shape;
  const attrs = { places: Int32Array.from({ length: n }, (_, i) => i), perRow: 1 };
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
