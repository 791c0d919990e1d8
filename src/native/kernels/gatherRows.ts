import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, kernel, rowsOf, sizeOf } from '../kernel.js';

export const gatherRows = kernel(
  'RxGatherRows',
  (backend, { x }: { x: TensorInfo }, { rows }: { rows: Int32Array }) => {
    const [n, columns] = rowsOf('x', x);
    const out = backend.outputAs(backend.liesHalved(x), [rows.length, columns]);
    backend.put(n).put(columns).value(x).value(out).run(backend.op.gatherRows, rows);
    return [out];
  },
);

export const gatherRowsAt = kernel('RxGatherRowsAt', (backend, { x, rows }: { x: TensorInfo; rows: TensorInfo }) => {
  const [n, columns] = rowsOf('x', x);
  const count = sizeOf(rows);
  const out = backend.outputAs(backend.liesHalved(x), [count, columns]);
  backend.put(n).put(columns).put(count).value(x).value(out).integers(rows).run(backend.op.gatherRowsAt);
  return [out];
});

export const scatterRows = kernel(
  'RxScatterRows',
  (backend, { dy }: { dy: TensorInfo }, { rows, size }: { rows: Int32Array; size: number }) => {
    const [, columns] = rowsOf('dy', dy);
    expectMatrix('dy', dy, rows.length, columns);
    const out = backend.output([size, columns]);
    backend.put(size).put(columns).tensor(dy).tensor(out).run(backend.op.scatterRows, rows);
    return [out];
  },
);
