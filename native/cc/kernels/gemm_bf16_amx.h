// The same on Intel's matrix tiles: one instruction multiplies 16 lines by 16 lines, 32 neighbours in k at a time. Denormals count as 0 there.
#pragma once

#include "amx.h"
#include "bf16_pairs.h"
#include "gemm_pack.h"

#define MR 32
#define NR 32
#define KC 1024
#define MC 256
#define NC 2048
// A panel of B stays in the first-level cache for KI neighbours; JC panels' sums stay in the second-level cache.
#define KI 256
#define JC 8
#define K_UNIT 32
// A multiply-add costs a sixteenth of what it costs in vectors, packing and waiting as much as ever.
#define PACK_COST 120.0
#define BARRIER_COST 1000000.0
#define ALONE_BELOW 2000000.0

// Two neighbours in k of one line, the even one in the low half. A panel is tiles of 16 x 16 of them, 1 KB each, two side by side
// for each 32 neighbours: of A [line][pair], of B [pair][line].
typedef uint32_t Packed;
#define PACKS_BFLOAT16
#define PACKS_TILES
#define TILE 256

RX_INLINE long packed_k(long kc) { return (kc + 31) / 32 * 16; }

RX_INLINE void store_tile(vf (&block)[16], bool turn, Packed* d) {
  if (turn) transpose_block(block);
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) _mm512_store_si512(d + i * 16, (__m512i)block[i]);
}

// The tile of `lines` lines and `kc` neighbours of a matrix whose element (line, k) lies at s[line * ls + k].
template <bool left, class T>
RX_INLINE void tile_along(const T* s, long ls, long lines, long kc, Packed* d) {
  vf block[16];
  const __mmask32 in = lanes32(kc);
  if (lines >= 16) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) block[i] = pairs_of_line(s + i * ls, in);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) block[i] = i < lines ? pairs_of_line(s + i * ls, in) : vf{};
  }
  store_tile(block, !left, d);
}

// The same where element (line, k) lies at s[line + k * ks].
template <bool left, class T>
RX_INLINE void tile_across(const T* s, long ks, long lines, long kc, Packed* d) {
  vf block[16];
  const __mmask16 in = lanes16(lines);
  if (kc >= 32) {
#pragma GCC unroll 16
    for (int q = 0; q < 16; q++) block[q] = pair_of_rows(s + 2 * q * ks, s + (2 * q + 1) * ks, in, in);
  } else {
#pragma GCC unroll 16
    for (int q = 0; q < 16; q++) {
      const T* const even = s + 2 * q * ks;
      block[q] = 2 * q >= kc ? vf{} : 2 * q + 1 < kc ? pair_of_rows(even, even + ks, in, in) : pair_of_rows(even, even, in, 0);
    }
  }
  store_tile(block, left, d);
}

// Packs panels of W of the `lines` lines of a matrix whose element (line, k) lies at s[line + k * ks]. A tile without lines is left out.
template <int W, bool left, class T>
RX_STATIC void pack_across(const T* s, long ks, long lines, long kc, Packed* d) {
  const long size = W * packed_k(kc);
  for (long first = 0; first < lines; first += ABREAST * W) {
    const long end = least(lines, first + ABREAST * W);
    for (long k = 0; k < kc; k += 32) {
      for (long line = first; line < end; line += 16) {
        const T* const from = s + k * ks + line;
        if (k + 64 <= kc)
          for (int i = 0; i < 32; i++) __builtin_prefetch(from + (32 + i) * ks);
        tile_across<left>(from, ks, lines - line, kc - k, d + line / W * size + k * (W / 2) + line % W * 16);
      }
    }
  }
}

// Packs the panel of `w` (<= W) lines of a matrix whose element (line, k) lies at s[line * ls + k].
template <int W, bool left, class T>
RX_STATIC void pack_along(const T* s, long ls, int w, long kc, Packed* d) {
  for (long k = 0; k < kc; k += 32)
    for (long line = 0; line < w; line += 16) {
      const T* const from = s + line * ls + k;
      // the same places of lines far apart: nothing in the processor foresees that many at once
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++)
        if (line + i < w) expect(from + i * ls + 64, from + i * ls + 96);
      tile_along<left>(from, ls, w - line, kc - k, d + k * (W / 2) + line * 16);
    }
}

// Sums that are to be written: c [rows, NR] = in + alpha sums, `in` may be null or c.
typedef struct Output {
  const float* sums;  // [MR, NR]
  float* c;
  long ldc;
  const float* in;
  long ld_in;
  float alpha;
  int rows;
} Output;

RX_INLINE void put_row(const Output* o, long row) {
  float* const c = o->c + row * o->ldc;
#pragma GCC unroll 2
  for (int j = 0; j < NR; j += VW) {
    const vf product = vset(o->alpha) * *(const vf*)(o->sums + row * NR + j);
    store(c + j, o->in ? load(o->in + row * o->ld_in + j) + product : product);
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
  const float* rows;  // null: none
  long ld;
  const float* sums;  // null: none
  const Packed* panel;  // MR lines of the cache of the next panel of B; null: none
} Beside;

// sums [MR, NR] = before + a b, from packed panels k pairs long; `before` may be null or sums. Only 16 rows unless `both`.
template <bool both>
RX_STATIC void sum_tiles(long k, const Packed* a, const Packed* b, const float* before, float* sums, const Beside* beside) {
  constexpr long bytes = NR * sizeof(float);
  const Output former = *beside->former;
  const Beside soon = *beside;
  const long each = divide_up(MR * 16, k);  // rows a step
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
  for (; k > 0; k -= 16, a += 2 * TILE, b += 2 * TILE) {
    _tile_loadd(6, b, 64);
    _tile_loadd(4, a, 64);
    _tile_loadd(7, b + TILE, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (both) {
      _tile_loadd(5, a + TILE, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    for (const long end = row + each; row < end; row++) {
      if (row < former.rows) put_row(&former, row);
      if (soon.rows) {
        __builtin_prefetch(soon.rows + row * soon.ld, 1);
        __builtin_prefetch(soon.rows + row * soon.ld + NR - 1, 1);
      }
      if (soon.panel) __builtin_prefetch(soon.panel + row * 16, 0, 2);
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

RX_INLINE void sum_panels(long m, long k, const Packed* a, const Packed* b, const float* before, float* sums, const Beside* beside) {
  (m > 16 ? sum_tiles<true> : sum_tiles<false>)(k, a, b, before, sums, beside);
}

// c [m, NR] = in + alpha (before + a b); `before` [MR, NR] and `in` may be null, `in` may be c.
RX_STATIC void run_micro_kernel(long m, long k, const Packed* a, const Packed* b, const float* before, float* c, long ldc, const float* in,
                                long ld_in, float alpha) {
  float sums[MR * NR] __attribute__((aligned(64)));
  Output none = {};
  const Beside beside = {&none, c, ldc, 0, 0};
  sum_panels(m, k, a, b, before, sums, &beside);
  Output output = {sums, c, ldc, in, ld_in, alpha, (int)m};
  put_rows(&output);
}
