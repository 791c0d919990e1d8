import type { Tensor } from '@tensorflow/tfjs-core';
import { clone, concat, split } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export const RxSplitColumns = namedOp(
  'RxSplitColumns',
  ({ x }: { x: Tensor }, { sizes }: { sizes: ReadonlyArray<number> }): ReadonlyArray<Tensor> =>
    sizes.length === 1 ? [clone(x)] : split(x, [...sizes], 1),
);

/** Parts of x [N, Σ sizes], each [N, size]. */
export const splitColumns = (x: Tensor, sizes: ReadonlyArray<number>): ReadonlyArray<Tensor> =>
  RxSplitColumns.run({ x }, { sizes });

export const RxConcatColumns = namedOp(
  'RxConcatColumns',
  (parts: ReadonlyArray<Tensor>, _attrs: object): readonly [Tensor] => [concat([...parts], 1)],
);

/** [N, c₀], [N, c₁], … side by side. */
export const concatColumns = (parts: ReadonlyArray<Tensor>): Tensor => RxConcatColumns.run(parts, {})[0];
