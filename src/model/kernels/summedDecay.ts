/** Decays as scans in chunks of tokens sum them up. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { maximum } from '../../tfjs.js';

/** What e to it is 0 of, in float32. */
const least = -104;

/**
 * Logarithms of decays, none below -104. What lies below leaves nothing either way, and would take the digits that the tokens after it
 * need out of the running sums, or make their differences no numbers.
 */
export const summedDecay = (decay: Tensor): Tensor => maximum(decay, least);
