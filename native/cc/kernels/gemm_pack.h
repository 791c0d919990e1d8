// Packing a panel of an operand for the float32 micro-kernel, whatever the operand is stored as.
#pragma once

#include "../kernel_table.h"
#include "../simd.h"
#include "transpose.h"

// ---- float32 panels ----

// Puts the panel of `w` (<= W) lines of a matrix whose element (line, k) lies at s[line * ls + k * ks] at d[k * W + line],
// lines beyond w being 0. One of ls, ks is 1.
template <int W>
RX_STATIC void pack_float(const float* s, long ls, long ks, int w, long kc, float* d) {
  if (ls == 1) {
    if (w == W) {
      for (long k = 0; k < kc; k++, s += ks, d += W) {
        int i = 0;
        for (; i + VW <= W; i += VW) store(d + i, load(s + i));
        for (; i < W; i++) d[i] = s[i];
      }
    } else {
      for (long k = 0; k < kc; k++, s += ks, d += W) {
        int i = 0;
        for (; i < w; i++) d[i] = s[i];
        for (; i < W; i++) d[i] = 0;
      }
    }
    return;
  }
  for (int i0 = 0; i0 < W; i0 += VW) {
    const int wide = W - i0 < VW ? W - i0 : VW;
    const int lines = w - i0 < 0 ? 0 : w - i0 < wide ? w - i0 : wide;
    const float* const from = s + i0 * ls;
    float* const to = d + i0;
    for (long k = 0; k < kc; k += VW) {
      const int columns = kc - k < VW ? (int)(kc - k) : VW;
      vf block[VW];
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

// Floats that pack_operand needs at `unpacked` for a panel of W lines.
RX_INLINE long unpacked_floats(int w, long kc) { return (long)w * (kc + VW); }

// Lines `line` … `line + w` of op(x) seen as (line, k), from k0, kc long. For A lines are rows (k runs along a row), for B
// they are columns: `along` says whether a stored row runs along k.
template <int W>
RX_INLINE void pack_operand(const GemmOperand* x, int along, long line, int w, long k0, long kc, float* unpacked, float* d) {
  if (x->kind == GEMM_FLOAT32) {
    const float* const data = (const float*)x->data;
    if (along)
      pack_float<W>(data + line * x->ld + k0, x->ld, 1, w, kc, d);
    else
      pack_float<W>(data + k0 * x->ld + line, 1, x->ld, w, kc, d);
  } else if (along) {
    for (int i = 0; i < w; i++) unpack_row(x, line + i, k0, kc, unpacked + i * kc);
    pack_float<W>(unpacked, kc, 1, w, kc, d);
  } else {
    for (long k = 0; k < kc; k++) unpack_row(x, k0 + k, line, w, unpacked + k * w);
    pack_float<W>(unpacked, 1, w, w, kc, d);
  }
}
