// Attention's products as AVX-512 multiplies pairs of bfloat16: one number of the left operand, broadcast, with the lanes of the right one.
// Part of attention_tiles.h.
#pragma once

#include "attention_panels.h"
#include "bf16_pairs.h"
#include "halves.h"

namespace {

constexpr int tile_rows = 14;
constexpr int key_block = 112;      // a multiple of tile_rows
constexpr int grad_key_block = 56;  // likewise

}  // namespace

#include "attention_vectors.h"

namespace {

constexpr long together = 2;  // keys, or queries, that a sum over them takes at a time
constexpr long in_float = 2;  // numbers that lie in the room of a float
// Whether keys and values are packed first, or read as they lie.
constexpr bool packs = true;

// Two neighbours of head_dim, the even one in the low half.
typedef uint32_t Scored;
RX_INLINE long scored_columns(long columns) { return parts_of(columns, 2); }
RX_INLINE long summed_columns(long columns) { return columns; }
// Floats that `keys` rows take for scoring.
RX_INLINE long scored_floats(long keys, long columns) { return keys * scored_columns(columns); }

template <class T>
RX_STATIC void score_rows(const T* from, long ld_from, long rows, long columns, float scale, Scored* panel, long padded) {
  const long pairs = scored_columns(columns);
  for (long r = 0; r < padded; r += VW) {
    const long some = smaller(VW, greater(0, rows - r));
    Scored* const to = panel + panel_place(r, pairs);
    for (long c = 0; c < columns; c += 32) {
      vf block[VW];
      for (long i = 0; i < VW; i++)
        block[i] = i < some ? scaled_pairs(from + (r + i) * ld_from + c, columns - c, vset(scale)) : vf{};
      transpose_block(block);
      const long wide = smaller(VW, pairs - c / 2);
      for (long i = 0; i < wide; i++) store((float*)(to + (c / 2 + i) * group_lanes), block[i]);
    }
  }
}
RX_INLINE void score_panel(Values from, long ld_from, long rows, long columns, float scale, Scored* panel, long padded) {
  with_numbers(from, [&](auto* numbers) { score_rows(numbers, ld_from, rows, columns, scale, panel, padded); });
}

struct ScoredRows {
  const Scored* data;
  long ld;
};
template <class T>
RX_STATIC void pack_scored_rows(const T* from, long ld, long rows, long columns, float* memory) {
  const long pairs = scored_columns(columns);
  Scored* const to = (Scored*)memory;
  for (long r = 0; r < rows; r++)
    for (long c = 0; c < columns; c += 32)
      _mm512_mask_storeu_epi32(to + r * pairs + c / 2, lanes16(pairs - c / 2), (__m512i)scaled_pairs(from + r * ld + c, columns - c, vset(1.f)));
}
RX_INLINE void pack_scored(Values from, long ld, long rows, long columns, float* memory) {
  with_numbers(from, [&](auto* numbers) { pack_scored_rows(numbers, ld, rows, columns, memory); });
}
RX_INLINE ScoredRows scored_rows(Values, long, long columns, const float* packed) {
  return {(const Scored*)packed, scored_columns(columns)};
}

// What is left of a number that is multiplied.
RX_INLINE __m256i halves(vf x) { return (__m256i)_mm512_cvtneps_pbh((__m512)x); }
RX_INLINE vf scored_worth(vf x) { return rounded_worth(x); }
RX_INLINE __m512i side_by_side(vf even, vf odd) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(halves(even)), _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves(odd)), 16));
}

// Rows to sum over, two by two: [pairs][columns] of the even row's number and, above it, the odd one's.
struct SummedRows {
  const Scored* data;
  long ld;
};
RX_INLINE long summed_floats(long rows, long columns) { return parts_of(rows, 2) * columns; }
template <class T>
RX_STATIC void pack_spread_rows(const T* from, long ld, long rows, long columns, float scale, float* memory, long width) {
  for (long r = 0; r < rows; r += 2) {
    const T* const even = from + r * ld;
    const bool both = r + 1 < rows;
    for (long c = 0; c < columns; c += 16) {
      const __mmask16 in = lanes16(columns - c);
      const vf low = some_values(even + c, in);
      const vf high = both ? some_values(even + ld + c, in) : vf{};
      _mm512_mask_storeu_epi32((Scored*)memory + r / 2 * width + c, lanes16(width - c), side_by_side(low * vset(scale), high * vset(scale)));
    }
  }
}
RX_INLINE void pack_spread(Values from, long ld, long rows, long columns, float scale, float* memory, long width) {
  with_numbers(from, [&](auto* numbers) { pack_spread_rows(numbers, ld, rows, columns, scale, memory, width); });
}
RX_INLINE void pack_summed(Values from, long ld, long rows, long columns, float* memory) {
  pack_spread(from, ld, rows, columns, 1.f, memory, columns);
}
RX_INLINE SummedRows summed_rows(Values, long, long columns, const float* packed) { return {(const Scored*)packed, columns}; }

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
// c[key][.] += sum over queries of weights[key][query] rows[query][.], NV vectors of [keys, width].
template <int NV>
RX_INLINE void sum_over_queries(long keys, long queries, const float* weights, const float* rows, long width, float* c) {
  tiles_of_pairs<NV, TILE_ADD>(keys, parts_of(queries, 2), (const Scored*)weights, query_block / 2, 1, (const Scored*)rows, width, c, width,
                               nullptr);
}

}  // namespace
