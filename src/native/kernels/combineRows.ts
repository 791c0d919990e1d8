import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, kernel, rowsOf, sizeOf } from '../kernel.js';

interface Attrs {
  readonly perRow: number;
}

/** The next argument is where the rows lie: a tensor, or none. */
const putPlaces = (backend: NativeBackend, places: TensorInfo | undefined, n: number): NativeBackend => {
  if (places !== undefined && sizeOf(places) !== n) throw new Error(`${sizeOf(places)} places of ${n} rows`);
  return places === undefined ? backend.put(0) : backend.integers(places);
};

export const combineRows = kernel(
  'RxCombineRows',
  (
    backend,
    { x, weights, places }: { x: TensorInfo; weights?: TensorInfo | undefined; places?: TensorInfo | undefined },
    { perRow }: Attrs,
  ): TensorInfo[] => {
    const [rows, columns] = rowsOf('x', x);
    const n = rows / perRow;
    expectMatrix('weights', weights, n, perRow);
    const out = backend.output([n, columns]);
    backend.put(n).put(perRow).put(columns).value(x).optional(weights).value(out);
    putPlaces(backend, places, rows).run(backend.op.combineRows);
    return [out];
  },
);

export const combineRowsGrad = kernel(
  'RxCombineRowsGrad',
  (
    backend,
    { dy, x, weights, places }: { dy: TensorInfo; x: TensorInfo; weights: TensorInfo; places?: TensorInfo | undefined },
    { perRow }: Attrs,
  ): TensorInfo[] => {
    const [n, columns] = rowsOf('dy', dy);
    expectMatrix('x', x, n * perRow, columns);
    expectMatrix('weights', weights, n, perRow);
    const dx = backend.outputAs(backend.liesHalved(x), [n * perRow, columns]);
    const dWeights = backend.output([n, perRow]);
    backend.put(n).put(perRow).put(columns).value(dy).value(x).tensor(weights).value(dx).tensor(dWeights);
    putPlaces(backend, places, n * perRow).run(backend.op.combineRowsGrad);
    return [dx, dWeights];
  },
);
