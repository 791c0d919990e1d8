/** Laws of the linear algebra that adapters begin with: orthonormal columns, and the largest singular triplets of any matrix. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { dot, jacobi, orthonormal } from '../../src/model/adapters/orthonormal.js';
import type { Columns } from '../../src/model/adapters/orthonormal.js';
import { largestSingular, timesTransposed } from '../../src/model/adapters/singularVectors.js';
import type { Matrix } from '../../src/model/adapters/singularVectors.js';
import { random } from '../../src/seed.js';

/** Some of low rank, with values that repeat, or zero. */
const matrices = fc
  .record({
    rows: fc.integer({ min: 1, max: 9 }),
    columns: fc.integer({ min: 1, max: 9 }),
    seed: fc.nat(1000),
    kind: fc.constantFrom('full', 'rank one', 'unit', 'zero'),
  })
  .map(({ rows, columns, seed, kind }): Matrix => {
    const { normal } = random(seed, 'init');
    const left = Array.from({ length: rows }, normal);
    const right = Array.from({ length: columns }, normal);
    const value = (i: number, j: number): number => {
      if (kind === 'zero') return 0;
      if (kind === 'unit') return i === j ? 1 : 0;
      return kind === 'full' ? normal() : (left[i] ?? 0) * (right[j] ?? 0);
    };
    return {
      rows,
      columns,
      values: Float32Array.from({ length: rows * columns }, (_, at) => value(Math.floor(at / columns), at % columns)),
    };
  });

const columnsOf = ({ values, rows, columns }: Matrix): Columns =>
  Array.from({ length: columns }, (_, j) =>
    Float64Array.from({ length: rows }, (__, i) => values[i * columns + j] ?? 0),
  );

const rowsOf = ({ values, rows, columns }: Matrix): Columns =>
  Array.from({ length: rows }, (_, i) => Float64Array.from(values.subarray(i * columns, i * columns + columns)));

const near = (got: number, expected: number): void => expect(Math.abs(got - expected)).toBeLessThan(1e-8);

const areOrthonormal = (vectors: Columns): void =>
  vectors.forEach((x, i) => vectors.forEach((y, j) => near(dot(x, y), i === j ? 1 : 0)));

describe('the largest singular triplets', () => {
  it('are those of the whole decomposition: Wᵀ·u = σ·v, both sides orthonormal, values the same', () => {
    fc.assert(
      fc.property(matrices, fc.nat(8), fc.nat(1000), (matrix, more, seed) => {
        const most = Math.min(matrix.rows, matrix.columns);
        const r = 1 + (more % most);
        const { u, values, v } = largestSingular(matrix, r, random(seed, 'init'));
        const whole = jacobi(matrix.rows >= matrix.columns ? columnsOf(matrix) : rowsOf(matrix));
        expect(values).toHaveLength(r);
        values.forEach((value, i) => near(value, whole.values[i] ?? NaN));
        // A vector of value 0 counts for nothing.
        for (const side of [u, v]) areOrthonormal(side.filter((_, i) => (values[i] ?? 0) > 1e-9));
        u.forEach((left, i) => {
          const turned = timesTransposed(matrix, left);
          turned.forEach((x, j) => near(x, (values[i] ?? NaN) * (v[i]?.[j] ?? NaN)));
        });
      }),
      { numRuns: 200 },
    );
  });
});

describe('orthonormal', () => {
  it('spans what the columns span, triangle by triangle', () => {
    fc.assert(
      fc.property(matrices, (matrix) => {
        const columns = columnsOf(matrix).slice(0, matrix.rows);
        const q = orthonormal(columns);
        areOrthonormal(q);
        columns.forEach((column, j) => {
          for (const unit of q.slice(j + 1)) near(dot(unit, column), 0);
        });
      }),
      { numRuns: 200 },
    );
  });
});
