import type { Tensor } from '@tensorflow/tfjs-core';
import { mul, tensor } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export interface DropoutAttrs {
  /** In [0, 1). */
  readonly rate: number;
  /** uint32. */
  readonly seed: number;
  /** Integer in [0, 2⁵³): where in the seed's endless mask this one begins. */
  readonly offset: number;
}

/** MurmurHash3's finaliser. */
const mix = (h: number): number => {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
};

/**
 * 1/(1 - rate) where kept, 0 where dropped. With index = offset + i split into 32-bit words low and high, and
 * key = mix(mix(seed) + high), entry i is kept when mix(mix(low ^ key) + key) / 2³² ≥ rate in steps of 2⁻²⁴: a function of
 * (seed, offset + i) alone, so threads need no order and the way back needs no stored mask. Every engine draws the same.
 */
export const dropoutMask = (size: number, { rate, seed, offset }: DropoutAttrs): Float32Array => {
  const threshold = Math.ceil(rate * 0x100_0000);
  const kept = 1 / (1 - rate);
  const seeded = mix(seed | 0);
  return Float32Array.from({ length: size }, (_, i) => {
    const index = offset + i;
    const key = mix((seeded + Math.floor(index / 0x1_0000_0000)) | 0);
    return mix((mix((index ^ key) | 0) + key) | 0) >>> 8 >= threshold ? kept : 0;
  });
};

export const RxDropout = namedOp('RxDropout', ({ x }: { x: Tensor }, attrs: DropoutAttrs): readonly [Tensor] => [
  mul(x, tensor(dropoutMask(x.size, attrs), x.shape)),
]);

/** x·mask/(1 - rate). Linear in x, so its pullback is itself with the same attributes. */
export const dropout = (x: Tensor, attrs: DropoutAttrs): Tensor => RxDropout.run({ x }, attrs)[0];
