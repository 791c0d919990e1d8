// Pairs of neighbours as bfloat16, the even one in the low half, 16 a vector: what x86's instructions multiply.
#pragma once

#include <immintrin.h>

#include "../simd.h"

RX_INLINE __mmask16 lanes16(long n) { return n >= 16 ? (__mmask16)0xffff : n <= 0 ? (__mmask16)0 : (__mmask16)((1u << n) - 1); }
RX_INLINE __mmask32 lanes32(long n) { return n >= 32 ? 0xffffffffu : n <= 0 ? 0u : (__mmask32)((1u << n) - 1); }

// Up to 32 values of one line as bfloat16: 16 pairs.
RX_INLINE vf pairs_of_line(const float* s, __mmask32 in) {
  return (vf)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps((__mmask16)(in >> 16), s + 16), _mm512_maskz_loadu_ps((__mmask16)in, s));
}
RX_INLINE vf pairs_of_line(const uint16_t* s, __mmask32 in) { return (vf)_mm512_maskz_loadu_epi16(in, s); }

// Pairs of one of the 16 values in the low half and one of those in the high half.
RX_INLINE vf paired(__m512i halves) {
  static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (vf)_mm512_permutexvar_epi16(_mm512_loadu_si512(order), halves);
}
// Up to 16 lines of the pair of an even row and an odd one.
RX_INLINE vf pair_of_rows(const float* even, const float* odd, __mmask16 in_even, __mmask16 in_odd) {
  return paired((__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(in_odd, odd), _mm512_maskz_loadu_ps(in_even, even)));
}
RX_INLINE vf pair_of_rows(const uint16_t* even, const uint16_t* odd, __mmask16 in_even, __mmask16 in_odd) {
  const __m512i low = _mm512_castsi256_si512(_mm256_maskz_loadu_epi16(in_even, even));
  return paired(_mm512_inserti64x4(low, _mm256_maskz_loadu_epi16(in_odd, odd), 1));
}

// Up to 16 values as float32, zeros beyond them.
RX_INLINE vf some_values(const float* s, __mmask16 in) { return (vf)_mm512_maskz_loadu_ps(in, s); }
RX_INLINE vf some_values(const uint16_t* s, __mmask16 in) {
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, s)), 16);
}

// As many as there are of 32 columns of a row, times scale.
template <class T>
RX_INLINE vf scaled_pairs(const T* from, long columns, vf scale) {
  const vf low = some_values(from, lanes16(columns));
  const vf high = some_values(from + 16, lanes16(columns - 16));
  return (vf)_mm512_cvtne2ps_pbh((__m512)(high * scale), (__m512)(low * scale));
}

// To nearest even, as float32 again.
RX_INLINE vf rounded_worth(vf x) { return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x)), 16); }
RX_STATIC void round_row(const float* from, long n, float* to) {
  for (long k = 0; k < n; k += 16) {
    const __mmask16 in = lanes16(n - k);
    _mm512_mask_storeu_ps(to + k, in, (__m512)rounded_worth((vf)_mm512_maskz_loadu_ps(in, from + k)));
  }
}
