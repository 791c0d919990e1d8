/** The mixer of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060): a short convolution, a state that a scan carries from token to token, a gate. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { keepState } from '../attention/cachedAttention.js';
import { eachText } from '../attention/eachText.js';
import type { Text } from '../attention/eachText.js';
import { clone } from '../kernels/clone.js';
import { keep } from '../kernels/hold.js';
import { stateSpaceScan, stateSpaceScanGrad } from '../kernels/stateSpaceScan.js';
import type { ScanAttrs } from '../kernels/stateSpaceScan.js';
import { splitColumns } from '../layers/columns.js';
import { groupedRmsNorm } from '../layers/groupedNorm.js';
import { at, compose, each, identity, inactive, landedOn, onlyWanted, passed } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { gated } from '../layers/mlp.js';
import { scaledColumns } from '../layers/scaledColumns.js';
import type { Pass } from '../pass.js';
import { linearSpec, rmsNormSpec, weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { causalConv, causalConvSpec } from './causalConv.js';

type Map = Layer<Tensor, Tensor>;

export interface Mamba2Shape extends Omit<ScanAttrs, 'cuSeqlens'> {
  readonly hiddenSize: number;
  /** Tokens that the convolution reads, its own among them. */
  readonly taps: number;
  readonly convBias: boolean;
  /** The map in has a bias, the map out. */
  readonly projectionBias: boolean;
  readonly outputBias: boolean;
  /** Of y, each of so many groups of its columns by itself; before z gates it, or after. Absent: there is none. */
  readonly norm?: { readonly eps: number; readonly groups: number; readonly beforeGate: boolean };
  /** What z, x, B, C and dt are multiplied by. Default: 1. */
  readonly factors?: ReadonlyArray<number>;
}

/** Width of x, and of what is convolved: x, B and C. */
const widthsOf = ({ heads, headDim, groups, stateDim }: Mamba2Shape) => {
  const inner = heads * headDim;
  return { inner, convolved: inner + 2 * groups * stateDim };
};

const namesOf = (module: string) => ({ aLog: `${module}.A_log`, skip: `${module}.D`, dtBias: `${module}.dt_bias` });

/** The tensors of a mixer, under transformers' names. */
export const mamba2Spec = (module: string, shape: Mamba2Shape): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, heads, taps, convBias, projectionBias, outputBias, norm } = shape;
  const { inner, convolved } = widthsOf(shape);
  const { aLog, skip, dtBias } = namesOf(module);
  return [
    ...linearSpec(`${module}.in_proj`, inner + convolved + heads, hiddenSize, projectionBias),
    ...causalConvSpec(`${module}.conv1d`, convolved, taps, convBias),
    { name: aLog, shape: [heads], kind: 'state' },
    { name: skip, shape: [heads], kind: 'state' },
    { name: dtBias, shape: [heads], kind: 'bias' },
    ...(norm === undefined ? [] : [rmsNormSpec(`${module}.norm`, inner)]),
    ...linearSpec(`${module}.out_proj`, hiddenSize, inner, outputBias),
  ];
};

/**
 * [z, xbc, dt] ↦ [z, y]: z [N, inner] as it is, y [N, inner] the scan of x, B and C [N, inner + 2 · groups · stateDim] at rates dt
 * [N, heads]. While generating, the cache keeps the heads' states.
 */
const scanned =
  (
    { cuSeqlens, cache }: Text,
    module: string,
    { heads, headDim, groups, stateDim, least, most }: Mamba2Shape,
  ): Layer<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>> =>
  (weights, input, wanted) => {
    const [z, xbc, dt] = input as readonly [Tensor, Tensor, Tensor];
    const names = namesOf(module);
    const own = {
      aLog: weightOf(weights, names.aLog),
      skip: weightOf(weights, names.skip),
      dtBias: weightOf(weights, names.dtBias),
    };
    const attrs = { cuSeqlens, heads, headDim, groups, stateDim, least, most };
    const before = cache?.states.get(module);
    const keepsState = cache !== undefined;
    const { y, state } = stateSpaceScan({ xbc, dt, ...own, state: before }, { ...attrs, keepsState });
    if (cache !== undefined && state !== undefined) keepState(cache, module, state);
    const value: ReadonlyArray<Tensor> = [clone(z), y];
    const needWeights = Object.values(names).some(wanted.weight);
    if (!wanted.input && !needWeights) return inactive(value);
    const kept = { xbc: keep(xbc), dt: clone(dt) };
    return passed(value, Object.values(kept), (dValue, onto) => {
      const [dz, dy] = [at(dValue, 0), at(dValue, 1)];
      const { dXbc, dDt, dALog, dSkip, dDtBias } = stateSpaceScanGrad({ dy, ...kept, ...own }, attrs);
      dy.dispose();
      const gradients = onlyWanted(
        [
          [names.aLog, dALog],
          [names.skip, dSkip],
          [names.dtBias, dDtBias],
        ],
        wanted.weight,
      );
      const dInput: ReadonlyArray<Tensor> = [dz, dXbc, dDt];
      if (wanted.input) return [gradients, landedOn(dInput, onto)];
      for (const one of dInput) one.dispose();
      return [gradients, undefined];
    });
  };

/** [z, y] ↦ y gated by silu(z) and normed, in either order. */
const gatedNormed = (module: string, { heads, headDim, norm }: Mamba2Shape): Layer<ReadonlyArray<Tensor>, Tensor> => {
  if (norm === undefined) return gated('silu');
  const { eps, groups, beforeGate } = norm;
  const own = groupedRmsNorm(`${module}.norm`, { eps, groups, width: heads * headDim });
  return beforeGate ? compose(each(identity, own), gated('silu')) : compose(gated('silu'), own);
};

/**
 * out(norm(silu(z)·y)), [N, C] to the same, y being the scan of what a map makes beside z. `after` is what comes before the last map: the
 * choice of rows that are read.
 */
export const mamba2 = (pass: Pass, module: string, shape: Mamba2Shape, after: Map): Map => {
  const { heads, groups, stateDim, factors } = shape;
  const { inner, convolved } = widthsOf(shape);
  const project = linear(pass, { module: `${module}.in_proj` });
  const sizes = [inner, inner, groups * stateDim, groups * stateDim, heads];
  return compose(
    compose(
      factors === undefined ? project : compose(project, scaledColumns(sizes, factors)),
      splitColumns([inner, convolved, heads]),
    ),
    compose(
      each(identity, causalConv(pass, { module: `${module}.conv1d`, silu: true }), identity),
      eachText(pass, (text) => scanned(text, module, shape)),
    ),
    gatedNormed(module, shape),
    compose(after, linear(pass, { module: `${module}.out_proj` })),
  );
};
