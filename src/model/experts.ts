/** A mixture of experts: a router sends each token to a few of many MLPs, and their outputs are added by what each counts. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { dispose, mul, reshape, sigmoid, sub, tensor2d, tidy } from '../tfjs.js';
import { balanceSlopes, noteLoad } from './balance.js';
import { combineRows, combineRowsGrad } from './kernels/combineRows.js';
import { splitColumns } from './kernels/columns.js';
import { gatherRows } from './kernels/gatherRows.js';
import { keep } from './kernels/hold.js';
import type { Layer, Passed } from './layer.js';
import { compose, fanOut, inactive, landedOn, passed } from './layer.js';
import type { Pass } from './pass.js';
import { joinRows } from './putRows.js';
import { routes, routesBack } from './routing.js';
import type { RoutingShape } from './routing.js';
import { weightOf } from './weights.js';

type Map = Layer<Tensor, Tensor>;

interface Mixture extends RoutingShape {
  /** Which layer of the model this is. */
  readonly layer: number;
  /** [N, C] to logits [N, E]. */
  readonly router: Map;
  /** Name of what is added to probabilities where experts are chosen, a buffer of E numbers. Default: nothing is. */
  readonly correction?: string | undefined;
  /** The e-th expert, [m, C] to the same. */
  readonly expert: (e: number) => Map;
}

/** An expert's rows on their way through it. */
interface Lane {
  readonly rows: number;
  readonly run: Passed<Tensor, Tensor>;
}

/** [Σ rows, C] as its parts, one below the other; consumes it. */
const cutRows = (x: Tensor, sizes: ReadonlyArray<number>): ReadonlyArray<Tensor> =>
  tidy(() => {
    const [, width = 0] = x.shape;
    const parts = splitColumns(
      reshape(x, [1, -1]),
      sizes.map((size) => size * width),
    ).map((part) => reshape(part, [-1, width]));
    x.dispose();
    return parts;
  });

/** One below the other; consumes them. */
const stacked = (parts: ReadonlyArray<Tensor>): Tensor => {
  const joined = joinRows(parts);
  dispose([...parts]);
  return joined;
};

/**
 * Σ over the experts that the router chooses of weight · expert(x), [N, C] to the same. Each expert reads its own tokens and no
 * others, so the work is in proportion to the experts a token. Routes are made of the logits here, on the way there and on the way
 * back: each waits for the engine once.
 */
export const mixture =
  (pass: Pass, { layer, router, expert, correction, ...shape }: Mixture): Map =>
  (weights, x, wanted) => {
    const { balance } = pass;
    const asked = router(weights, x, wanted);
    const logits = asked.value.dataSync<'float32'>();
    const added = correction === undefined ? undefined : weightOf(weights, correction).dataSync<'float32'>();
    const routing = routes(logits, shape, added);
    asked.value.dispose();
    if (balance !== undefined) noteLoad(balance, layer, routing);
    const lanes = routing.tokens.flatMap((tokens, e): ReadonlyArray<Lane> => {
      if (tokens.length === 0) return [];
      const own = gatherRows(x, tokens);
      const run = expert(e)(weights, own, wanted);
      own.dispose();
      return [{ rows: tokens.length, run }];
    });
    const [n = 0] = x.shape;
    const attrs = { places: routing.places, perRow: shape.perToken };
    const outputs = stacked(lanes.map(({ run }) => run.value));
    const counts = tensor2d(routing.weights, [n, shape.perToken]);
    const y = combineRows(outputs, counts, attrs);
    const throughExperts = lanes.some(({ run }) => run.active);
    if (!throughExperts && !asked.active) {
      dispose([outputs, counts]);
      return inactive(y);
    }
    const kept = keep(outputs);
    outputs.dispose();
    const inner = passed<Tensor, Tensor>(y, [kept, counts], (dy, onto) => {
      const { dx: dOutputs, dWeights } = combineRowsGrad(dy, kept, counts, attrs);
      dy.dispose();
      // Each module has one place: no name comes twice.
      const gradients: Record<string, Tensor> = {};
      const dInputs: Tensor[] = [];
      if (throughExperts) {
        const parts = cutRows(
          dOutputs,
          lanes.map(({ rows }) => rows),
        );
        parts.forEach((part, i) => {
          const [more, dInput] = lanes[i]?.run.pullback(part) ?? [{}, undefined];
          Object.assign(gradients, more);
          if (dInput !== undefined) dInputs.push(dInput);
        });
      } else dOutputs.dispose();
      let dx = onto;
      if (wanted.input) {
        const joined = stacked(dInputs);
        dx = landedOn(combineRows(joined, undefined, attrs), onto);
        joined.dispose();
      }
      if (asked.active) {
        const slopes = balance === undefined ? undefined : balanceSlopes(balance);
        const dLogits = routesBack(routing, shape, dWeights.dataSync<'float32'>(), slopes);
        const [more, dInput] = asked.pullback(tensor2d(dLogits, [n, shape.numExperts]), dx);
        Object.assign(gradients, more);
        dx = dInput;
      }
      dWeights.dispose();
      return [gradients, dx];
    });
    return {
      ...inner,
      drop: () => {
        inner.drop();
        for (const { run } of lanes) run.drop();
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
