import { mul, tensor } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { namedOp } from './namedOp.js';

export interface DropoutAttrs {
  /** In [0, 1). */
  readonly rate: number;
  /** uint32. */
  readonly seed: number;
  /** uint32: tells the masks of one seed apart. */
  readonly offset: number;
}

/** MurmurHash3's finaliser. */
const mix = (h: number): number => {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
};

/**
 * 1/(1 - rate) where kept, 0 where dropped. Entry i is kept when mix(key ^ mix(i · 0x9e3779b1)) ≥ rate · 2³², with
 * key = mix(seed + mix(offset + 0x7f4a7c15)): a function of (seed, offset, i) alone, so threads need no order and the way
 * back needs no stored mask.
 */
export const dropoutMask = (size: number, { rate, seed, offset }: DropoutAttrs): Float32Array => {
  const key = mix((seed + mix((offset + 0x7f4a7c15) | 0)) | 0);
  const threshold = Math.floor(rate * 0x1_0000_0000);
  const kept = 1 / (1 - rate);
  return Float32Array.from({ length: size }, (_, i) =>
    mix((key ^ mix(Math.imul(i, 0x9e3779b1))) | 0) >= threshold ? kept : 0,
  );
};

export const RxDropout = namedOp('RxDropout', ({ x }: { x: Tensor }, attrs: DropoutAttrs): readonly [Tensor] => [
  mul(x, tensor(dropoutMask(x.size, attrs), x.shape)),
]);

/** x·mask/(1 - rate). Linear in x, so its pullback is itself with the same attributes. */
export const dropout = (x: Tensor, attrs: DropoutAttrs): Tensor => RxDropout.run({ x }, attrs)[0];
