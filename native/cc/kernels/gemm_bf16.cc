// The matrix product of operands rounded to bfloat16 (to nearest even, while packing) with float32 sums: vdpbf16ps multiplies
// pairs of neighbours in k. Inputs that are denormal or become so count as 0 there.
#include <immintrin.h>

#include "gemm_pack.h"

#define MR 14
#define NV 2
#define NR (NV * VW)
#define KC 1024
#define MC 168
#define NC 2048

// Two neighbours in k: the even one in the low half.
typedef uint32_t Packed;

RX_INLINE long packed_k(long kc) { return (kc + 1) / 2; }

RX_INLINE __mmask16 lanes16(long n) { return n >= 16 ? (__mmask16)0xffff : n <= 0 ? (__mmask16)0 : (__mmask16)((1u << n) - 1); }

// d[pair * W + line] from the float at s[line * ls + k * ks]; one of ls, ks is 1.
template <int W>
RX_STATIC void pack_pairs(const float* s, long ls, long ks, int w, long kc, Packed* d) {
  if (ls == 1) {
    for (long k = 0; k < kc; k += 2, s += 2 * ks, d += W)
      for (int i = 0; i < W; i += 16) {
        const __mmask16 in = lanes16(w - i), out = lanes16(W - i);
        const __m512 even = _mm512_maskz_loadu_ps(in, s + i);
        const __m512 odd = k + 1 < kc ? _mm512_maskz_loadu_ps(in, s + ks + i) : _mm512_setzero_ps();
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
        const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd)), 16);
        _mm512_mask_storeu_epi32(d + i, out, _mm512_or_si512(low, high));
      }
    return;
  }
  for (int i0 = 0; i0 < W; i0 += 16) {
    const __mmask16 out = lanes16(W - i0);
    for (long k = 0; k < kc; k += 32) {
      const __mmask16 first = lanes16(kc - k), second = lanes16(kc - k - 16);
      vf block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) {
        if (i0 + i < w) {
          const float* const from = s + (i0 + i) * ls + k;
          block[i] = (vf)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(second, from + 16), _mm512_maskz_loadu_ps(first, from));
        } else {
          block[i] = vf{};
        }
      }
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

// The same from values that are bfloat16 already.
template <int W>
RX_STATIC void pack_halves(const uint16_t* s, long ls, long ks, int w, long kc, Packed* d) {
  if (ls == 1) {
    for (long k = 0; k < kc; k += 2, s += 2 * ks, d += W)
      for (int i = 0; i < W; i += 16) {
        const __mmask16 in = lanes16(w - i), out = lanes16(W - i);
        const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, s + i));
        const __m512i odd = k + 1 < kc ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, s + ks + i)) : _mm512_setzero_si512();
        _mm512_mask_storeu_epi32(d + i, out, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
      }
    return;
  }
  for (int i0 = 0; i0 < W; i0 += 16) {
    const __mmask16 out = lanes16(W - i0);
    for (long k = 0; k < kc; k += 32) {
      const __mmask32 in = kc - k >= 32 ? 0xffffffffu : (__mmask32)((1u << (kc - k)) - 1);
      vf block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++)
        block[i] = i0 + i < w ? (vf)_mm512_maskz_loadu_epi16(in, s + (i0 + i) * ls + k) : vf{};
      transpose_block(block);
      const long pairs = kc - k >= 32 ? 16 : (kc - k + 1) / 2;
      float* const to = (float*)(d + k / 2 * W + i0);
      for (long q = 0; q < pairs; q++) _mm512_mask_storeu_ps(to + q * W, out, (__m512)block[q]);
    }
  }
}

template <int W>
RX_INLINE void pack_any(const GemmOperand* x, int along, long line, int w, long k0, long kc, float* unpacked, Packed* d) {
  const long ld = x->ld;
  if (x->kind == GEMM_FLOAT32) {
    const float* const data = (const float*)x->data;
    if (along)
      pack_pairs<W>(data + line * ld + k0, ld, 1, w, kc, d);
    else
      pack_pairs<W>(data + k0 * ld + line, 1, ld, w, kc, d);
  } else if (x->kind == GEMM_BFLOAT16) {
    const uint16_t* const data = (const uint16_t*)x->data;
    if (along)
      pack_halves<W>(data + line * ld + k0, ld, 1, w, kc, d);
    else
      pack_halves<W>(data + k0 * ld + line, 1, ld, w, kc, d);
  } else if (along) {
    for (int i = 0; i < w; i++) unpack_row(x, line + i, k0, kc, unpacked + i * kc);
    pack_pairs<W>(unpacked, kc, 1, w, kc, d);
  } else {
    for (long k = 0; k < kc; k++) unpack_row(x, k0 + k, line, w, unpacked + k * w);
    pack_pairs<W>(unpacked, 1, w, w, kc, d);
  }
}
RX_INLINE void pack_a(const GemmOperand* x, int along, long line, int w, long k0, long kc, float* unpacked, Packed* d) {
  pack_any<MR>(x, along, line, w, k0, kc, unpacked, d);
}
RX_INLINE void pack_b(const GemmOperand* x, int along, long line, int w, long k0, long kc, float* unpacked, Packed* d) {
  pack_any<NR>(x, along, line, w, k0, kc, unpacked, d);
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
      __builtin_prefetch(b + 8 * NR + j * 16);
    }
    __builtin_prefetch(a + 16 * MR);
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

#include "gemm_loop.h"

// Very few rows are bounded by reading B, which the float32 product does as it lies; only A is left to round.
static void gemm_bf16(const Context* context, const Gemm* g) {
  if (g->m < 1 || g->m > 4 || g->k < 1 || g->a.transposed || g->a.kind != GEMM_FLOAT32 || g->b.kind != GEMM_BFLOAT16) {
    run_planned(context, g);
    return;
  }
  float* const rounded = (float*)scratch_get(context->scratch, SCRATCH_GEMM, sizeof(float) * (size_t)(g->m * g->k));
  for (long i = 0; i < g->m; i++)
    for (long k = 0; k < g->k; k += 16) {
      const __mmask16 in = lanes16(g->k - k);
      const __m256bh half = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(in, (const float*)g->a.data + i * g->a.ld + k));
      const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
      _mm512_mask_storeu_ps(rounded + i * g->k + k, in, (__m512)wide);
    }
  Gemm few = *g;
  few.a.data = rounded;
  few.a.ld = g->k;
  context->table->gemm(context, &few);
}

extern "C" void RX_FILL(gemm_bf16)(KernelTable* table) { table->gemm_bf16 = gemm_bf16; }
