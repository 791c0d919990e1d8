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
#define BESIDE 8
#define WHOLE_A (4L << 20)

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

// Turns `lines` (<= L) lines of `kc` (<= 32) neighbours into L lines of a panel of W; `whole`: of L lines and 32 neighbours.
template <int W, int L, bool whole, class T>
RX_INLINE void pack_turned(const T* s, long ls, long lines, long kc, Packed* d) {
  const __mmask32 in = whole ? 0xffffffffu : lanes32(kc);
  // else the places of all lines are kept from one block to the next, in memory
  __asm__("" : "+r"(ls));
  vf block[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) block[i] = i < L && (whole || i < lines) ? pairs_of_line(s + i * ls, in) : vf{};
  transpose_block(block);
#pragma GCC unroll 16
  for (int q = 0; q < 16; q++)
    if (whole || 2 * q < kc) _mm512_mask_storeu_ps((float*)d + q * W, lanes16(L), (__m512)block[q]);
}

// Packs the panel of `w` (<= W) lines of a matrix whose element (line, k) lies at s[line * ls + k], from line i0 on.
template <int W, int i0 = 0, class T>
RX_STATIC void pack_along(const T* s, long ls, int w, long kc, Packed* d) {
  constexpr int L = W - i0 < 16 ? W - i0 : 16;
  const long lines = w - i0;
  for (long k = 0; k < kc; k += 32) {
    const T* const from = s + i0 * ls + k;
    Packed* const to = d + k / 2 * W + i0;
    // the same places of lines far apart: nothing in the processor foresees that many at once
#pragma GCC unroll 16
    for (int i = 0; i < L; i++)
      if (i < lines) expect(from + i * ls + 64, from + i * ls + 96);
    if (lines >= L && kc - k >= 32)
      pack_turned<W, L, true>(from, ls, L, 32, to);
    else
      pack_turned<W, L, false>(from, ls, lines, kc - k, to);
  }
  if constexpr (i0 + 16 < W) pack_along<W, i0 + 16>(s, ls, w, kc, d);
}

RX_INLINE void put_row(float* to, vf low, vf high) {
  store(to, low);
  store(to + VW, high);
}
RX_INLINE void put_row(uint16_t* to, vf low, vf high) { _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low)); }

// c [M, NR] = in + alpha * a b, from packed panels k long; c lies as T. `in` may be null or c, and lies as bfloat16 where `half_in`.
template <int M, class T>
RX_STATIC void micro_kernel(long k, const Packed* __restrict a, const Packed* __restrict b, void* c, long ldc, const void* in, long ld_in,
                            int half_in, float alpha) {
  __m512 sum[M][NV];
  T* to = (T*)c;
#pragma GCC unroll 32
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) sum[i][j] = _mm512_setzero_ps();
    __builtin_prefetch(to + i * ldc, 1);
    __builtin_prefetch(to + i * ldc + NR - 1, 1);
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
  __asm__("" : "+r"(to), "+r"(ldc), "+r"(in));
  const vf scale = vset(alpha);
  const auto put_rows = [&](auto start) __attribute__((always_inline)) {
#pragma GCC unroll 32
    for (int i = 0; i < M; i++)
      put_row(to + i * ldc, start(i * ld_in) + scale * (vf)sum[i][0], start(i * ld_in + VW) + scale * (vf)sum[i][1]);
  };
  if (!in)
    put_rows([](long) __attribute__((always_inline)) { return vf{}; });
  else if (half_in)
    put_rows([&](long at) __attribute__((always_inline)) { return some_values((const uint16_t*)in + at, 0xffff); });
  else
    put_rows([&](long at) __attribute__((always_inline)) { return load((const float*)in + at); });
}

#define WRITES_HALVES
typedef void (*Micro)(long, const Packed*, const Packed*, void*, long, const void*, long, int, float);
#define RX_MICRO(T)                                                                                                                \
  {micro_kernel<1, T>, micro_kernel<2, T>, micro_kernel<3, T>,  micro_kernel<4, T>,  micro_kernel<5, T>,  micro_kernel<6, T>,  micro_kernel<7, T>, \
   micro_kernel<8, T>, micro_kernel<9, T>, micro_kernel<10, T>, micro_kernel<11, T>, micro_kernel<12, T>, micro_kernel<13, T>, micro_kernel<14, T>}
static const Micro micro[2][MR] = {RX_MICRO(float), RX_MICRO(uint16_t)};
#undef RX_MICRO
