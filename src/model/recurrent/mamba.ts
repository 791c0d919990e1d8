/** The mixer of Mamba (Gu & Dao 2023, arXiv 2312.00752): a short convolution, a state of each channel that a scan carries on, a gate. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { keepState } from '../attention/cachedAttention.js';
import { eachText } from '../attention/eachText.js';
import type { Text } from '../attention/eachText.js';
import { keep } from '../kernels/hold.js';
import { selectiveScan, selectiveScanGrad } from '../kernels/selectiveScan.js';
import { splitColumns } from '../layers/columns.js';
import { beside, compose, each, identity, inactive, landedOn, onlyWanted, passed } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { gated } from '../layers/mlp.js';
import { bareRmsNorm, rmsNorm } from '../layers/norm.js';
import { past, wire, wired } from '../layers/wired.js';
import type { Pass } from '../pass.js';
import { linearSpec, rmsNormSpec, weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { causalConv, causalConvSpec } from './causalConv.js';

type Map = Layer<Tensor, Tensor>;
type Values = ReadonlyArray<Tensor>;

export interface MambaShape {
  readonly hiddenSize: number;
  /** Channels that are convolved and scanned. */
  readonly inner: number;
  readonly stateDim: number;
  /** Width of what rates are mapped from. */
  readonly rank: number;
  /** Tokens that the convolution reads, its own among them. */
  readonly taps: number;
  readonly convBias: boolean;
  /** The map in and the map out have biases. */
  readonly projectionBias: boolean;
  /** RMS norms of what rates, B and C are, with gains or without. Absent: there are none. */
  readonly norms?: { readonly eps: number; readonly gains: boolean };
}

const namesOf = (module: string) => ({ aLog: `${module}.A_log`, skip: `${module}.D` });

const normsOf = (module: string) => ({
  ofDt: `${module}.dt_layernorm`,
  ofB: `${module}.b_layernorm`,
  ofC: `${module}.c_layernorm`,
});

/** Widths of what rates are mapped from, of B and of C. */
const partsOf = ({ rank, stateDim }: MambaShape) => ({ ofDt: rank, ofB: stateDim, ofC: stateDim });

/** The tensors of a mixer, under transformers' names. */
export const mambaSpec = (module: string, shape: MambaShape): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, inner, stateDim, rank, taps, convBias, projectionBias, norms } = shape;
  const { aLog, skip } = namesOf(module);
  const { ofDt, ofB, ofC } = normsOf(module);
  return [
    ...linearSpec(`${module}.in_proj`, 2 * inner, hiddenSize, projectionBias),
    ...causalConvSpec(`${module}.conv1d`, inner, taps, convBias),
    ...linearSpec(`${module}.x_proj`, rank + 2 * stateDim, inner, false),
    ...(norms?.gains === true ? [rmsNormSpec(ofDt, rank), rmsNormSpec(ofB, stateDim), rmsNormSpec(ofC, stateDim)] : []),
    ...linearSpec(`${module}.dt_proj`, inner, rank, true),
    { name: aLog, shape: [inner, stateDim], kind: 'state' },
    { name: skip, shape: [inner], kind: 'state' },
    ...linearSpec(`${module}.out_proj`, hiddenSize, inner, projectionBias),
  ];
};

/**
 * [x, dt, b, c] ↦ y [N, inner], the scan of x [N, inner] at rates dt [N, inner] with b and c [N, stateDim]. While generating, the cache
 * keeps the channels' states.
 */
const scanned =
  ({ cuSeqlens, cache }: Text, module: string): Layer<Values, Tensor> =>
  (weights, input, wanted) => {
    const [x, dt, b, c] = input as readonly [Tensor, Tensor, Tensor, Tensor];
    const names = namesOf(module);
    const own = { aLog: weightOf(weights, names.aLog), skip: weightOf(weights, names.skip) };
    const before = cache?.states.get(module);
    const keepsState = cache !== undefined;
    const { y, state } = selectiveScan({ x, dt, b, c, ...own, state: before }, { cuSeqlens, keepsState });
    if (cache !== undefined && state !== undefined) keepState(cache, module, state);
    const needWeights = Object.values(names).some(wanted.weight);
    if (!wanted.input && !needWeights) return inactive(y);
    const kept = { x: keep(x), dt: keep(dt), b: keep(b), c: keep(c) };
    return passed(y, Object.values(kept), (dy, onto) => {
      const { dALog, dSkip, dx, dDt, db, dc } = selectiveScanGrad({ dy, ...kept, ...own }, { cuSeqlens });
      dy.dispose();
      const gradients = onlyWanted(
        [
          [names.aLog, dALog],
          [names.skip, dSkip],
        ],
        wanted.weight,
      );
      const dInput: Values = [dx, dDt, db, dc];
      if (wanted.input) return [gradients, landedOn(dInput, onto)];
      for (const one of dInput) one.dispose();
      return [gradients, undefined];
    });
  };

/** x ↦ [dt, b, c], [N, inner] and [N, stateDim] twice: how fast each channel goes on, what is written and how it is read. */
const selecting = (pass: Pass, module: string, shape: MambaShape): Layer<Tensor, Values> => {
  const { norms } = shape;
  const normed = (norm: string): Map => {
    if (norms === undefined) return identity;
    return norms.gains ? rmsNorm(norm, { eps: norms.eps, offset: 0 }) : bareRmsNorm(norms.eps);
  };
  const { ofDt, ofB, ofC } = normsOf(module);
  const rates = compose(normed(ofDt), linear(pass, { module: `${module}.dt_proj` }));
  return compose(
    compose(linear(pass, { module: `${module}.x_proj` }), splitColumns(Object.values(partsOf(shape)))),
    each(rates, normed(ofB), normed(ofC)),
  );
};

/** out(silu(z)·y), [N, C] to the same, y being the scan of what a map makes beside z. `after` is what comes before the last map. */
export const mamba = (pass: Pass, module: string, shape: MambaShape, after: Map): Map => {
  const { inner } = shape;
  const conv = causalConv(pass, { module: `${module}.conv1d`, silu: true });
  const scan = eachText<Values, Tensor>(pass, (text) => scanned(text, module));
  return compose(
    compose(linear(pass, { module: `${module}.in_proj` }), splitColumns([inner, inner])),
    compose(
      wired(wire(0, conv), ...past([1])),
      wired(...past([1, 0]), wire(0, selecting(pass, module, shape))),
      beside(scan),
    ),
    gated('silu'),
    compose(after, linear(pass, { module: `${module}.out_proj` })),
  );
};
