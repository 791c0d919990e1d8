import type { Tensor } from '@tensorflow/tfjs-core';
import { add, exp, log, mul, relu, sub } from '../../tfjs.js';

/** log(1 + eˣ), where e to no great number is taken. */
export const softplus = (x: Tensor): Tensor => add(relu(x), log(add(exp(sub(x, mul(relu(x), 2))), 1)));
