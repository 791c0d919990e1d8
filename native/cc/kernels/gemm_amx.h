// On Intel's matrix tiles: one instruction multiplies 16 lines by 16 lines of bfloat16, 32 neighbours in k at a time, with float32 sums.
// Denormals count as 0 there. The file that includes this has defined
//   PARTS   1: operands are rounded to bfloat16
//           3: each is the sum of three bfloat16 numbers, which hold its 24 bits; of their nine products the six that matter are summed
//              (Henry, Tang and Heinecke 2019). What is left out is at most about 2^-24 of a product; an operand beyond 3.39e38 gives NaN.
#pragma once

#include "amx.h"
#include "bf16_pairs.h"
#include "gemm_pack.h"

#define MR 32
#define NR 32
#if PARTS == 1
#define KC 1024
#else
#define KC 256
#endif
#define MC 256
#define NC 2048
// A panel of B of one part stays in the first-level cache for KI neighbours; JC panels' sums stay in the second-level cache.
#define KI 256
#define JC 8
#define K_UNIT 32
// A multiply-add costs a fraction of what it costs in vectors, packing and waiting as much as ever.
#if PARTS == 1
#define PACK_COST 120.0
#define SHARED_COST 0.0
#define BARRIER_COST 1000000.0
#define ALONE_BELOW 2000000.0
#else
#define PACK_COST 60.0
#define SHARED_COST 90.0
#define BARRIER_COST 200000.0
#define ALONE_BELOW 0.0  // small ones are not taken apart at all
#endif

// Two neighbours in k of one line, the even one in the low half. A panel is tiles of 16 x 16 of them, 1 KB each, two side by side
// for each 32 neighbours and part: of A [line][pair], of B [pair][line].
typedef uint32_t Packed;
#define PACKS_TILES
#define TILE 256
#define STEP (PARTS * 16)  // Packed of a line for 32 neighbours

RX_INLINE long packed_k(long kc) { return (kc + 31) / 32 * STEP; }

typedef struct Pairs {
  vf part[PARTS];
} Pairs;

#define PACKS_BFLOAT16
// Which two of 32 neighbours are a pair's: beside each other as they lie, or, where vectors are taken apart, at one place of two vectors.
RX_INLINE constexpr long low_of_pair(long pair) { return PARTS == 1 ? 2 * pair : pair; }
RX_INLINE constexpr long high_of_pair(long pair) { return PARTS == 1 ? 2 * pair + 1 : pair + 16; }

// Up to 32 neighbours of one line.
RX_INLINE Pairs parts_of_line(const uint16_t* s, __mmask32 in) { return {{PARTS == 1 ? pairs_of_line(s, in) : paired((__m512i)pairs_of_line(s, in))}}; }
// Up to 16 lines of a pair.
RX_INLINE Pairs parts_of_rows(const uint16_t* low, const uint16_t* high, __mmask16 in_low, __mmask16 in_high) {
  return {{pair_of_rows(low, high, in_low, in_high)}};
}
#if PARTS == 1
RX_INLINE Pairs parts_of_line(const float* s, __mmask32 in) { return {{pairs_of_line(s, in)}}; }
RX_INLINE Pairs parts_of_rows(const float* low, const float* high, __mmask16 in_low, __mmask16 in_high) {
  return {{pair_of_rows(low, high, in_low, in_high)}};
}
#endif

// Parts that a number of B stored so has; where it is one, the others are neither stored nor read.
RX_INLINE constexpr int parts_of_right(const float*) { return PARTS; }
RX_INLINE constexpr int parts_of_right(const uint16_t*) { return 1; }

// The tiles of 16 rows, which `row` gives, turned where asked for.
template <bool turn, int parts, class Row>
RX_INLINE void store_tiles(Packed* d, Row row) {
  if (!turn || parts > 1) {
    for (int i = 0; i < 16; i++) {
      const Pairs pairs = row(i);
#pragma GCC unroll 3
      for (int p = 0; p < parts; p++) _mm512_store_si512(d + p * 2 * TILE + i * 16, (__m512i)pairs.part[p]);
    }
    if (!turn) return;
  }
#pragma GCC unroll 3
  for (int p = 0; p < parts; p++) {
    vf block[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) block[i] = parts == 1 ? row(i).part[0] : *(const vf*)(d + p * 2 * TILE + i * 16);
    transpose_block(block);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) _mm512_store_si512(d + p * 2 * TILE + i * 16, (__m512i)block[i]);
  }
}

// The tile of `lines` lines and `kc` neighbours of a matrix whose element (line, k) lies at s[line * ls + k].
template <bool left, class T>
RX_INLINE void tile_along(const T* s, long ls, long lines, long kc, Packed* d) {
  constexpr int parts = left ? PARTS : parts_of_right((const T*)0);
  const __mmask32 in = lanes32(kc);
  if (lines >= 16)
    store_tiles<!left, parts>(d, [&](int i) __attribute__((always_inline)) { return parts_of_line(s + i * ls, in); });
  else
    store_tiles<!left, parts>(d, [&](int i) __attribute__((always_inline)) { return i < lines ? parts_of_line(s + i * ls, in) : Pairs{}; });
}

// The same where element (line, k) lies at s[line + k * ks].
template <bool left, class T>
RX_INLINE void tile_across(const T* s, long ks, long lines, long kc, Packed* d) {
  constexpr int parts = left ? PARTS : parts_of_right((const T*)0);
  const __mmask16 in = lanes16(lines);
  store_tiles<left, parts>(d, [&](int q) __attribute__((always_inline)) {
    const long low = low_of_pair(q), high = high_of_pair(q);
    return low >= kc   ? Pairs{}
           : high < kc ? parts_of_rows(s + low * ks, s + high * ks, in, in)
                       : parts_of_rows(s + low * ks, s + low * ks, in, 0);
  });
}

#if PARTS == 3
// To bfloat16, halves away from 0: the upper half of a number. Faster than the instruction, whose halves lie elsewhere than where they came from.
RX_INLINE __m512i upper_half() { return _mm512_set1_epi32((int)0xffff0000); }
RX_INLINE vf rounded_upper(vf x) { return (vf)_mm512_and_si512(_mm512_add_epi32((__m512i)x, _mm512_set1_epi32(0x8000)), upper_half()); }
RX_INLINE vf upper_halves(vf low, vf high) {
  return (vf)_mm512_ternarylogic_epi32(_mm512_srli_epi32((__m512i)low, 16), (__m512i)high, upper_half(), 0xf8);  // low | (high & upper_half)
}
// What is left of a number after two parts is a bfloat16 number.
RX_INLINE Pairs parts_of_two(vf low, vf high) {
  Pairs all;
#pragma GCC unroll 2
  for (int p = 0; p < 2; p++) {
    const vf low_part = rounded_upper(low), high_part = rounded_upper(high);
    all.part[p] = upper_halves(low_part, high_part);
    low -= low_part;
    high -= high_part;
  }
  all.part[2] = upper_halves(low, high);
  return all;
}

// The tiles of 2 x 16 vectors, which vector(i, 0) and vector(i, 1) give: 16 lines of 32 neighbours, or neighbours of 16 lines; turned where
// asked for, before numbers are taken apart.
template <bool turn, class Vector>
RX_INLINE void store_parts(Packed* d, Vector vector) {
  vf turned[2][16];
  if (turn) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
      vf block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) block[i] = vector(i, half);
      transpose_block(block);
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) turned[half][i] = block[i];
    }
    __asm__ volatile("" ::: "memory");
  }
  for (int i = 0; i < 16; i++) {
    const Pairs pairs = turn ? parts_of_two(turned[0][i], turned[1][i]) : parts_of_two(vector(i, 0), vector(i, 1));
#pragma GCC unroll 3
    for (int p = 0; p < PARTS; p++) _mm512_store_si512(d + p * 2 * TILE + i * 16, (__m512i)pairs.part[p]);
  }
}

template <bool left>
RX_INLINE void tile_along(const float* s, long ls, long lines, long kc, Packed* d) {
  const __mmask32 in = lanes32(kc);
  const auto vector = [&](int i, int half) __attribute__((always_inline)) {
    return (vf)_mm512_maskz_loadu_ps((__mmask16)(in >> half * 16), s + i * ls + half * 16);
  };
  if (lines >= 16)
    store_parts<!left>(d, vector);
  else
    store_parts<!left>(d, [&](int i, int half) __attribute__((always_inline)) { return i < lines ? vector(i, half) : vf{}; });
}

template <bool left>
RX_INLINE void tile_across(const float* s, long ks, long lines, long kc, Packed* d) {
  const __mmask16 in = lanes16(lines);
  const auto vector = [&](int i, int half) __attribute__((always_inline)) { return (vf)_mm512_maskz_loadu_ps(in, s + (i + half * 16) * ks); };
  if (kc >= 32)
    store_parts<left>(d, vector);
  else
    store_parts<left>(d, [&](int i, int half) __attribute__((always_inline)) { return i + half * 16 < kc ? vector(i, half) : vf{}; });
}
#endif

// Packs panels of W of the `lines` lines of a matrix whose element (line, k) lies at s[line + k * ks]. The second tile of a
// panel that has no lines is left as it is: of A it is not read, of B it makes columns that nobody reads.
template <int W, bool left, class T>
RX_STATIC void pack_across(const T* s, long ks, long lines, long kc, Packed* d, long kp) {
  const long size = W * kp;
  for (long first = 0; first < lines; first += ABREAST * W) {
    const long end = least(lines, first + ABREAST * W);
    for (long k = 0; k < kc; k += 32) {
      for (long line = first; line < end; line += 16) {
        const T* const from = s + k * ks + line;
        if (k + 64 <= kc)
          for (int i = 0; i < 32; i++) __builtin_prefetch(from + (32 + i) * ks);
        else if (line + ABREAST * W < lines)
          for (int i = 0; i < 32; i++) __builtin_prefetch(from + ABREAST * W + (i - k) * ks);
        tile_across<left>(from, ks, lines - line, kc - k, d + line / W * size + k / 32 * STEP * W + line % W * 16);
      }
    }
  }
}

// Packs the panel of `w` (<= W) lines of a matrix whose element (line, k) lies at s[line * ls + k], behind which `after` more are to come.
template <int W, bool left, class T>
RX_STATIC void pack_along(const T* s, long ls, int w, long kc, Packed* d, long after) {
  for (long k = 0; k < kc; k += 32)
    for (long line = 0; line < w; line += 16) {
      const T* const from = s + line * ls + k;
      // The same places of lines far apart: nothing in the processor foresees that many at once, and of the next panel none is asked for too late.
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++)
        if (line + i < after) {
          __builtin_prefetch(from + (W + i) * ls, 0, 2);
          __builtin_prefetch(from + (W + i) * ls + 64 / sizeof(T), 0, 2);
        }
      tile_along<left>(from, ls, w - line, kc - k, d + k / 32 * STEP * W + line * 16);
    }
}

// Sums that are to be written: c [rows, NR] = in + alpha sums; `in` may be none, or c.
typedef struct Output {
  const float* sums;  // [MR, NR]
  Numbers c, in;
  float alpha;
  int rows;
} Output;

RX_INLINE vf halves_at(const uint16_t* x) { return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)x)), 16); }
RX_INLINE void put_row(const Output* o, long row) {
  const vf alpha = vset(o->alpha);
  vf low = alpha * *(const vf*)(o->sums + row * NR), high = alpha * *(const vf*)(o->sums + row * NR + VW);
  if (o->in.at) {
    const long place = row * o->in.row;
    if (o->in.half) {
      low += halves_at((const uint16_t*)o->in.at + place);
      high += halves_at((const uint16_t*)o->in.at + place + VW);
    } else {
      low += load((const float*)o->in.at + place);
      high += load((const float*)o->in.at + place + VW);
    }
  }
  const long place = row * o->c.row;
  if (o->c.half) {
    _mm512_storeu_si512((uint16_t*)o->c.at + place, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
  } else {
    store((float*)o->c.at + place, low);
    store((float*)o->c.at + place + VW, high);
  }
}
RX_INLINE void put_rows(Output* o) {
  for (long row = 0; row < o->rows; row++) put_row(o, row);
  o->rows = 0;
}

// What is done while tiles are multiplied, which takes none of what they take: a former output is written, and memory is asked for that
// will be needed: rows of an output to come and sums that will be added to.
typedef struct Beside {
  Output* former;
  const char* rows;  // null: none
  long ld;           // bytes
  const float* sums;  // null: none
  const Packed* panel;  // MR * PARTS lines of the cache of the next panel of B; null: none
} Beside;

// The tiles of one part of A and one of B: rows in registers 4 and 5, columns in 6 and 7.
template <bool both>
RX_INLINE void multiply_there(void) {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  if (both) {
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}
template <bool both>
RX_INLINE void multiply_left(const Packed* a) {
  _tile_loadd(4, a, 64);
  if (both) _tile_loadd(5, a + TILE, 64);
  multiply_there<both>();
}
template <bool both>
RX_INLINE void multiply_right(const Packed* b) {
  _tile_loadd(6, b, 64);
  _tile_loadd(7, b + TILE, 64);
  multiply_there<both>();
}
template <bool both>
RX_INLINE void multiply_tiles(const Packed* a, const Packed* b) {
  _tile_loadd(6, b, 64);
  _tile_loadd(7, b + TILE, 64);
  multiply_left<both>(a);
}

#if PARTS > 1
// Asks the first-level cache, which a panel of each does not fit into, for a sixth of what the next step will load.
template <int parts_of_b>
RX_INLINE void expect_sixth(const Packed* a, const Packed* b, int sixth) {
  constexpr long step = PARTS * 2 * TILE;
#pragma GCC unroll 16
  for (long line = 0; line < step / 6; line += 16) {
    __builtin_prefetch(a + step + sixth * (step / 6) + line);
    if (sixth < 2 * parts_of_b) __builtin_prefetch(b + step + sixth * (step / 6) + line);
  }
}
#endif

// sums [MR, NR] = before + a b, from packed panels k pairs long; `before` may be null or sums. Only 16 rows unless `both`.
template <bool both, int parts_of_b>
RX_STATIC void sum_tiles(long k, const Packed* a, const Packed* b, const float* before, float* sums, const Beside* beside) {
  constexpr long bytes = NR * sizeof(float);
  const Output former = *beside->former;
  const Beside soon = *beside;
  const long each = divide_up(MR * STEP, k);  // rows a step
  long row = 0;
  // what was packed is in memory: the instructions below do not tell the compiler what they read
  __asm__ volatile("" ::: "memory");
  if (before) {
    _tile_loadd(0, before, bytes);
    _tile_loadd(1, before + 16, bytes);
    if (both) {
      _tile_loadd(2, before + 16 * NR, bytes);
      _tile_loadd(3, before + 16 * NR + 16, bytes);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (; k > 0; k -= STEP, a += PARTS * 2 * TILE, b += PARTS * 2 * TILE) {
#if PARTS == 1
    multiply_tiles<both>(a, b);
#else
    // part of A with part of B, one of the two being there already: 1 3, 1 2, 2 2, 2 1, 1 1, 3 1
    if (parts_of_b > 1) {
      multiply_tiles<both>(a, b + 4 * TILE);
      expect_sixth<PARTS>(a, b, 0);
      multiply_right<both>(b + 2 * TILE);
      expect_sixth<PARTS>(a, b, 1);
      multiply_left<both>(a + 2 * TILE);
      expect_sixth<PARTS>(a, b, 2);
      multiply_right<both>(b);
      expect_sixth<PARTS>(a, b, 3);
    } else {
      multiply_tiles<both>(a + 2 * TILE, b);
      for (int sixth = 0; sixth < 4; sixth++) expect_sixth<1>(a, b, sixth);
    }
    multiply_left<both>(a);
    expect_sixth<parts_of_b>(a, b, 4);
    multiply_left<both>(a + 4 * TILE);
    expect_sixth<parts_of_b>(a, b, 5);
#endif
    for (const long end = row + each; row < end; row++) {
      if (row < former.rows) put_row(&former, row);
      if (soon.rows) {
        __builtin_prefetch(soon.rows + row * soon.ld, 1);
        __builtin_prefetch(soon.rows + row * soon.ld + 4 * NR - 1, 1);
      }
      if (soon.panel)
        for (long line = row * PARTS; line < (row + 1) * PARTS; line++) __builtin_prefetch(soon.panel + line * 16, 0, 2);
      if (soon.sums) {
        __builtin_prefetch(soon.sums + row * NR);
        __builtin_prefetch(soon.sums + row * NR + 16);
      }
    }
  }
  beside->former->rows = 0;
  _tile_stored(0, sums, bytes);
  _tile_stored(1, sums + 16, bytes);
  if (both) {
    _tile_stored(2, sums + 16 * NR, bytes);
    _tile_stored(3, sums + 16 * NR + 16, bytes);
  }
}

RX_INLINE void sum_panels(const Gemm* g, long m, long k, const Packed* a, const Packed* b, const float* before, float* sums,
                          const Beside* beside) {
  if (g->b.kind == GEMM_BFLOAT16)
    (m > 16 ? sum_tiles<true, 1> : sum_tiles<false, 1>)(k, a, b, before, sums, beside);
  else
    (m > 16 ? sum_tiles<true, PARTS> : sum_tiles<false, PARTS>)(k, a, b, before, sums, beside);
}

// c [m, NR] = in + alpha (before + a b); `before` [MR, NR] and `in` may be null, `in` may be c.
RX_STATIC void run_micro_kernel(const Gemm* g, long m, long k, const Packed* a, const Packed* b, const float* before, float* c, long ldc,
                                const float* in, long ld_in) {
  float sums[MR * NR] __attribute__((aligned(64)));
  Output none = {};
  const Beside beside = {&none, (const char*)c, ldc * 4, 0, 0};
  sum_panels(g, m, k, a, b, before, sums, &beside);
  Output output = {sums, {c, ldc, 1, 0, 0}, {(void*)in, ld_in, 1, 0, 0}, g->alpha, (int)m};
  put_rows(&output);
}
