// Transposing VW x VW floats in registers: rows[i][j] becomes rows[j][i].
#pragma once

#include "../simd.h"

#if defined(__AVX512F__)
RX_INLINE void transpose_block(vf* rows) {
  __m512 t[16];
  __m512* const a = (__m512*)rows;
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const __m512d p = _mm512_castps_pd(t[4 * i]), q = _mm512_castps_pd(t[4 * i + 2]);
    const __m512d r = _mm512_castps_pd(t[4 * i + 1]), s = _mm512_castps_pd(t[4 * i + 3]);
    a[4 * i + 0] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, q));
    a[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, q));
    a[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(r, s));
    a[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(r, s));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(a[i], a[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_f32x4(a[i], a[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    a[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
    a[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
    a[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
    a[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
  }
}
#elif VW == 8
RX_INLINE void transpose_block(vf* rows) {
  __m256 t[8];
  __m256* const a = (__m256*)rows;
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    a[4 * i + 0] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    a[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    a[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    a[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm256_permute2f128_ps(a[i], a[4 + i], 0x20);
    t[4 + i] = _mm256_permute2f128_ps(a[i], a[4 + i], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) a[i] = t[i];
}
#elif defined(__ARM_NEON)
RX_INLINE void transpose_block(vf* a) {
  const float32x4x2_t even = vtrnq_f32((float32x4_t)a[0], (float32x4_t)a[1]);
  const float32x4x2_t odd = vtrnq_f32((float32x4_t)a[2], (float32x4_t)a[3]);
  const auto pairs = [](float32x4_t x) { return vreinterpretq_f64_f32(x); };
  a[0] = (vf)vtrn1q_f64(pairs(even.val[0]), pairs(odd.val[0]));
  a[1] = (vf)vtrn1q_f64(pairs(even.val[1]), pairs(odd.val[1]));
  a[2] = (vf)vtrn2q_f64(pairs(even.val[0]), pairs(odd.val[0]));
  a[3] = (vf)vtrn2q_f64(pairs(even.val[1]), pairs(odd.val[1]));
}
#else
RX_INLINE void transpose_block(vf* a) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
    for (int j = 0; j < i; j++) {
      const float x = a[i][j];
      a[i][j] = a[j][i];
      a[j][i] = x;
    }
}
#endif
