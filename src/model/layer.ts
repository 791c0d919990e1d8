/**
 * Layers carry their pullbacks: a layer returns its value and the way back. There is no tape, so an activation lives exactly
 * until the way back has consumed it.
 */
import type { Tensor } from '@tensorflow/tfjs-core';

/** Named weights; names are the checkpoint's own. */
export type Weights = Readonly<Record<string, Tensor>>;

/** Gradients of the trainable weights only, under the weights' names. */
export type Gradients = Readonly<Record<string, Tensor>>;

/**
 * Forward value, and a pullback from the value's gradient to the gradients of weights and input. A pullback is called at most
 * once; it owns `dOutput` and everything the forward pass kept, and disposes what it does not hand on. When no pullback will be
 * called, call `drop` instead.
 */
export interface Passed<A, B> {
  readonly value: B;
  readonly pullback: (dOutput: B) => readonly [Gradients, A];
  /** Frees what was kept for the way back. */
  readonly drop: () => void;
}

export type Layer<A, B> = (weights: Weights, input: A) => Passed<A, B>;
