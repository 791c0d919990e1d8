/** The largest singular triplets of a matrix, in doubles. */
import type { Random } from '../../seed.js';
import { addTo, dot, jacobi, normOf, orthonormal } from './orthonormal.js';
import type { Columns, Singular } from './orthonormal.js';

/** Row-major [rows, columns]. */
export interface Matrix {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** W·x. */
const times = ({ values, rows, columns }: Matrix, x: Float64Array): Float64Array =>
  Float64Array.from({ length: rows }, (_, i) => {
    let sum = 0;
    for (let j = 0, at = i * columns; j < columns; j++, at++) sum += (values[at] ?? 0) * (x[j] ?? 0);
    return sum;
  });

/** Wᵀ·y. */
export const timesTransposed = ({ values, rows, columns }: Matrix, y: Float64Array): Float64Array => {
  const result = new Float64Array(columns);
  for (let i = 0; i < rows; i++) {
    const factor = y[i] ?? 0;
    for (let j = 0, at = i * columns; j < columns; j++, at++) result[j] = (result[j] ?? 0) + factor * (values[at] ?? 0);
  }
  return result;
};

/** Twice, so that rounding leaves nothing of the others (Parlett's "twice is enough"). */
const clear = (x: Float64Array, others: Columns): void => {
  for (let pass = 0; pass < 2; pass++) for (const other of others) addTo(x, other, -dot(other, x));
};

/** A unit vector at right angles to the others, as drawn. */
const another = (length: number, others: Columns, { normal }: Random): Float64Array => {
  const x = Float64Array.from({ length }, normal);
  clear(x, others);
  const norm = normOf(x);
  return x.map((value) => value / norm);
};

/** Σ weights·columns. */
const mixed = (columns: Columns, weights: Float64Array): Float64Array => {
  const sum = new Float64Array(columns[0]?.length ?? 0);
  columns.forEach((column, i) => addTo(sum, column, weights[i] ?? 0));
  return sum;
};

/**
 * The r largest triplets by Golub and Kahan's bidiagonalisation with every vector kept orthogonal to all before it (Golub and Van
 * Loan, Matrix Computations, 10.4.4): steps until what is left over of each triplet is below 1e-10 of the largest value, or until
 * the matrix is exhausted, which is exact.
 */
export const largestSingular = (matrix: Matrix, r: number, random: Random): Singular => {
  // From the shorter side, which the steps exhaust first.
  if (matrix.rows >= matrix.columns) return fromRight(upright(matrix), r, random);
  const { u, values, v } = fromRight(turned(matrix), r, random);
  return { u: v, values, v: u };
};

/** A matrix by what it does: rows ≥ columns. */
interface Operator {
  readonly rows: number;
  readonly columns: number;
  readonly forward: (x: Float64Array) => Float64Array;
  readonly back: (y: Float64Array) => Float64Array;
}

const upright = (matrix: Matrix): Operator => ({
  rows: matrix.rows,
  columns: matrix.columns,
  forward: (x) => times(matrix, x),
  back: (y) => timesTransposed(matrix, y),
});

const turned = (matrix: Matrix): Operator => ({
  rows: matrix.columns,
  columns: matrix.rows,
  forward: (x) => timesTransposed(matrix, x),
  back: (y) => times(matrix, y),
});

const fromRight = ({ rows, columns, forward, back }: Operator, r: number, random: Random): Singular => {
  const most = columns;
  const us: Array<Float64Array> = [];
  const vs: Array<Float64Array> = [another(columns, [], random)];
  const alphas: Array<number> = [];
  const betas: Array<number> = [];
  let scale = 0;
  let look = 2 * r;
  for (let k = 1; ; k++) {
    const v = vs[k - 1] ?? new Float64Array(columns);
    const u = forward(v);
    const previous = us[k - 2];
    if (previous !== undefined) addTo(u, previous, -(betas[k - 2] ?? 0));
    clear(u, us);
    const alpha = normOf(u);
    scale = Math.max(scale, alpha);
    const lost = alpha <= 1e-14 * scale || alpha === 0;
    us.push(lost ? another(rows, us, random) : u.map((x) => x / alpha));
    alphas.push(lost ? 0 : alpha);
    const next = back(us[k - 1] ?? u);
    addTo(next, v, -(alphas[k - 1] ?? 0));
    clear(next, vs);
    const beta = normOf(next);
    const broken = beta <= 1e-14 * scale || beta === 0;
    betas.push(broken ? 0 : beta);
    const last = k === most;
    if (last || k >= look) {
      look = Math.ceil(1.3 * k) + 4;
      // Upper bidiagonal: alphas on the diagonal, betas above it. Its columns:
      const bidiagonal = alphas.map((_, j) => {
        const column = new Float64Array(k);
        column[j] = alphas[j] ?? 0;
        if (j > 0) column[j - 1] = betas[j - 1] ?? 0;
        return column;
      });
      const small = jacobi(bidiagonal);
      const over = (i: number): number => Math.abs((betas[k - 1] ?? 0) * (small.u[i]?.[k - 1] ?? 0));
      const largest = small.values[0] ?? 0;
      if (last || Array.from({ length: r }, (_, i) => over(i)).every((rest) => rest <= 1e-10 * largest)) {
        const chosen = Array.from({ length: r }, (_, i) => i);
        return {
          values: chosen.map((i) => small.values[i] ?? 0),
          u: chosen.map((i) => mixed(us, small.u[i] ?? new Float64Array())),
          v: chosen.map((i) => mixed(vs, small.v[i] ?? new Float64Array())),
        };
      }
    }
    vs.push(broken ? another(columns, vs, random) : next.map((x) => x / beta));
  }
};

/**
 * The r largest triplets approximately: r drawn vectors, `iterations` times through the matrix and back (Halko, Martinsson and Tropp
 * 2011, algorithm 4.4, as torch.svd_lowrank has it).
 */
export const roughSingular = (matrix: Matrix, r: number, iterations: number, { normal }: Random): Singular => {
  const forward = (columns: Columns): Columns => orthonormal(columns.map((x) => times(matrix, x)));
  let q = forward(Array.from({ length: r }, () => Float64Array.from({ length: matrix.columns }, normal)));
  for (let i = 0; i < iterations; i++) q = forward(orthonormal(q.map((y) => timesTransposed(matrix, y))));
  // Qᵀ·W, transposed: n × r.
  const { u, values, v } = jacobi(q.map((y) => timesTransposed(matrix, y)));
  return { values, u: v.map((weights) => mixed(q, weights)), v: u };
};
