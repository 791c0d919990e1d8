// The matrix product of operands rounded to bfloat16 (to nearest even, while packing) with float32 sums.
#if defined(__ARM_NEON)
#include "gemm_bf16_neon.h"
#elif defined(RX_AMX)
#define PARTS 1
#include "gemm_amx.h"
#else
#include "gemm_bf16_avx512.h"
#endif
#include "gemm_loop.h"

// Very few rows are bounded by reading B, which the float32 product does as it lies; only A is left to round, and C where it lies as bfloat16.
static void gemm_bf16(const Context* context, const Gemm* g) {
  const int some = g->a.kind == GEMM_FLOAT32 || g->a.kind == GEMM_BFLOAT16;
  if (g->m < 1 || g->m > 4 || g->k < 1 || g->a.transposed || !some || g->b.kind != GEMM_BFLOAT16) {
    run_planned(context, g);
    return;
  }
  const long numbers = g->m * g->k + (g->half ? g->m * g->n : 0);
  float* const rounded_rows = (float*)scratch_get(context->scratch, SCRATCH_GEMM, sizeof(float) * (size_t)numbers);
  float* const sums = rounded_rows + g->m * g->k;
  Gemm few = *g;
  few.a = {rounded_rows, g->k, 0, GEMM_FLOAT32, 0, 0, 0};
  for (long i = 0; i < g->m; i++) {
    if (g->a.kind == GEMM_BFLOAT16)
      unpack_row(&g->a, i, 0, g->k, rounded_rows + i * g->k);
    else
      round_row((const float*)g->a.data + i * g->a.ld, g->k, rounded_rows + i * g->k);
  }
  if (!g->half) {
    context->table->gemm(context, &few);
    return;
  }
  few.half = 0;
  few.c = sums;
  few.ldc = g->n;
  if (g->start && g->ld_start) {
    const Numbers start = {(void*)g->start, g->ld_start, 1, 0, 1};
    for (long i = 0; i < g->m; i++)
      each_vector(g->n, [&](long j, auto lanes) { lanes.store(sums + i * g->n + j, take(lanes, row_of(start, i), j)); });
    few.start = sums;
    few.ld_start = g->n;
  }
  context->table->gemm(context, &few);
  const Numbers c = {g->c, g->ldc, 1, 0, 1};
  for (long i = 0; i < g->m; i++)
    each_vector(g->n, [&](long j, auto lanes) { put(lanes, row_of(c, i), j, lanes.load(sums + i * g->n + j)); });
}

extern "C" void RX_FILL(gemm_bf16)(KernelTable* table) {
  table->gemm_bf16 = gemm_bf16;
  table->gemm_bf16_joined = gemm_joined;
}
