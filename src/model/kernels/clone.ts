import type { Identity, Tensor } from '@tensorflow/tfjs-core';
import { clone as tfClone } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

/** tfjs's own name, so that its gradient is found. */
const name: typeof Identity = 'Identity';

const identity = namedOp(name, ({ x }: { x: Tensor }, _attrs: object): readonly [Tensor] => [tfClone(x)]);

/** x again, sharing its data: tfjs's `clone`, at a third of its cost. */
export const clone = (x: Tensor): Tensor => identity.run({ x }, {})[0];
