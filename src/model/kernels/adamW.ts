import type { Tensor } from '@tensorflow/tfjs-core';
import { add, div, mul, sqrt, square, sub } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export interface AdamWAttrs {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** One a parameter. */
  readonly weightDecay: Float32Array;
  /** 1-based. */
  readonly step: number;
  /** Factor of every gradient before all else: clipping. */
  readonly gradScale: number;
}

/** Clipping by a norm that has not been read. */
export interface Clip {
  /** The sum of the squares of all gradients. Where it is no finite number the update does nothing. */
  readonly squaredNorm: Tensor;
  /** What gradients are scaled down to; 0: they are not. */
  readonly maxNorm: number;
}

/**
 * Inputs: n parameters, n gradients, n first moments, n second moments; with `maxNorm` the squared norm of `Clip` behind them. Kernels
 * write in place and return nothing.
 */
export const RxAdamW = namedOp(
  'RxAdamW',
  (
    tensors: ReadonlyArray<Tensor>,
    attrs: AdamWAttrs & { readonly n: number; readonly maxNorm?: number | undefined },
  ): ReadonlyArray<Tensor> => {
    if (attrs.maxNorm !== undefined) throw new Error('only engines of a card clip by a norm that nobody has read');
    const { n, learningRate, beta1, beta2, epsilon, weightDecay, step, gradScale } = attrs;
    const unbias1 = 1 - beta1 ** step;
    const unbias2 = 1 - beta2 ** step;
    const updated = Array.from({ length: n }, (_, i) => {
      const [p, g, m, v] = [0, 1, 2, 3].map((part) => tensors[part * n + i]) as [Tensor, Tensor, Tensor, Tensor];
      const scaled = mul(g, gradScale);
      const m1 = add(mul(m, beta1), mul(scaled, 1 - beta1));
      const v1 = add(mul(v, beta2), mul(square(scaled), 1 - beta2));
      const direction = div(div(m1, unbias1), add(sqrt(div(v1, unbias2)), epsilon));
      const decayed = mul(p, 1 - learningRate * (weightDecay[i] ?? 0));
      return [sub(decayed, mul(direction, learningRate)), m1, v1] as const;
    });
    return [...updated.map(([p]) => p), ...updated.map(([, m]) => m), ...updated.map(([, , v]) => v)];
  },
);

export interface AdamWState {
  readonly parameters: ReadonlyArray<Tensor>;
  /** First moments. */
  readonly m: ReadonlyArray<Tensor>;
  /** Second moments. */
  readonly v: ReadonlyArray<Tensor>;
}

/**
 * The state after one step of AdamW (Loshchilov & Hutter 2019), decay decoupled: p ← p·(1 - lr·wd) - lr·m̂ / (√v̂ + ε).
 * Consumes the state given (updating in place where the engine can); borrows the gradients.
 */
export const adamW = (
  state: AdamWState,
  gradients: ReadonlyArray<Tensor>,
  attrs: AdamWAttrs,
  /** Of engines on a card alone. */
  clip?: Clip,
): AdamWState => {
  const n = state.parameters.length;
  const tensors = [...state.parameters, ...gradients, ...state.m, ...state.v];
  const outputs =
    clip === undefined
      ? RxAdamW.run(tensors, { ...attrs, n })
      : RxAdamW.run([...tensors, clip.squaredNorm], { ...attrs, n, maxNorm: clip.maxNorm });
  if (outputs.length === 0) return state;
  for (const old of [...state.parameters, ...state.m, ...state.v]) old.dispose();
  return { parameters: outputs.slice(0, n), m: outputs.slice(n, 2 * n), v: outputs.slice(2 * n) };
};
