// The product of gemm_bf16.cc on Arm: bfmmla multiplies two lines by two lines, four neighbours in k at a time. The processor rounds sums of pairs to odd and
// counts denormals as 0 on the way.
#pragma once

#include <arm_neon.h>

#include "gemm_pack.h"

#define MR 8
#define NR 8
#define KC 1024
#define MC 192
#define NC 3072
#define K_UNIT 4

// Four neighbours in k of one line, the first in the lowest bits.
typedef uint64_t Packed;
#define PACKS_BFLOAT16

RX_INLINE long packed_k(long kc) { return (kc + 3) / 4; }

RX_INLINE Packed rounded(vf four) { return (Packed)vreinterpret_u64_bf16(vcvt_bf16_f32((float32x4_t)four)); }

// n (1 … 4) neighbours, zeros after them.
RX_INLINE vf some_of(const float* s, long n) { return n >= 4 ? load(s) : load_n(s, n); }
RX_INLINE vf some_of(const uint16_t* s, long n) {
  uint16_t four[4] = {};
  __builtin_memcpy(four, s, sizeof(uint16_t) * (size_t)(n < 4 ? n : 4));
  return (vf)vshll_n_u16(vld1_u16(four), 16);
}

// Packs panels of W of the `lines` lines of a matrix whose element (line, k) lies at s[line + k * ks].
template <int W, class T>
RX_STATIC void pack_across(const T* s, long ks, long lines, long kc, Packed* d, long panel) {
  const long kp = packed_k(kc);
  for (long q = 0; q < kp; q++) {
    const T* const from = s + 4 * q * ks;
    const long deep = kc - 4 * q;  // rows that are there of four
    for (long line = 0; line < lines; line += 4) {
      const long wide = lines - line;
      vf block[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) block[i] = i < deep ? some_of(from + i * ks + line, wide) : vf{};
      transpose_block(block);
      // W is a multiple of 4: the four lie in one panel
      Packed* const to = d + line / W * W * panel + q * W + line % W;
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) to[i] = rounded(block[i]);
    }
    for (long line = round_up(lines, 4); line < round_up(lines, W); line++) d[line / W * W * panel + q * W + line % W] = 0;
  }
}

// Packs the panel of `w` (<= W) lines of a matrix whose element (line, k) lies at s[line * ls + k].
template <int W, class T>
RX_STATIC void pack_along(const T* s, long ls, int w, long kc, Packed* d) {
  for (long q = 0; q < packed_k(kc); q++, d += W)
    for (int i = 0; i < W; i++) d[i] = i < w ? rounded(some_of(s + i * ls + 4 * q, kc - 4 * q)) : 0;
}

RX_INLINE bfloat16x8_t two_lines(const Packed* p) { return vreinterpretq_bf16_u64(vld1q_u64(p)); }

template <int M>
RX_STATIC void micro_kernel(long k, const Packed* __restrict a, const Packed* __restrict b, float* c, long ldc, const float* in,
                            long ld_in, float alpha) {
  constexpr int pairs = (M + 1) / 2;
  // [row 0 of the pair: columns 2j, 2j + 1; row 1: the same]
  float32x4_t sum[pairs][NR / 2];
#pragma GCC unroll 8
  for (int i = 0; i < pairs; i++)
#pragma GCC unroll 8
    for (int j = 0; j < NR / 2; j++) sum[i][j] = vdupq_n_f32(0);
  for (; k > 0; k--) {
    bfloat16x8_t left[pairs];
#pragma GCC unroll 8
    for (int i = 0; i < pairs; i++) left[i] = two_lines(a + 2 * i);
#pragma GCC unroll 8
    for (int j = 0; j < NR / 2; j++) {
      const bfloat16x8_t right = two_lines(b + 2 * j);
#pragma GCC unroll 8
      for (int i = 0; i < pairs; i++) sum[i][j] = vbfmmlaq_f32(sum[i][j], left[i], right);
    }
    __builtin_prefetch(b + AHEAD_B * NR);
    __builtin_prefetch(a + AHEAD_A * MR);
    a += MR;
    b += NR;
  }
  const vf scale = vset(alpha);
#pragma GCC unroll 8
  for (int i = 0; i < M; i++)
#pragma GCC unroll 8
    for (int j = 0; j < NR; j += 4) {
      const float64x2_t low = vreinterpretq_f64_f32(sum[i / 2][j / 2]), high = vreinterpretq_f64_f32(sum[i / 2][j / 2 + 1]);
      const vf product = scale * (vf)(i % 2 == 0 ? vzip1q_f64(low, high) : vzip2q_f64(low, high));
      store(c + i * ldc + j, in ? load(in + i * ld_in + j) + product : product);
    }
}

typedef void (*Micro)(long, const Packed*, const Packed*, float*, long, const float*, long, float);
static const Micro micro[MR] = {
    micro_kernel<1>, micro_kernel<2>, micro_kernel<3>, micro_kernel<4>, micro_kernel<5>, micro_kernel<6>, micro_kernel<7>, micro_kernel<8>,
};

// To nearest even, as float32 again.
RX_STATIC void round_row(const float* from, long n, float* to) {
  for (long i = 0; i < n; i += 4) {
    const vf wide = (vf)vshll_n_u16(vreinterpret_u16_bf16(vcvt_bf16_f32((float32x4_t)some_of(from + i, n - i))), 16);
    if (n - i >= 4)
      store(to + i, wide);
    else
      store_n(to + i, wide, n - i);
  }
}
