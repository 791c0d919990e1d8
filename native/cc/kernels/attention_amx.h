// Attention's products on Intel's matrix tiles: 16 x 16 sums, 32 neighbours of bfloat16 at a time. Everything is padded to whole tiles with
// zeros. Part of attention_tiles.h.
#pragma once

#include "amx.h"
#include "attention_panels.h"
#include "bf16_pairs.h"
#include "halves.h"

namespace {

#define RX_ATTENTION_TILES
constexpr int key_block = 64;
constexpr int grad_key_block = 64;
constexpr int query_block = 64;
constexpr long together = 32;  // keys, or queries, that a sum over them takes at a time
constexpr long in_float = 2;  // numbers that lie in the room of a float
// Scores and slopes held at a time on the way back, and keys whose sums over queries are made at a time.
constexpr long slope_keys = together;
constexpr long slope_lanes = group_lanes;
constexpr long spread_keys = together;
// Lanes that are computed together, whether they hold a query or not.
constexpr long lanes_together = group_lanes;
// Whether keys and values are packed first, or read as they lie.
constexpr bool packs = true;
static_assert(group_lanes == 32 && key_block % together == 0 && grad_key_block % together == 0 && query_block % together == 0, "whole tiles");

// Weights of queries 8i … 8i + 3 of a group fill the first of its two vectors of pairs, 8i + 4 … 8i + 7 the second: that is how two rows
// are laid into each other in one instruction. So lie the sums over keys.
RX_INLINE long query_of_lane(long lane) {
  const long l = lane % 16;
  return lane / 32 * 32 + l / 4 * 8 + lane / 16 % 2 * 4 + l % 4;
}
RX_INLINE void as_lanes(vf first, vf second, vf* low, vf* high) {
  const vi even = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27};
  *low = (vf)_mm512_permutex2var_ps((__m512)first, (__m512i)even, (__m512)second);
  *high = (vf)_mm512_permutex2var_ps((__m512)first, (__m512i)(even + 4), (__m512)second);
}

RX_INLINE void products_begin() { tiles_begin(); }
RX_INLINE void products_end() { tiles_end(); }

RX_INLINE vf scored_worth(vf x) { return rounded_worth(x); }
// Both vectors of a group, rounded.
RX_INLINE __m512i rounded(vf first, vf second) { return (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first); }

// Two rows of a group as pairs, as query_of_lane says.
RX_INLINE void store_pairs(__m512i even, __m512i odd, float* to) {
  store(to, (vf)_mm512_unpacklo_epi16(even, odd));
  store(to + VW, (vf)_mm512_unpackhi_epi16(even, odd));
}

// 2^x for what tiles multiply: off by 9e-5 of it at most, 1 at 0, 0 below normal numbers; NaN stays.
RX_INLINE vf rough_exp2(vf x) {
  const __m512 r = _mm512_reduce_ps((__m512)x, 1);  // x - floor(x); 0 of infinities
  // minimax with p(0) = 1
  vf p = fma(vset(7.70670548e-2f), (vf)r, vset(0.22764498f));
  p = fma(p, (vf)r, vset(0.69511676f));
  p = fma(p, (vf)r, vset(1.f));
  return scale_above(x, -126.f, p, x);
}

// Two neighbours of what is summed over, the even one in the low half.
typedef uint32_t Scored;
RX_INLINE long whole(long n) { return parts_of(n, 32) * 32; }
RX_INLINE long whole_keys(long n) { return whole(n); }
RX_INLINE long scored_columns(long columns) { return whole(columns) / 2; }
RX_INLINE long summed_columns(long columns) { return parts_of(columns, 16) * 16; }
// Floats that rows take for scoring, and to be summed over.
RX_INLINE long scored_floats(long rows, long columns) { return whole(rows) * scored_columns(columns); }
RX_INLINE long summed_floats(long rows, long columns) { return whole(rows) / 2 * summed_columns(columns); }

// Groups of [pair of columns][lane].
template <class T>
RX_STATIC void score_rows(const T* from, long ld_from, long rows, long columns, float scale, Scored* panel, long padded) {
  for (long r = 0; r < padded; r += VW) {
    const long some = smaller(VW, greater(0, rows - r));
    Scored* const to = panel + panel_place(r, scored_columns(columns));
    for (long c = 0; c < columns; c += 32) {
      vf block[VW];
      if (some == VW) {
#pragma GCC unroll 16
        for (long i = 0; i < VW; i++) block[i] = scaled_pairs(from + (r + i) * ld_from + c, columns - c, vset(scale));
      } else {
#pragma GCC unroll 16
        for (long i = 0; i < VW; i++) block[i] = i < some ? scaled_pairs(from + (r + i) * ld_from + c, columns - c, vset(scale)) : vf{};
      }
      transpose_block(block);
#pragma GCC unroll 16
      for (long i = 0; i < VW; i++) store((float*)(to + (c / 2 + i) * group_lanes), block[i]);
    }
  }
}
RX_INLINE void score_panel(Values from, long ld_from, long rows, long columns, float scale, Scored* panel, long padded) {
  with_numbers(from, [&](auto* numbers) { score_rows(numbers, ld_from, rows, columns, scale, panel, padded); });
}

// [rows][pairs of columns].
struct ScoredRows {
  const Scored* data;
  long ld;
};
template <class T>
RX_STATIC void pack_scored_rows(const T* from, long ld, long rows, long columns, float* memory) {
  const long pairs = scored_columns(columns);
  for (long r = 0; r < whole(rows); r++)
    for (long c = 0; c < columns; c += 32)
      store(memory + r * pairs + c / 2, r < rows ? pairs_of_line(from + r * ld + c, lanes32(columns - c)) : vf{});
}
RX_INLINE void pack_scored(Values from, long ld, long rows, long columns, float* memory) {
  with_numbers(from, [&](auto* numbers) { pack_scored_rows(numbers, ld, rows, columns, memory); });
}
RX_INLINE ScoredRows scored_rows(Values, long, long columns, const float* packed) {
  return {(const Scored*)packed, scored_columns(columns)};
}

// For each 32 rows a tile of [column][pair of rows] for each 16 columns.
struct SummedRows {
  const Scored* data;
  long ld;  // of 32 rows
};
template <class T>
RX_STATIC void pack_summed_rows(const T* from, long ld, long rows, long columns, float* memory) {
  for (long r = 0; r < rows; r += 32)
    for (long c = 0; c < columns; c += 16, memory += 256) {
      const __mmask16 in = lanes16(columns - c);
      const T* const at = from + r * ld + c;
      vf block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) {
        const long left = rows - r - 2 * i;
        block[i] = left > 1 ? pair_of_rows(at + 2 * i * ld, at + (2 * i + 1) * ld, in, in) : left == 1 ? pair_of_rows(at + 2 * i * ld, at, in, 0) : vf{};
      }
      transpose_block(block);
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) store(memory + 16 * i, block[i]);
    }
}
RX_INLINE void pack_summed(Values from, long ld, long rows, long columns, float* memory) {
  with_numbers(from, [&](auto* numbers) { pack_summed_rows(numbers, ld, rows, columns, memory); });
}
RX_INLINE SummedRows summed_rows(Values, long, long columns, const float* packed) {
  return {(const Scored*)packed, 16 * summed_columns(columns)};
}

// Rows times scale, to sum over queries: [pair of rows][width].
template <class T>
RX_STATIC void pack_spread_rows(const T* from, long ld, long rows, long columns, float scale, float* memory, long width) {
  for (long r = 0; r < whole(rows); r += 2, memory += width)
    for (long c = 0; c < width; c += 16) {
      const __mmask16 in = lanes16(columns - c);
      const vf even = some_values(from + r * ld + c, r < rows ? in : 0);
      const vf odd = some_values(from + (r + 1) * ld + c, r + 1 < rows ? in : 0);
      store(memory + c, paired(rounded(even * vset(scale), odd * vset(scale))));
    }
}
RX_INLINE void pack_spread(Values from, long ld, long rows, long columns, float scale, float* memory, long width) {
  with_numbers(from, [&](auto* numbers) { pack_spread_rows(numbers, ld, rows, columns, scale, memory, width); });
}

// c [32, 32] (16 rows, or 16 columns) = or += a b over `steps` times 32 neighbours: rows of a, b and c lie lda, ldb and ldc apart, the next
// neighbours of a `step` further.
template <bool add, bool rows32, bool columns32>
RX_INLINE void multiply(long steps, const Scored* a, long lda, long step, const Scored* b, long ldb, float* c, long ldc) {
  const Scored* const lower_a = a + 16 * lda;
  float* const lower = c + 16 * ldc;
  lda *= sizeof(Scored), ldc *= sizeof(float);
  const long row = ldb * (long)sizeof(Scored);
  if (add) {
    _tile_loadd(0, c, ldc);
    if (columns32) _tile_loadd(1, c + 16, ldc);
    if (rows32) _tile_loadd(2, lower, ldc);
    if (rows32 && columns32) _tile_loadd(3, lower + 16, ldc);
  } else {
    _tile_zero(0);
    if (columns32) _tile_zero(1);
    if (rows32) _tile_zero(2);
    if (rows32 && columns32) _tile_zero(3);
  }
  // Of two steps one sum is made after the other, so that it is stored while the next is made.
  if (steps == 2 && rows32 && columns32) {
    const Scored* const b2 = b + 16 * ldb;
    _tile_loadd(4, a, lda);
    _tile_loadd(6, b, row);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, a + step, lda);
    _tile_loadd(7, b2, row);
    _tile_dpbf16ps(0, 5, 7);
    _tile_loadd(6, b + 16, row);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(7, b2 + 16, row);
    _tile_dpbf16ps(1, 5, 7);
    _tile_stored(0, c, ldc);
    _tile_loadd(4, lower_a, lda);
    _tile_dpbf16ps(3, 4, 6);
    _tile_loadd(5, lower_a + step, lda);
    _tile_dpbf16ps(3, 5, 7);
    _tile_stored(1, c + 16, ldc);
    _tile_loadd(6, b, row);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, b2, row);
    _tile_dpbf16ps(2, 5, 7);
    _tile_stored(3, lower + 16, ldc);
    _tile_stored(2, lower, ldc);
    return;
  }
  for (long s = 0; s < steps; s++, b += 16 * ldb) {
    _tile_loadd(6, b, row);
    _tile_loadd(4, a + s * step, lda);
    _tile_dpbf16ps(0, 4, 6);
    if (columns32) {
      _tile_loadd(7, b + 16, row);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (rows32) {
      _tile_loadd(5, lower_a + s * step, lda);
      _tile_dpbf16ps(2, 5, 6);
      if (columns32) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, ldc);
  if (columns32) _tile_stored(1, c + 16, ldc);
  if (rows32) _tile_stored(2, lower, ldc);
  if (rows32 && columns32) _tile_stored(3, lower + 16, ldc);
}
// What was stored is in memory: instructions of tiles do not tell the compiler what they read.
RX_INLINE void stored() { __asm__ volatile("" ::: "memory"); }

// c[r][.] = scores of row first + r and a group of queries, for whole tiles of rows.
template <int NV>
RX_INLINE void score(long keys, long columns, const ScoredRows& rows, long first, const Scored* panel, float* c, long ldc) {
  stored();
  for (long j = 0; j < keys; j += 32)
    multiply<false, true, true>(scored_columns(columns) / 16, rows.data + (first + j) * rows.ld, rows.ld, 16, panel, group_lanes, c + j * ldc, ldc);
}

// c[d][.] (times the lanes of factor, as `mode` says) += sum over keys of rows[first + key][d] weights[key][.]; `first` is a multiple of 32.
template <int NV, int mode>
RX_INLINE void sum_over_keys(long keys, long columns, const SummedRows& rows, long first, const float* weights, long ld, float* c,
                             const float* factor) {
  const long height = summed_columns(columns), steps = parts_of(keys, 32);
  if (mode == TILE_SCALE_AND_ADD) {
    const vf low = load(factor), high = load(factor + 16);
    if ((_mm512_cmp_ps_mask((__m512)low, _mm512_set1_ps(1), _CMP_NEQ_UQ) | _mm512_cmp_ps_mask((__m512)high, _mm512_set1_ps(1), _CMP_NEQ_UQ)) != 0)
      for (long d = 0; d < height; d++) {
        store(c + d * group_lanes, load(c + d * group_lanes) * low);
        store(c + d * group_lanes + 16, load(c + d * group_lanes + 16) * high);
      }
  }
  stored();
  const Scored* const a = rows.data + first / 32 * rows.ld;
  long d = 0;
  for (; d + 32 <= height; d += 32)
    multiply<true, true, true>(steps, a + d * 16, 16, rows.ld, (const Scored*)weights, ld, c + d * group_lanes, group_lanes);
  if (d < height) multiply<true, false, true>(steps, a + d * 16, 16, rows.ld, (const Scored*)weights, ld, c + d * group_lanes, group_lanes);
}

// c[key][.] += sum over queries of weights[key][query] rows[query][.], NV vectors of [keys, width], for whole tiles of keys.
template <int NV>
RX_INLINE void sum_over_queries(long keys, long queries, const float* weights, const float* rows, long width, float* c) {
  constexpr long ld = query_block / 2;
  stored();
  for (long j = 0; j < keys; j += 32)
    multiply<true, true, NV == 2>(parts_of(queries, 32), (const Scored*)weights + j * ld, ld, 16, (const Scored*)rows, width, c + j * width, width);
}

}  // namespace
