import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, kernel, rowsOf } from '../kernel.js';

export const embedding = kernel(
  'RxEmbedding',
  (backend, { table }: { table: TensorInfo }, { ids }: { ids: Int32Array }) => {
    const [vocabSize, columns] = rowsOf('table', table);
    const out = backend.output([ids.length, columns]);
    backend.put(vocabSize).put(columns).matrix(table).tensor(out).run(backend.op.embedding, ids);
    return [out];
  },
);

/** In place. */
export const addRows = kernel(
  'RxAddRows',
  (backend, { table, x }: { table: TensorInfo; x: TensorInfo }, { rows }: { rows: Int32Array }) => {
    const [size, columns] = rowsOf('table', table);
    expectMatrix('x', x, rows.length, columns);
    backend.put(size).put(columns).put(1).tensor(x).written(table).run(backend.op.embeddingGrad, rows);
    return [];
  },
);

export const embeddingGrad = kernel(
  'RxEmbeddingGrad',
  (backend, { dy }: { dy: TensorInfo }, { ids, vocabSize }: { ids: Int32Array; vocabSize: number }) => {
    const [, columns] = rowsOf('dy', dy);
    expectMatrix('dy', dy, ids.length, columns);
    const dTable = backend.output([vocabSize, columns]);
    backend.put(vocabSize).put(columns).put(0).tensor(dy).tensor(dTable).run(backend.op.embeddingGrad, ids);
    return [dTable];
  },
);
