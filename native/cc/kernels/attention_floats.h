// Attention's products of float32: rows of keys and values are read where they lie, their numbers one by one, to be multiplied with the
// lanes of queries. Part of attention_tiles.h.
#pragma once

#include "attention_panels.h"
#include "halves.h"

namespace {

#if VW == 16
constexpr int tile_rows = 14;
constexpr int key_block = 112;       // a multiple of tile_rows
constexpr int grad_key_block = 56;   // likewise
#elif defined(__ARM_NEON)
// 20 sums: more than hide that a multiply-add takes 4 cycles where 4 start at once; 24 leave compilers too few registers.
constexpr int tile_rows = 5;
constexpr int key_block = 100;
constexpr int grad_key_block = 50;
#else
constexpr int tile_rows = 6;
constexpr int key_block = 96;
constexpr int grad_key_block = 48;
#endif

}  // namespace

#include "attention_vectors.h"

namespace {

constexpr long together = 1;  // keys, or queries, that a sum over them takes at a time
constexpr long in_float = 1;  // numbers that lie in the room of a float
// Whether keys and values are packed first, or read as they lie.
constexpr bool packs = false;

// c[r][.] = sum over t of a[r * row + t * step] * b[t * ldb + .], for rows r < M and NV vectors; added to c, or to c times
// the lanes of `factor`. b, c and factor are vector-aligned.
template <int M, int NV, int mode>
RX_STATIC void tile(long k, const float* __restrict a, long row, long step, const float* __restrict b, long ldb, float* c, long ldc,
                    const float* factor) {
  vf sum[M][NV];
#pragma GCC unroll 16
  for (int i = 0; i < M; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) sum[i][j] = vf{};
  for (long t = 0; t < k; t++) {
    vf right[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) right[j] = *(const vf*)(b + j * VW);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      const vf left = vset(a[i * row]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) sum[i][j] = fma(left, right[j], sum[i][j]);
    }
    a += step;
    b += ldb;
  }
#pragma GCC unroll 4
  for (int j = 0; j < NV; j++) {
    const vf scale = mode == TILE_SCALE_AND_ADD ? *(const vf*)(factor + j * VW) : vf{};
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      vf* const to = (vf*)(c + i * ldc + j * VW);
      if (mode == TILE_SET) *to = sum[i][j];
      if (mode == TILE_ADD) *to = *to + sum[i][j];
      if (mode == TILE_SCALE_AND_ADD) *to = fma(*to, scale, sum[i][j]);
    }
  }
}

// The same for any number of rows.
template <int NV, int mode>
RX_INLINE void tiles(long rows, long k, const float* a, long row, long step, const float* b, long ldb, float* c, long ldc,
                     const float* factor) {
  long r = 0;
  for (; r + tile_rows <= rows; r += tile_rows)
    tile<tile_rows, NV, mode>(k, a + r * row, row, step, b, ldb, c + r * ldc, ldc, factor);
#define RX_TILE(M) \
  case M: tile<M < tile_rows ? M : tile_rows, NV, mode>(k, a + r * row, row, step, b, ldb, c + r * ldc, ldc, factor); break;
  switch (rows - r) {
    RX_TILE(1) RX_TILE(2) RX_TILE(3) RX_TILE(4) RX_TILE(5)
#if VW == 16
    RX_TILE(6) RX_TILE(7) RX_TILE(8) RX_TILE(9) RX_TILE(10) RX_TILE(11) RX_TILE(12) RX_TILE(13)
#endif
  }
#undef RX_TILE
}

// ---- what scores are computed from ----

typedef float Scored;
RX_INLINE long scored_columns(long columns) { return columns; }
RX_INLINE long summed_columns(long columns) { return columns; }
RX_INLINE vf scored_worth(vf x) { return x; }

// A panel of queries from rows x columns of `from`, times scale; queries up to `padded` (a multiple of VW) become 0.
RX_STATIC void score_panel(Values queries, long ld_from, long rows, long columns, float scale, float* panel, long padded) {
  const float* const from = (const float*)queries.at;
  for (long r = 0; r < padded; r += VW) {
    const long some = smaller(VW, greater(0, rows - r));
    float* const to = panel + panel_place(r, columns);
    for (long c = 0; c < columns; c += VW) {
      const long wide = smaller(VW, columns - c);
      vf block[VW];
      for (long i = 0; i < VW; i++) {
        const float* const at = from + (r + i) * ld_from + c;
        block[i] = i >= some ? vf{} : (wide == VW ? load(at) : load_n(at, wide)) * vset(scale);
      }
      transpose_block(block);
      for (long i = 0; i < wide; i++) store(to + (c + i) * group_lanes, block[i]);
    }
  }
}

struct ScoredRows {
  const float* data;
  long ld;
};
typedef ScoredRows SummedRows;
RX_INLINE long scored_floats(long, long) { return 0; }
RX_INLINE long summed_floats(long, long) { return 0; }
RX_INLINE void pack_scored(Values, long, long, long, float*) {}
RX_INLINE void pack_summed(Values, long, long, long, float*) {}
RX_INLINE ScoredRows scored_rows(Values from, long ld, long, const float*) { return {(const float*)from.at, ld}; }
RX_INLINE SummedRows summed_rows(Values from, long ld, long, const float*) { return {(const float*)from.at, ld}; }

template <int NV>
RX_INLINE void score(long keys, long columns, const ScoredRows& rows, long first, const Scored* panel, float* c, long ldc) {
  tiles<NV, TILE_SET>(keys, columns, rows.data + first * rows.ld, rows.ld, 1, panel, group_lanes, c, ldc, nullptr);
}
template <int NV, int mode>
RX_INLINE void sum_over_keys(long keys, long columns, const SummedRows& rows, long first, const float* weights, long ld, float* c,
                             const float* factor) {
  tiles<NV, mode>(columns, keys, rows.data + first * rows.ld, 1, rows.ld, weights, ld, c, group_lanes, factor);
}

// [rows, width] of rows times scale, to sum over queries.
RX_STATIC void pack_spread(Values values, long ld, long rows, long columns, float scale, float* to, long width) {
  const float* const from = (const float*)values.at;
  for (long r = 0; r < rows; r++)
    each_vector(columns, [&](long i, auto lanes) { store(to + r * width + i, lanes.load(from + r * ld + i) * vset(scale)); });
}
template <int NV>
RX_INLINE void sum_over_queries(long keys, long queries, const float* weights, const float* rows, long width, float* c) {
  tiles<NV, TILE_ADD>(keys, queries, weights, query_block, 1, rows, width, c, width, nullptr);
}

}  // namespace
