// The float32 matrix product. Sums over k run in one order per element of C: blocks of KC in turn, within a block one running
// sum.
#include "gemm_pack.h"

#if VW == 16
#define MR 14
#define NV 2
#define KC 768
#define MC 168
#define NC 2048
#elif VW == 8
#define MR 6
#define NV 2
#define KC 512
#define MC 144
#define NC 2048
#elif defined(__ARM_NEON)
#define MR 8
#define NV 3
#define KC 384
#define MC 192
#define NC 3072
#else
#define MR 6
#define NV 2
#define KC 384
#define MC 336
#define NC 3072
#endif
#define NR (NV * VW)

typedef float Packed;

RX_INLINE long packed_k(long kc) { return kc; }

RX_INLINE void pack_a(const GemmOperand* x, int along, long line, int w, long k0, long kc, float* unpacked, Packed* d) {
  pack_operand<MR>(x, along, line, w, k0, kc, unpacked, d);
}
RX_INLINE void pack_b(const GemmOperand* x, int along, long line, int w, long k0, long kc, float* unpacked, Packed* d) {
  pack_operand<NR>(x, along, line, w, k0, kc, unpacked, d);
}

// c [M, NR] = in + alpha * a b, from packed panels k long; `in` may be null or c.
template <int M>
RX_STATIC void micro_kernel(long k, const float* __restrict a, const float* __restrict b, float* c, long ldc, const float* in,
                            long ld_in, float alpha) {
  vf sum[M][NV];
#pragma GCC unroll 32
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) sum[i][j] = vf{};
    __builtin_prefetch(c + i * ldc, 1);
    if (NR * 4 > 64) __builtin_prefetch(c + i * ldc + NR - 1, 1);
  }
  for (; k > 0; k--) {
    vf right[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) {
      right[j] = *(const vf*)(b + j * VW);
      __builtin_prefetch(b + 8 * NR + j * VW);
    }
    __builtin_prefetch(a + 16 * MR);
#pragma GCC unroll 32
    for (int i = 0; i < M; i++) {
      const vf left = vset(a[i]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) sum[i][j] = fma(left, right[j], sum[i][j]);
    }
    a += MR;
    b += NR;
  }
  // Hides that the rows of c were prefetched above: their addresses, kept over the loop, would take registers from the sums.
  __asm__("" : "+r"(c), "+r"(ldc), "+r"(in));
  const vf scale = vset(alpha);
  if (in) {
#pragma GCC unroll 32
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) store(c + i * ldc + j * VW, load(in + i * ld_in + j * VW) + scale * sum[i][j]);
  } else {
#pragma GCC unroll 32
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) store(c + i * ldc + j * VW, scale * sum[i][j]);
  }
}

typedef void (*Micro)(long, const float*, const float*, float*, long, const float*, long, float);
static const Micro micro[MR] = {
    micro_kernel<1>, micro_kernel<2>,  micro_kernel<3>,  micro_kernel<4>,  micro_kernel<5>,  micro_kernel<6>,
#if MR > 6
    micro_kernel<7>, micro_kernel<8>,
#endif
#if MR > 8
    micro_kernel<9>, micro_kernel<10>, micro_kernel<11>, micro_kernel<12>, micro_kernel<13>, micro_kernel<14>,
#endif
};

#include "gemm_loop.h"

static size_t gemm_serial_bytes(const Gemm* g) {
  if (g->m <= 0 || g->n <= 0 || g->k <= 0) return 0;
  Plan p;
  plan_gemm(&p, g, 1);
  return place_buffers(&p, 0);
}

static void gemm_serial(const Gemm* g, void* scratch) {
  if (g->m <= 0 || g->n <= 0) return;
  if (g->k <= 0) {
    fill_start(g);
    return;
  }
  Plan p;
  Group state;
  plan_gemm(&p, g, 1);
  place_buffers(&p, (char*)scratch);
  p.state = &state;
  init_state(&p);
  work_gemm(&p, 0, 1);
}

extern "C" void RX_FILL(gemm)(KernelTable* table) {
  table->gemm = run_planned;
  table->gemm_serial = gemm_serial;
  table->gemm_serial_bytes = gemm_serial_bytes;
}
