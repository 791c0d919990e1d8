import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, kernel, rowsOf } from '../kernel.js';

interface Attrs {
  readonly places: Int32Array;
  readonly perRow: number;
}

export const combineRows = kernel(
  'RxCombineRows',
  (
    backend,
    { x, weights }: { x: TensorInfo; weights?: TensorInfo | undefined },
    { places, perRow }: Attrs,
  ): TensorInfo[] => {
    const [, columns] = rowsOf('x', x);
    const n = places.length / perRow;
    expectMatrix('x', x, places.length, columns);
    expectMatrix('weights', weights, n, perRow);
    const out = backend.output([n, columns]);
    backend.put(n).put(perRow).put(columns).value(x).optional(weights).value(out);
    backend.run(backend.op.combineRows, places);
    return [out];
  },
);

export const combineRowsGrad = kernel(
  'RxCombineRowsGrad',
  (
    backend,
    { dy, x, weights }: { dy: TensorInfo; x: TensorInfo; weights: TensorInfo },
    { places, perRow }: Attrs,
  ): TensorInfo[] => {
    const [n, columns] = rowsOf('dy', dy);
    expectMatrix('x', x, n * perRow, columns);
    expectMatrix('weights', weights, n, perRow);
    const dx = backend.outputAs(backend.liesHalved(x), [n * perRow, columns]);
    const dWeights = backend.output([n, perRow]);
    backend.put(n).put(perRow).put(columns).value(dy).value(x).tensor(weights).value(dx).tensor(dWeights);
    backend.run(backend.op.combineRowsGrad, places);
    return [dx, dWeights];
  },
);
