import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend, NativeInfo } from '../backend.js';
import { expectMatrix, kernel, rowsOf } from '../kernel.js';

interface Attrs {
  readonly places: Int32Array;
  readonly perRow: number;
}

interface Sizes {
  readonly n: number;
  readonly columns: number;
}

const free = (backend: NativeBackend, ...infos: ReadonlyArray<NativeInfo>): void => {
  for (const { dataId } of infos) backend.disposeData(dataId, true);
};

const gathered = (backend: NativeBackend, x: TensorInfo, rows: Int32Array): NativeInfo => {
  const [n, columns] = rowsOf('x', x);
  const out = backend.output([rows.length, columns]);
  backend.put(n).put(columns).tensor(x).tensor(out).run(backend.op.gatherRows, rows);
  return out;
};

/** Each row of x [rows, columns] times its own number of `factors` [rows, 1]: pairs of columns, turned by nothing. */
const scaledRows = (backend: NativeBackend, x: TensorInfo, factors: TensorInfo): NativeInfo => {
  const [rows, columns] = rowsOf('x', x);
  if (columns % 2 !== 0) throw new Error(`rows of ${columns} numbers: on a card their number is even`);
  const zeros = backend.output([rows, 1]);
  const y = backend.output([rows, columns]);
  backend.put(rows).put(0).tensor(zeros).run(backend.op.fill);
  backend
    .put(rows)
    .put(columns / 2)
    .put(2)
    .put(2)
    .put(0)
    .put(0);
  backend.value(x).tensor(factors).tensor(zeros).value(y).run(backend.op.rope);
  free(backend, zeros);
  return y;
};

/** On a card there is no kernel of its own: the sum made of others. */
const combinedOnCard = (
  backend: NativeBackend,
  x: TensorInfo,
  weights: TensorInfo | undefined,
  { places, perRow }: Attrs,
  { n, columns }: Sizes,
): NativeInfo => {
  let sum: NativeInfo | undefined;
  for (let j = 0; j < perRow; j++) {
    const rows = Int32Array.from({ length: n }, (_, i) => places[i * perRow + j] ?? 0);
    let part = gathered(backend, x, rows);
    if (weights !== undefined) {
      const factors = backend.output([n, 1]);
      backend.put(n).put(1).tensor(weights).put(perRow).put(j).tensor(factors).put(1).put(0);
      backend.run(backend.op.copyColumns);
      const scaled = scaledRows(backend, part, factors);
      free(backend, part, factors);
      part = scaled;
    }
    if (sum !== undefined) {
      const next = backend.output([n, columns]);
      backend
        .put(n * columns)
        .value(sum)
        .value(part)
        .value(next)
        .run(backend.op.add);
      free(backend, sum, part);
      part = next;
    }
    sum = part;
  }
  return sum ?? backend.output([n, columns]);
};

const multiply = 2;

const gradOnCard = (
  backend: NativeBackend,
  { dy, x, weights }: { dy: TensorInfo; x: TensorInfo; weights: TensorInfo },
  { places, perRow }: Attrs,
  { n, columns }: Sizes,
): TensorInfo[] => {
  const rows = n * perRow;
  const order = new Int32Array(rows);
  places.forEach((place, i) => {
    order[place] = i;
  });
  const spread = gathered(
    backend,
    dy,
    order.map((i) => Math.floor(i / perRow)),
  );
  const column = backend.alias(weights, [rows, 1]);
  const factors = gathered(backend, column, order);
  backend.disposeData(column.dataId);
  const dx = scaledRows(backend, spread, factors);
  const products = backend.output([rows, columns]);
  const size = rows * columns;
  backend.put(size).put(multiply).put(size).put(size).tensor(spread).tensor(x).tensor(products).run(backend.op.binary);
  const sums = backend.output([rows, 1]);
  backend.put(rows).put(columns).tensor(products).tensor(sums).run(backend.op.rowSum);
  const dWeights = gathered(backend, sums, places);
  free(backend, spread, factors, products, sums);
  return [dx, { ...dWeights, shape: [n, perRow] }];
};

export const combineRows = kernel(
  'RxCombineRows',
  (backend, { x, weights }: { x: TensorInfo; weights?: TensorInfo | undefined }, attrs: Attrs) => {
    const { places, perRow } = attrs;
    const [, columns] = rowsOf('x', x);
    const n = places.length / perRow;
    expectMatrix('x', x, places.length, columns);
    expectMatrix('weights', weights, n, perRow);
    if (backend.onCard) return [combinedOnCard(backend, x, weights, attrs, { n, columns })];
    const out = backend.output([n, columns]);
    backend.put(n).put(perRow).put(columns).tensor(x).optional(weights).tensor(out);
    backend.run(backend.op.combineRows, places);
    return [out];
  },
);

export const combineRowsGrad = kernel(
  'RxCombineRowsGrad',
  (backend, { dy, x, weights }: { dy: TensorInfo; x: TensorInfo; weights: TensorInfo }, attrs: Attrs): TensorInfo[] => {
    const { places, perRow } = attrs;
    const [n, columns] = rowsOf('dy', dy);
    expectMatrix('x', x, n * perRow, columns);
    expectMatrix('weights', weights, n, perRow);
    if (backend.onCard) return gradOnCard(backend, { dy, x, weights }, attrs, { n, columns });
    const dx = backend.output([n * perRow, columns]);
    const dWeights = backend.output([n, perRow]);
    backend.put(n).put(perRow).put(columns).tensor(dy).tensor(x).tensor(weights).tensor(dx).tensor(dWeights);
    backend.run(backend.op.combineRowsGrad, places);
    return [dx, dWeights];
  },
);
