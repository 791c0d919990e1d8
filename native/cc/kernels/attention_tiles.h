// What both directions of attention are made of: tiles of transposed scores, one query a lane.
//
// With queries along the lanes of a vector the softmax over keys needs no sums across lanes, rows of K and V are only ever
// read as scalars to broadcast (so any head_dim and any number of keys will do, without copies and without tails), and the
// queries are padded with zeros up to whole vectors in scratch memory. Panels of queries are stored group by group:
// [groups][head_dim][lanes of a group], so that what a tile reads lies together.
//
// A file that defines RX_HALF before it includes this multiplies operands rounded to bfloat16, two neighbours of what is summed
// over at a time, with float32 sums.
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
#if defined(__ARM_NEON)
constexpr int tile_vectors = 4;
#else
constexpr int tile_vectors = 2;
#endif
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

template <int count>
struct Vectors {
  static constexpr int NV = count;
};
// Calls f with as many vectors (1 … tile_vectors) as these lanes fill.
template <class F>
RX_INLINE void with_vectors(long lanes, F f) {
  switch (lanes / VW) {
    case 1: f(Vectors<1>()); break;
#if defined(__ARM_NEON)
    case 2: f(Vectors<2>()); break;
    case 3: f(Vectors<3>()); break;
#endif
    default: f(Vectors<tile_vectors>());
  }
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

// Keys, or queries, that a sum over them takes together.
constexpr long together = 2;

// What is left of a number that is multiplied.
RX_INLINE __m256i halves(vf x) { return (__m256i)_mm512_cvtneps_pbh((__m512)x); }
RX_INLINE vf scored_worth(vf x) { return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves(x)), 16); }
RX_INLINE __m512i side_by_side(vf even, vf odd) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(halves(even)), _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves(odd)), 16));
}

// Rows to sum over, two by two: [pairs][columns] of the even row's number and, above it, the odd one's.
struct SummedRows {
  const Scored* data;
  long ld;
};
RX_INLINE long summed_floats(long rows, long columns) { return parts_of(rows, 2) * columns; }
RX_STATIC SummedRows summed_rows(const float* from, long ld, long rows, long columns, float scale, float* memory, long width) {
  for (long r = 0; r < rows; r += 2) {
    const float* const even = from + r * ld;
    const bool both = r + 1 < rows;
    for (long c = 0; c < columns; c += 16) {
      const __mmask16 in = lanes16(columns - c);
      const vf low = (vf)_mm512_maskz_loadu_ps(in, even + c);
      const vf high = both ? (vf)_mm512_maskz_loadu_ps(in, even + ld + c) : vf{};
      _mm512_mask_storeu_epi32((Scored*)memory + r / 2 * width + c, lanes16(width - c), side_by_side(low * vset(scale), high * vset(scale)));
    }
  }
  return {(const Scored*)memory, width};
}

// As tile(), over pairs.
template <int M, int NV, int mode>
RX_STATIC void tile_of_pairs(long k, const Scored* __restrict a, long row, long step, const Scored* __restrict b, long ldb, float* c,
                             long ldc, const float* factor) {
  __m512 sum[M][NV];
#pragma GCC unroll 16
  for (int i = 0; i < M; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) sum[i][j] = _mm512_setzero_ps();
  for (long t = 0; t < k; t++, a += step, b += ldb) {
    __m512bh right[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) right[j] = (__m512bh)_mm512_loadu_si512(b + j * VW);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      const __m512bh left = (__m512bh)_mm512_set1_epi32((int)a[i * row]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < NV; j++) {
    const vf scale = mode == TILE_SCALE_AND_ADD ? *(const vf*)(factor + j * VW) : vf{};
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      vf* const to = (vf*)(c + i * ldc + j * VW);
      const vf value = (vf)sum[i][j];
      if (mode == TILE_SET) *to = value;
      if (mode == TILE_ADD) *to = *to + value;
      if (mode == TILE_SCALE_AND_ADD) *to = fma(*to, scale, value);
    }
  }
}
template <int NV, int mode>
RX_INLINE void tiles_of_pairs(long rows, long k, const Scored* a, long row, long step, const Scored* b, long ldb, float* c, long ldc,
                              const float* factor) {
  long r = 0;
  for (; r + tile_rows <= rows; r += tile_rows)
    tile_of_pairs<tile_rows, NV, mode>(k, a + r * row, row, step, b, ldb, c + r * ldc, ldc, factor);
#define RX_TILE(M) \
  case M: tile_of_pairs<M, NV, mode>(k, a + r * row, row, step, b, ldb, c + r * ldc, ldc, factor); break;
  switch (rows - r) {
    RX_TILE(1) RX_TILE(2) RX_TILE(3) RX_TILE(4) RX_TILE(5) RX_TILE(6) RX_TILE(7) RX_TILE(8) RX_TILE(9) RX_TILE(10) RX_TILE(11)
    RX_TILE(12) RX_TILE(13)
  }
#undef RX_TILE
}

// c[r][.] = scores of row r of `keys` and NV vectors of queries.
template <int NV>
RX_INLINE void score(long keys, long columns, const ScoredRows& rows, long first, const Scored* panel, float* c, long ldc) {
  tiles_of_pairs<NV, TILE_SET>(keys, scored_columns(columns), rows.data + first * rows.ld, rows.ld, 1, panel, group_lanes, c, ldc,
                               nullptr);
}
// c[d][.] (added to as `mode` says) = sum over keys of rows[first + key][d] weights[key][.]; `first` is even, and the weights lie
// in pairs of keys.
template <int NV, int mode>
RX_INLINE void sum_over_keys(long keys, long columns, const SummedRows& rows, long first, const float* weights, long ld, float* c,
                             const float* factor) {
  tiles_of_pairs<NV, mode>(columns, parts_of(keys, 2), rows.data + first / 2 * rows.ld, 1, rows.ld, (const Scored*)weights, ld, c,
                           group_lanes, factor);
}
#else
typedef float Scored;
RX_INLINE long scored_columns(long columns) { return columns; }
RX_INLINE long scored_floats(long, long) { return 0; }
RX_INLINE vf scored_worth(vf x) { return x; }
constexpr long together = 1;
struct SummedRows {
  const float* data;
  long ld;
};
RX_INLINE long summed_floats(long, long) { return 0; }
RX_INLINE SummedRows summed_rows(const float* from, long ld, long, long, float, float*, long) { return {from, ld}; }
template <int NV, int mode>
RX_INLINE void sum_over_keys(long keys, long columns, const SummedRows& rows, long first, const float* weights, long ld, float* c,
                             const float* factor) {
  tiles<NV, mode>(columns, keys, rows.data + first * rows.ld, 1, rows.ld, weights, ld, c, group_lanes, factor);
}
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
      *at = ((lane >= vseti(ahead)) & (lane < vseti(behind))) ? *at : vset(-__builtin_inff());
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
