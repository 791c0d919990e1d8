/** How the values of a weight lie in memory, where an engine has more than one way. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { clone } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

/** `bfloat16`: the upper half of a float32, rounded to nearest even. */
export type Storage = 'bfloat16';

/** The reference keeps the values as they are: not every engine has a smaller way to lie. */
export const RxHold = namedOp(
  'RxHold',
  (_inputs: { x: Tensor }, _attrs: { storage: Storage }): ReadonlyArray<Tensor> => [],
);

export const RxRelease = namedOp('RxRelease', (_inputs: { x: Tensor }, _attrs: object): ReadonlyArray<Tensor> => []);

/**
 * In place: x, and every tensor that shares its data, lies as `storage` from here on and reads as the values that it keeps; its
 * dtype stays float32. For weights that do not train: updates in place throw. Data that is held already stays as it is, and so
 * does all on engines that have no such storage.
 */
export const hold = (x: Tensor, storage: Storage): void => {
  RxHold.run({ x }, { storage });
};

/** In place: x lies as float32 again, with the values it read as. Does nothing to a tensor that is not held. */
export const release = (x: Tensor): void => {
  RxRelease.run({ x }, {});
};

export const RxKeep = namedOp('RxKeep', ({ x }: { x: Tensor }, _attrs: object): readonly [Tensor] => [clone(x)]);

/**
 * x for the way back: a clone, or where the engine computes in bfloat16 a tensor that lies so. For what products round anyway and
 * for inputs of elementwise functions and norms; never for what the way back subtracts from a number made of exact values.
 */
export const keep = (x: Tensor): Tensor => RxKeep.run({ x }, {})[0];

export const RxKeepWhatMakes = namedOp('RxKeepWhatMakes', ({ x }: { x: Tensor }, _attrs: object): readonly [Tensor] => [
  clone(x),
]);

/**
 * The same for what the way back reads once. Where the engine can make x again of what is kept anyway, in the time that reading it takes,
 * that is kept: on a card gated activations are.
 */
export const keepWhatMakes = (x: Tensor): Tensor => RxKeepWhatMakes.run({ x }, {})[0];
