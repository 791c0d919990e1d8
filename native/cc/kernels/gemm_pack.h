// Packing operands into panels: the layout, panels of float32, and reading what is stored in other formats. In a panel of W
// lines element (line, k) lies at [k * W + line], lines that are not there being 0; panels lie one after the other.
#pragma once

#include "../kernel_table.h"
#include "../simd.h"
#include "transpose.h"

RX_INLINE long least(long a, long b) { return a < b ? a : b; }
RX_INLINE long divide_up(long a, long b) { return (a + b - 1) / b; }
RX_INLINE long round_up(long a, long unit) { return divide_up(a, unit) * unit; }

// A matrix that is written or added: number (i, j) lies at [i * row + (j - first) * column], as bfloat16 where `half`.
typedef struct Numbers {
  void* at;  // null: none
  long row, column, first;
  int half;
} Numbers;

// ---- float32 panels ----

// How many steps of k before their use the micro-kernel asks for A and B. A panel of B comes from the third-level cache at best
// when the first rows meet it: with wide vectors that is soon more than a dozen steps away.
#if VW == 16
#define AHEAD_A 32
#define AHEAD_B 24
#else
#define AHEAD_A 16
#define AHEAD_B 8
#endif

// Panels that are packed side by side when rows of the matrix cross them: a long piece of a row at a time, so that its cache
// lines are read once and in order; panel by panel, rows a multiple of 4 KB apart would push each other out first. Not more
// panels, for they are often a multiple of 4 KB apart themselves.
#define ABREAST 8

// Asks for a piece of a row that will be crossed a few rows later: nothing in the processor foresees rows so far apart.
#define ROWS_AHEAD 4
template <class T>
RX_INLINE void expect(const T* from, const T* to) {
  for (; from < to; from += 64 / sizeof(T)) __builtin_prefetch(from);
}

// Packs panels of W of the `lines` lines of a matrix whose element (line, k) lies at s[line + k * ks]; `kp` numbers a line of a panel.
template <int W>
RX_STATIC void pack_across(const float* s, long ks, long lines, long kc, float* d, long kp) {
  const long whole = lines / W;
  for (long p0 = 0; p0 < whole; p0 += ABREAST) {
    const long end = p0 + ABREAST < whole ? p0 + ABREAST : whole;
    for (long k = 0; k < kc; k++) {
      const float* from = s + k * ks + p0 * W;
      if (k + ROWS_AHEAD < kc) expect(from + ROWS_AHEAD * ks, from + ROWS_AHEAD * ks + (end - p0) * W);
      for (long p = p0; p < end; p++, from += W) {
        float* const to = d + p * W * kp + k * W;
        int i = 0;
#pragma GCC unroll 8
        for (; i + VW <= W; i += VW) store(to + i, load(from + i));
#if defined(__AVX512F__)
        // What a vector holds in excess falls where the next k will lie; the last must not reach into what lies behind.
        if (W % VW != 0) {
          const vf rest = load_n(from + i, W % VW);
          if (k + 1 < kc)
            store(to + i, rest);
          else
            store_n(to + i, rest, W % VW);
        }
#else
        for (; i < W; i++) to[i] = from[i];
#endif
      }
    }
  }
  const int w = (int)(lines - whole * W);
  if (w == 0) return;
  s += whole * W;
  d += whole * W * kp;
  for (long k = 0; k < kc; k++, s += ks, d += W) {
    int i = 0;
#if defined(__AVX512F__)
    for (; i < W; i += VW) store_n(d + i, load_n(s + i, w < i ? 0 : w - i < VW ? w - i : VW), W - i < VW ? W - i : VW);
#else
    for (; i < w; i++) d[i] = s[i];
    for (; i < W; i++) d[i] = 0;
#endif
  }
}

// Packs the panel of `w` (<= W) lines of a matrix whose element (line, k) lies at s[line * ls + k].
template <int W>
RX_STATIC void pack_along(const float* s, long ls, int w, long kc, float* d) {
  for (int i0 = 0; i0 < W; i0 += VW) {
    const int wide = W - i0 < VW ? W - i0 : VW;
    const int lines = w - i0 < 0 ? 0 : w - i0 < wide ? w - i0 : wide;
    const float* const from = s + i0 * ls;
    float* const to = d + i0;
    for (long k = 0; k < kc; k += VW) {
      const int columns = kc - k < VW ? (int)(kc - k) : VW;
      vf block[VW];
      // the same places of lines far apart: nothing in the processor foresees that many at once
      if (k % 16 == 0) {
#pragma GCC unroll 16
        for (int i = 0; i < VW; i++)
          if (i < lines) __builtin_prefetch(from + i * ls + k + 64);
      }
      if (columns == VW && lines == VW) {
#pragma GCC unroll 16
        for (int i = 0; i < VW; i++) block[i] = load(from + i * ls + k);
      } else if (columns == VW) {
#pragma GCC unroll 16
        for (int i = 0; i < VW; i++) block[i] = i < lines ? load(from + i * ls + k) : vf{};
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < VW; i++) block[i] = i < lines ? load_n(from + i * ls + k, columns) : vf{};
      }
      transpose_block(block);
      // A panel narrower than a vector (6 lines of AVX2) is written with whole vectors, whose excess the next store mends; the
      // last must not reach into what another thread may have packed.
      if (wide == VW || (VW == 8 && W < VW && k + VW < kc)) {
        if (columns == VW) {
#pragma GCC unroll 16
          for (int i = 0; i < VW; i++) store(to + (k + i) * W, block[i]);
        } else {
          for (int i = 0; i < columns; i++) store(to + (k + i) * W, block[i]);
        }
      } else if (columns == VW) {
#pragma GCC unroll 16
        for (int i = 0; i < VW; i++) store_n(to + (k + i) * W, block[i], wide);
      } else {
        for (int i = 0; i < columns; i++) store_n(to + (k + i) * W, block[i], wide);
      }
    }
  }
}

// ---- stored formats ----

// `count` values of row `row` of the stored matrix, from column `column`, as float32.
RX_STATIC void unpack_row(const GemmOperand* x, long row, long column, long count, float* to) {
  const long flat = row * x->ld + column;
  if (x->kind == GEMM_BFLOAT16) {
    const uint16_t* const from = (const uint16_t*)x->data + flat;
    uint32_t* const bits = (uint32_t*)to;
    for (long i = 0; i < count; i++) bits[i] = (uint32_t)from[i] << 16;
  } else if (x->kind == GEMM_INT8_ROWS) {
    const int8_t* const from = (const int8_t*)x->data + flat;
    const float scale = x->scale[row];
    for (long i = 0; i < count; i++) to[i] = (float)from[i] * scale;
  } else {
    // two values a byte, the first in the high half (bitsandbytes)
    const uint8_t* const from = (const uint8_t*)x->data;
    for (long i = 0; i < count;) {
      const long at = flat + i;
      const float scale = x->scale[at / x->block];
      long run = x->block - at % x->block;
      if (run > count - i) run = count - i;
      long j = 0;
      if (at & 1) {
        to[i] = x->code[from[at >> 1] & 15] * scale;
        j = 1;
      }
#if defined(__AVX512F__)
      const __m512 code = _mm512_loadu_ps(x->code);
      const __m512 scales = _mm512_set1_ps(scale);
      for (; j + 16 <= run; j += 16) {
        const __m128i bytes = _mm_loadl_epi64((const __m128i*)(from + ((at + j) >> 1)));
        const __m128i low = _mm_and_si128(bytes, _mm_set1_epi8(15));
        const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
        const __m512i index = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(high, low));
        _mm512_storeu_ps(to + i + j, _mm512_mul_ps(_mm512_permutexvar_ps(index, code), scales));
      }
#endif
      for (; j < run; j++) {
        const uint8_t byte = from[(at + j) >> 1];
        to[i + j] = x->code[(at + j) & 1 ? byte & 15 : byte >> 4] * scale;
      }
      i += run;
    }
  }
}
