// The float32 matrix product. Sums over k run in one order per element of C: blocks of KC in turn, within a block one running
// sum.
#include "gemm_pack.h"
#include "halves.h"
#include "parallel.h"

#if VW == 16
#define MR 14
#define NV 2
#define KC 768
#define MC 168
#define NC 2048
#define BESIDE 4
#elif VW == 8
#define MR 6
#define NV 2
#define KC 512
#define MC 144
#define NC 2048
// 4 MB stay in the third-level cache. Few columns of B at a time are slow to pack where its rows run across them.
#define WHOLE_A (p->b_along ? 1L << 20 : 0L)
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
      if (j * VW % 16 == 0) __builtin_prefetch(b + AHEAD_B * NR + j * VW);
    }
    __builtin_prefetch(a + AHEAD_A * MR);
#if defined(__ARM_NEON)
    // multiplies with one lane of a vector: a panel is 8 lines, whether or not they are there
    const vf left[2] = {*(const vf*)a, *(const vf*)(a + VW)};
#pragma GCC unroll 32
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) sum[i][j] = fma_lane(right[j], left[i / VW], i % VW, sum[i][j]);
#else
#pragma GCC unroll 32
    for (int i = 0; i < M; i++) {
      const vf left = vset(a[i]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) sum[i][j] = fma(left, right[j], sum[i][j]);
    }
#endif
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

// Up to so many rows a product is bounded by reading B once: packing it would only add to that.
#define FEW_ROWS 4

// What a vector of B is worth; bfloat16 is the upper half of a float32.
template <class Lanes>
RX_INLINE vf worth(const Lanes& lanes, const float* p) {
  return lanes.load(p);
}
template <class Lanes>
RX_INLINE vf worth(const Lanes& lanes, const uint16_t* p) {
  return load_halves(lanes, p);
}

// Columns [from, to) of C, B's columns lying along k: dot products of VW running sums.
template <int M, class B>
RX_STATIC void few_dots(const Gemm* g, long from, long to) {
  const float* const a = (const float*)g->a.data;
  const B* const b = (const B*)g->b.data;
  for (long j = from; j < to; j += 4) {
    const int columns = to - j < 4 ? (int)(to - j) : 4;
    vf sum[M][4] = {};
    each_vector(g->k, [&](long k, auto lanes) {
      vf left[M];
#pragma GCC unroll 4
      for (int i = 0; i < M; i++) left[i] = lanes.load(a + i * g->a.ld + k);
#pragma GCC unroll 4
      for (int q = 0; q < 4; q++) {
        const vf right = worth(lanes, b + (j + (q < columns ? q : 0)) * g->b.ld + k);
#pragma GCC unroll 4
        for (int i = 0; i < M; i++) sum[i][q] = fma(left[i], right, sum[i][q]);
      }
    });
    for (int i = 0; i < M; i++)
      for (int q = 0; q < columns; q++)
        g->c[i * g->ldc + j + q] = (g->start ? g->start[i * g->ld_start + j + q] : 0) + g->alpha * hsum(sum[i][q]);
  }
}

// The same, B's rows lying along n: four vectors of C at a time.
template <int M, class B>
RX_STATIC void few_columns(const Gemm* g, long from, long to) {
  const float* const a = (const float*)g->a.data;
  for (long j = from; j < to; j += 4 * VW) {
    const B* const b = (const B*)g->b.data + j;
    vf sum[M][4] = {};
    const long wide = to - j;
    if (wide >= 4 * VW) {
      for (long k = 0; k < g->k; k++) {
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
          const vf right = worth(AllLanes(), b + k * g->b.ld + q * VW);
#pragma GCC unroll 4
          for (int i = 0; i < M; i++) sum[i][q] = fma(vset(a[i * g->a.ld + k]), right, sum[i][q]);
        }
      }
    } else {
      for (long k = 0; k < g->k; k++)
        for (int q = 0; q * VW < wide; q++) {
          const long left = wide - q * VW;
          const B* const at = b + k * g->b.ld + q * VW;
          const vf right = left >= VW ? worth(AllLanes(), at) : worth(SomeLanes{left}, at);
          for (int i = 0; i < M; i++) sum[i][q] = fma(vset(a[i * g->a.ld + k]), right, sum[i][q]);
        }
    }
    for (int i = 0; i < M; i++)
      for (long q = 0; q < 4 * VW && q < wide; q++)
        g->c[i * g->ldc + j + q] = (g->start ? g->start[i * g->ld_start + j + q] : 0) + g->alpha * sum[i][q / VW][q % VW];
  }
}

typedef void (*Few)(const Gemm*, long, long);
#define RX_FEW(name, B) {name<1, B>, name<2, B>, name<3, B>, name<4, B>}
static const Few dots[2][FEW_ROWS] = {RX_FEW(few_dots, float), RX_FEW(few_dots, uint16_t)};
static const Few rows_of_columns[2][FEW_ROWS] = {RX_FEW(few_columns, float), RX_FEW(few_columns, uint16_t)};
#undef RX_FEW

static void gemm(const Context* context, const Gemm* g) {
  const int stored = g->b.kind == GEMM_FLOAT32 ? 0 : g->b.kind == GEMM_BFLOAT16 ? 1 : -1;
  const int few = !g->half && g->m >= 1 && g->m <= FEW_ROWS && !g->a.transposed && g->a.kind == GEMM_FLOAT32 && stored >= 0;
  if (!few) {
    run_planned(context, g);
    return;
  }
  const Few part = (g->b.transposed ? dots : rows_of_columns)[stored][g->m - 1];
  const long width = 4 * VW * greater(1, 16384 / greater(1, 4 * VW * g->k));
  parallel(context, parts_of(g->n, width), [=](long i) { part(g, i * width, smaller(g->n, (i + 1) * width)); });
}

extern "C" void RX_FILL(gemm)(KernelTable* table) {
  table->gemm = gemm;
  table->gemm_joined = gemm_joined;
}
