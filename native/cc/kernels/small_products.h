// Products of matrices that lie in the caches, for kernels that make many of them on one thread. Rows are whole vectors long, with zeros
// beyond what counts.
#pragma once

#include "../simd.h"
#include "parallel.h"
#include "transpose.h"

namespace {

RX_INLINE long whole(long n) { return parts_of(n, VW) * VW; }

// What of a product is known to be nothing, or not wanted.
enum Part {
  ALL,
  LOWER,        // of a, what lies above the diagonal is 0
  UPPER,        // of a, what lies below the diagonal is 0
  LOWER_RESULT, // what lies above the diagonal of c is not wanted
  UPPER_RESULT  // what lies below the diagonal of c is not wanted
};

// a's number (i, p) lies at i row + p column.
struct Left {
  const float* at;
  long row, column;
};

// c [m, n] = (c +) a b: n whole vectors, b and c with ldb and ldc floats a row.
struct Product {
  float* c;
  long ldc;
  Left a;
  const float* b;
  long ldb;
};

template <int rows, int vectors>
RX_INLINE void product_tile(const Product& g, long i, long j, long from, long to, bool add) {
  float* const c = g.c + i * g.ldc + j;
  vf sum[rows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int w = 0; w < vectors; w++) sum[r][w] = add ? load(c + r * g.ldc + w * VW) : vset(0.f);
  const float* a = g.a.at + i * g.a.row + from * g.a.column;
  const float* b = g.b + from * g.ldb + j;
  for (long p = from; p < to; p++, a += g.a.column, b += g.ldb) {
    vf right[vectors];
#pragma GCC unroll 2
    for (int w = 0; w < vectors; w++) right[w] = load(b + w * VW);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const vf left = vset(a[r * g.a.row]);
#pragma GCC unroll 2
      for (int w = 0; w < vectors; w++) sum[r][w] = fma(left, right[w], sum[r][w]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int w = 0; w < vectors; w++) store(c + r * g.ldc + w * VW, sum[r][w]);
}

template <int rows>
RX_STATIC void product_band(const Product& g, long i, long first, long n, long from, long to, bool add) {
  long j = first;
  for (; j + 2 * VW <= n; j += 2 * VW) product_tile<rows, 2>(g, i, j, from, to, add);
  if (j < n) product_tile<rows, 1>(g, i, j, from, to, add);
}

// As many rows as the registers hold sums of, with two vectors each.
#if VW == 8
constexpr int band_rows = 6;
#elif VW == 16 || defined(__ARM_NEON)
constexpr int band_rows = 8;
#else
constexpr int band_rows = 4;
#endif

RX_STATIC void multiply(const Product& g, long m, long n, long k, bool add, Part part = ALL) {
  for (long i = 0; i < m;) {
    const long left = m - i, rows = left >= band_rows ? band_rows : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    const long from = part == UPPER ? i : 0, to = part == LOWER ? smaller(k, i + rows) : k;
    const long first = part == UPPER_RESULT ? i / VW * VW : 0, columns = part == LOWER_RESULT ? smaller(n, whole(i + rows)) : n;
    if (rows == band_rows)
      product_band<band_rows>(g, i, first, columns, from, to, add);
    else if (rows == 4)
      product_band<4>(g, i, first, columns, from, to, add);
    else if (rows == 2)
      product_band<2>(g, i, first, columns, from, to, add);
    else
      product_band<1>(g, i, first, columns, from, to, add);
    i += rows;
  }
}

// to [whole(columns), ld_to] = from [rows, ld_from] transposed; beyond its rows `from` is taken for zeros.
RX_STATIC void transpose_into(const float* from, long ld_from, long rows, long columns, float* to, long ld_to) {
  for (long i = 0; i < rows; i += VW)
    for (long j = 0; j < columns; j += VW) {
      vf block[VW];
      for (long r = 0; r < VW; r++) block[r] = i + r < rows ? load(from + (i + r) * ld_from + j) : vf{};
      transpose_block(block);
      for (long r = 0; r < VW; r++) store(to + (j + r) * ld_to + i, block[r]);
    }
}

}  // namespace
