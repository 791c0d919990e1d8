// The product of gemm_bf16.cc with AVX-512: vdpbf16ps multiplies pairs of neighbours in k. Inputs that are denormal or become so count as 0 there.
#pragma once

#include "bf16_pairs.h"
#include "gemm_pack.h"

#define MR 14
#define NV 2
#define NR (NV * VW)
#define KC 1024
#define MC 168
#define NC 2048

// Two neighbours in k: the even one in the low half.
typedef uint32_t Packed;
#define PACKS_BFLOAT16

RX_INLINE long packed_k(long kc) { return (kc + 1) / 2; }

// One pair of `w` (<= W) lines into a panel; `ks` is 0 where there is no odd one. What a vector holds in excess falls where the
// next pair will lie; the last must not reach into what lies behind.
template <int W, class T>
RX_INLINE void pack_pair(const T* s, long ks, long w, int last, Packed* d) {
#pragma GCC unroll 8
  for (int i = 0; i < W; i += 16) {
    const __mmask16 in = lanes16(w - i);
    const __m512i two = (__m512i)pair_of_rows(s + i, s + ks + i, in, ks != 0 ? in : (__mmask16)0);
    if (W - i >= 16 || !last)
      _mm512_storeu_si512(d + i, two);
    else
      _mm512_mask_storeu_epi32(d + i, lanes16(W - i), two);
  }
}

// Packs panels of W of the `lines` lines of a matrix whose element (line, k) lies at s[line + k * ks].
template <int W, class T>
RX_STATIC void pack_across(const T* s, long ks, long lines, long kc, Packed* d, long panel) {
  const long whole = lines / W, kp = packed_k(kc), size = W * panel;
  for (long p0 = 0; p0 < whole; p0 += ABREAST) {
    const long end = p0 + ABREAST < whole ? p0 + ABREAST : whole;
    for (long q = 0; q < kp; q++) {
      const T* const from = s + 2 * q * ks;
      if (2 * q + 1 + ROWS_AHEAD < kc) {
        expect(from + ROWS_AHEAD * ks + p0 * W, from + ROWS_AHEAD * ks + end * W);
        expect(from + (ROWS_AHEAD + 1) * ks + p0 * W, from + (ROWS_AHEAD + 1) * ks + end * W);
      }
      for (long p = p0; p < end; p++)
        pack_pair<W>(from + p * W, 2 * q + 1 < kc ? ks : 0, W, q + 1 == kp, d + p * size + q * W);
    }
  }
  if (whole * W == lines) return;
  for (long q = 0; q < kp; q++)
    pack_pair<W>(s + 2 * q * ks + whole * W, 2 * q + 1 < kc ? ks : 0, lines - whole * W, q + 1 == kp, d + whole * size + q * W);
}

// Packs the panel of `w` (<= W) lines of a matrix whose element (line, k) lies at s[line * ls + k].
template <int W, class T>
RX_STATIC void pack_along(const T* s, long ls, int w, long kc, Packed* d) {
  for (int i0 = 0; i0 < W; i0 += 16) {
    const __mmask16 out = lanes16(W - i0);
    for (long k = 0; k < kc; k += 32) {
      const __mmask32 in = lanes32(kc - k);
      vf block[16];
      // the same places of lines far apart: nothing in the processor foresees that many at once
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++)
        if (i0 + i < w) expect(s + (i0 + i) * ls + k + 64, s + (i0 + i) * ls + k + 96);
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) block[i] = i0 + i < w ? pairs_of_line(s + (i0 + i) * ls + k, in) : vf{};
      transpose_block(block);
      const long pairs = kc - k >= 32 ? 16 : (kc - k + 1) / 2;
      float* const to = (float*)(d + k / 2 * W + i0);
      if (pairs == 16) {
#pragma GCC unroll 16
        for (int q = 0; q < 16; q++) _mm512_mask_storeu_ps(to + q * W, out, (__m512)block[q]);
      } else {
        for (long q = 0; q < pairs; q++) _mm512_mask_storeu_ps(to + q * W, out, (__m512)block[q]);
      }
    }
  }
}

template <int M>
RX_STATIC void micro_kernel(long k, const Packed* __restrict a, const Packed* __restrict b, float* c, long ldc, const float* in,
                            long ld_in, float alpha) {
  __m512 sum[M][NV];
#pragma GCC unroll 32
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) sum[i][j] = _mm512_setzero_ps();
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + NR - 1, 1);
  }
  for (; k > 0; k--) {
    __m512bh right[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) {
      right[j] = (__m512bh)_mm512_loadu_si512(b + j * 16);
      __builtin_prefetch(b + AHEAD_B * NR + j * 16);
    }
    __builtin_prefetch(a + AHEAD_A * MR);
#pragma GCC unroll 32
    for (int i = 0; i < M; i++) {
      const __m512bh left = (__m512bh)_mm512_set1_epi32((int)a[i]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
    }
    a += MR;
    b += NR;
  }
  // Hides that the rows of c were prefetched above: their addresses, kept over the loop, would take registers from the sums.
  __asm__("" : "+r"(c), "+r"(ldc), "+r"(in));
  const vf scale = vset(alpha);
#pragma GCC unroll 32
  for (int i = 0; i < M; i++)
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) {
      const vf product = scale * (vf)sum[i][j];
      store(c + i * ldc + j * VW, in ? load(in + i * ld_in + j * VW) + product : product);
    }
}

typedef void (*Micro)(long, const Packed*, const Packed*, float*, long, const float*, long, float);
static const Micro micro[MR] = {
    micro_kernel<1>, micro_kernel<2>, micro_kernel<3>,  micro_kernel<4>,  micro_kernel<5>,  micro_kernel<6>,  micro_kernel<7>,
    micro_kernel<8>, micro_kernel<9>, micro_kernel<10>, micro_kernel<11>, micro_kernel<12>, micro_kernel<13>, micro_kernel<14>,
};
