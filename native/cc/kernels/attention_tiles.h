// What both directions of attention are made of: tiles of transposed scores, one query a lane.
//
// With queries along the lanes of a vector the softmax over keys needs no sums across lanes, rows of K and V are only ever
// read as scalars to broadcast (so any head_dim and any number of keys will do, without copies and without tails), and the
// queries are padded with zeros up to whole vectors in scratch memory. Panels of queries are stored group by group:
// [groups][head_dim][lanes of a group], so that what a tile reads lies together.
//
// Scores (q·k and dO·v) are the products whose operands come from memory alone. A file that defines RX_HALF before it includes
// this computes them from operands rounded to bfloat16, two neighbours of head_dim at a time, with float32 sums.
#pragma once

#ifdef RX_HALF
#include <immintrin.h>
#endif

#include "../kernel_table.h"
#include "../simd.h"
#include "parallel.h"
#include "transpose.h"

namespace {

#if VW == 16
constexpr int tile_rows = 14;
constexpr int key_block = 112;       // a multiple of tile_rows
constexpr int grad_key_block = 56;   // likewise
#else
constexpr int tile_rows = 6;
constexpr int key_block = 96;
constexpr int grad_key_block = 48;
#endif
constexpr int tile_vectors = 2;
constexpr int group_lanes = tile_vectors * VW;
constexpr int query_block = 64;  // a multiple of group_lanes

constexpr float log2_e = 1.44269504f;
constexpr float ln_2 = 0.693147181f;

enum TileMode { TILE_SET, TILE_ADD, TILE_SCALE_AND_ADD };

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

// Where lane 0 of query r (a multiple of VW) lies in a panel of queries with `columns` numbers each.
RX_INLINE long panel_place(long r, long columns) { return r / group_lanes * group_lanes * columns + r % group_lanes; }

// A panel of queries from rows x columns of `from`, times scale; queries up to `padded` (a multiple of VW) become 0.
RX_STATIC void panel_in(const float* from, long ld_from, long rows, long columns, float scale, float* panel, long padded) {
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

// Rows of `to` from a panel: row r is query r times factor[r], set or added.
template <bool add>
RX_STATIC void panel_out(const float* panel, long rows, long columns, const float* factor, float* to, long ld_to) {
  for (long r = 0; r < rows; r += VW) {
    const long some = smaller(VW, rows - r);
    const vf scale = load(factor + r);
    const float* const from = panel + panel_place(r, columns);
    for (long c = 0; c < columns; c += VW) {
      const long wide = smaller(VW, columns - c);
      vf block[VW];
      for (long i = 0; i < VW; i++) block[i] = i < wide ? load(from + (c + i) * group_lanes) * scale : vf{};
      transpose_block(block);
      for (long i = 0; i < some; i++) {
        float* const at = to + (r + i) * ld_to + c;
        if (wide == VW)
          store(at, add ? load(at) + block[i] : block[i]);
        else
          store_n(at, add ? load_n(at, wide) + block[i] : block[i], wide);
      }
    }
  }
}

// ---- what scores are computed from ----

#ifdef RX_HALF
// Two neighbours of head_dim, the even one in the low half.
typedef uint32_t Scored;
RX_INLINE long scored_columns(long columns) { return parts_of(columns, 2); }
// Floats that `keys` rows take for scoring.
RX_INLINE long scored_floats(long keys, long columns) { return keys * scored_columns(columns); }

RX_INLINE __mmask16 lanes16(long n) { return n >= 16 ? (__mmask16)0xffff : n <= 0 ? (__mmask16)0 : (__mmask16)((1u << n) - 1); }

// 32 columns of a row times scale, as far as there are so many: 16 pairs.
RX_INLINE __m512i pairs_of(const float* from, long columns, vf scale) {
  const vf low = (vf)_mm512_maskz_loadu_ps(lanes16(columns), from);
  const vf high = (vf)_mm512_maskz_loadu_ps(lanes16(columns - 16), from + 16);
  return (__m512i)_mm512_cvtne2ps_pbh((__m512)(high * scale), (__m512)(low * scale));
}

// What is left of numbers that are scored.
RX_INLINE vf scored_worth(vf x) {
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x)), 16);
}
struct ValueRows {
  const float* data;
  long ld;
};
// Floats that `keys` rows of values take.
RX_INLINE long value_floats(long keys, long columns) { return keys * columns; }
// The way back scores dO with V: its sums only cancel if what was summed forward is the V that is scored.
RX_STATIC ValueRows value_rows(const float* from, long ld, long rows, long columns, float* memory) {
  for (long r = 0; r < rows; r++)
    each_vector(columns, [&](long i, auto lanes) { lanes.store(memory + r * columns + i, scored_worth(lanes.load(from + r * ld + i))); });
  return {memory, columns};
}

RX_STATIC void score_panel(const float* from, long ld_from, long rows, long columns, float scale, Scored* panel, long padded) {
  const long pairs = scored_columns(columns);
  for (long r = 0; r < padded; r += VW) {
    const long some = smaller(VW, greater(0, rows - r));
    Scored* const to = panel + panel_place(r, pairs);
    for (long c = 0; c < columns; c += 32) {
      vf block[VW];
      for (long i = 0; i < VW; i++)
        block[i] = i < some ? (vf)pairs_of(from + (r + i) * ld_from + c, columns - c, vset(scale)) : vf{};
      transpose_block(block);
      const long wide = smaller(VW, pairs - c / 2);
      for (long i = 0; i < wide; i++) store((float*)(to + (c / 2 + i) * group_lanes), block[i]);
    }
  }
}

struct ScoredRows {
  const Scored* data;
  long ld;
};
RX_STATIC ScoredRows score_rows(const float* from, long ld, long rows, long columns, float* memory) {
  const long pairs = scored_columns(columns);
  Scored* const to = (Scored*)memory;
  for (long r = 0; r < rows; r++)
    for (long c = 0; c < columns; c += 32)
      _mm512_mask_storeu_epi32(to + r * pairs + c / 2, lanes16(pairs - c / 2), pairs_of(from + r * ld + c, columns - c, vset(1.f)));
  return {to, pairs};
}

template <int M, int NV>
RX_STATIC void tile_of_pairs(long k, const Scored* __restrict a, long row, const Scored* __restrict b, float* c, long ldc) {
  __m512 sum[M][NV];
#pragma GCC unroll 16
  for (int i = 0; i < M; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) sum[i][j] = _mm512_setzero_ps();
  for (long t = 0; t < k; t++, b += group_lanes) {
    __m512bh right[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) right[j] = (__m512bh)_mm512_load_si512(b + j * VW);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      const __m512bh left = (__m512bh)_mm512_set1_epi32((int)a[i * row + t]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < NV; j++)
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) *(vf*)(c + i * ldc + j * VW) = (vf)sum[i][j];
}

// c[r][.] = scores of row r of `keys` and NV vectors of queries.
template <int NV>
RX_INLINE void score(long keys, long columns, const ScoredRows& rows, long first, const Scored* panel, float* c, long ldc) {
  const long k = scored_columns(columns);
  const Scored* const a = rows.data + first * rows.ld;
  long r = 0;
  for (; r + tile_rows <= keys; r += tile_rows) tile_of_pairs<tile_rows, NV>(k, a + r * rows.ld, rows.ld, panel, c + r * ldc, ldc);
#define RX_TILE(M) \
  case M: tile_of_pairs<M, NV>(k, a + r * rows.ld, rows.ld, panel, c + r * ldc, ldc); break;
  switch (keys - r) {
    RX_TILE(1) RX_TILE(2) RX_TILE(3) RX_TILE(4) RX_TILE(5) RX_TILE(6) RX_TILE(7) RX_TILE(8) RX_TILE(9) RX_TILE(10) RX_TILE(11)
    RX_TILE(12) RX_TILE(13)
  }
#undef RX_TILE
}
#else
typedef float Scored;
RX_INLINE vf scored_worth(vf x) { return x; }
struct ValueRows {
  const float* data;
  long ld;
};
RX_INLINE long value_floats(long, long) { return 0; }
RX_INLINE ValueRows value_rows(const float* from, long ld, long, long, float*) { return {from, ld}; }
RX_INLINE long scored_columns(long columns) { return columns; }
RX_INLINE long scored_floats(long, long) { return 0; }
RX_INLINE void score_panel(const float* from, long ld_from, long rows, long columns, float scale, Scored* panel, long padded) {
  panel_in(from, ld_from, rows, columns, scale, panel, padded);
}
struct ScoredRows {
  const Scored* data;
  long ld;
};
// Rows are read where they lie.
RX_INLINE ScoredRows score_rows(const float* from, long ld, long, long, float*) { return {from, ld}; }
template <int NV>
RX_INLINE void score(long keys, long columns, const ScoredRows& rows, long first, const Scored* panel, float* c, long ldc) {
  tiles<NV, TILE_SET>(keys, columns, rows.data + first * rows.ld, rows.ld, 1, panel, group_lanes, c, ldc, nullptr);
}
#endif

// Scores of keys from .. to - 1 (rows of ld floats) and queries first + lanes that no lane may see become -inf in that lane.
template <int NV>
RX_INLINE void mask_scores(float* scores, long ld, long first, long from, long to, long window) {
  for (long j = from; j < to; j++) {
    const int32_t ahead = (int32_t)(j - first);  // lanes below it lie before key j
    const int32_t behind = window ? (int32_t)smaller(j - first + window, 1 << 20) : 1 << 20;  // lanes from it on are past its window
    if (ahead <= 0 && behind >= NV * VW) continue;
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
      vf* const at = (vf*)(scores + (j - from) * ld + v * VW);
      const vi lane = iota() + v * VW;
      *at = (lane >= vseti(ahead)) & (lane < vseti(behind)) ? *at : vset(-__builtin_inff());
    }
  }
}

// Asks for rows that will be read soon.
RX_INLINE void prefetch_rows(const float* rows, long ld, long count, long columns) {
  for (long r = 0; r < count; r++)
    for (long c = 0; c < columns; c += 16) __builtin_prefetch(rows + r * ld + c);
}

// Memory of one thread: pieces of a block of floats, each aligned to a vector.
RX_INLINE float* take(float** memory, long floats) {
  float* const piece = *memory;
  *memory += parts_of(floats, 16) * 16;
  return piece;
}

// Blocks of queries of all documents.
RX_INLINE long count_blocks(const Attention* a) {
  long blocks = 0;
  for (long d = 0; d < a->documents; d++) blocks += parts_of(a->cu_seqlens[d + 1] - a->cu_seqlens[d], query_block);
  return blocks;
}

}  // namespace
