/** Dense linear algebra in doubles: columns made orthonormal, and singular values of matrices of few columns. */

/** A matrix as its columns, each of the same length. */
export type Columns = ReadonlyArray<Float64Array>;

export const dot = (x: Float64Array, y: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] ?? 0) * (y[i] ?? 0);
  return sum;
};

/** y + factor·x, in place. */
export const addTo = (y: Float64Array, x: Float64Array, factor: number): void => {
  for (let i = 0; i < y.length; i++) y[i] = (y[i] ?? 0) + factor * (x[i] ?? 0);
};

export const normOf = (x: Float64Array): number => Math.sqrt(dot(x, x));

/**
 * Q of the QR decomposition of m × k columns, k ≤ m, by Householder's reflections with LAPACK's signs: Qᵀ·(the columns) is upper
 * triangular, and each entry of its diagonal has the sign opposite to that of the number it replaces.
 */
export const orthonormal = (columns: Columns): Columns => {
  const k = columns.length;
  const m = columns[0]?.length ?? 0;
  const work = columns.map((column) => Float64Array.from(column));
  const mirrors: Array<{ readonly v: Float64Array; readonly tau: number }> = [];
  const reflect = (x: Float64Array, { v, tau }: { readonly v: Float64Array; readonly tau: number }): void =>
    addTo(x, v, -tau * dot(v, x));
  for (let j = 0; j < k; j++) {
    const x = work[j] ?? new Float64Array(m);
    for (const mirror of mirrors) reflect(x, mirror);
    const alpha = x[j] ?? 0;
    const v = Float64Array.from(x, (value, i) => (i > j ? value : 0));
    const below = normOf(v);
    if (below === 0) {
      mirrors.push({ v, tau: 0 });
      continue;
    }
    const beta = (alpha >= 0 ? -1 : 1) * Math.hypot(alpha, below);
    for (let i = j + 1; i < m; i++) v[i] = (v[i] ?? 0) / (alpha - beta);
    v[j] = 1;
    mirrors.push({ v, tau: (beta - alpha) / beta });
  }
  return work.map((_, j) => {
    const q = new Float64Array(m);
    q[j] = 1;
    for (const mirror of mirrors.toReversed()) reflect(q, mirror);
    return q;
  });
};

export interface Singular {
  /** Left vectors. */
  readonly u: Columns;
  /** Falling. */
  readonly values: ReadonlyArray<number>;
  /** Right vectors. */
  readonly v: Columns;
}

/** All singular triplets of m × k columns, k ≤ m, by one-sided Jacobi rotations (Hestenes 1958). */
export const jacobi = (columns: Columns): Singular => {
  const k = columns.length;
  const u = columns.map((column) => Float64Array.from(column));
  const v = columns.map((_, j) => Float64Array.from({ length: k }, (__, i) => (i === j ? 1 : 0)));
  const rotate = (x: Float64Array, y: Float64Array, c: number, s: number): void => {
    for (let i = 0; i < x.length; i++) {
      const [a, b] = [x[i] ?? 0, y[i] ?? 0];
      x[i] = c * a - s * b;
      y[i] = s * a + c * b;
    }
  };
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false;
    for (let p = 0; p < k; p++) {
      for (let q = p + 1; q < k; q++) {
        const [x, y, vp, vq] = [u[p], u[q], v[p], v[q]];
        if (x === undefined || y === undefined || vp === undefined || vq === undefined) continue;
        const [alpha, beta, gamma] = [dot(x, x), dot(y, y), dot(x, y)];
        if (Math.abs(gamma) <= 1e-15 * Math.sqrt(alpha * beta)) continue;
        turned = true;
        const zeta = (beta - alpha) / (2 * gamma);
        const t = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const c = 1 / Math.hypot(1, t);
        rotate(x, y, c, c * t);
        rotate(vp, vq, c, c * t);
      }
    }
  }
  const order = u.map((column, j) => ({ j, value: normOf(column) })).toSorted((a, b) => b.value - a.value);
  return {
    values: order.map(({ value }) => value),
    u: order.map(({ j, value }) => (u[j] ?? new Float64Array()).map((x) => (value === 0 ? 0 : x / value))),
    v: order.map(({ j }) => v[j] ?? new Float64Array()),
  };
};
