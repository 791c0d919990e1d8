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

// Very few rows are bounded by reading B, which the float32 product does as it lies; only A is left to round.
static void gemm_bf16(const Context* context, const Gemm* g) {
  if (g->m < 1 || g->m > 4 || g->k < 1 || g->a.transposed || g->a.kind != GEMM_FLOAT32 || g->b.kind != GEMM_BFLOAT16) {
    run_planned(context, g);
    return;
  }
  float* const rounded_rows = (float*)scratch_get(context->scratch, SCRATCH_GEMM, sizeof(float) * (size_t)(g->m * g->k));
  for (long i = 0; i < g->m; i++) round_row((const float*)g->a.data + i * g->a.ld, g->k, rounded_rows + i * g->k);
  Gemm few = *g;
  few.a.data = rounded_rows;
  few.a.ld = g->k;
  context->table->gemm(context, &few);
}

extern "C" void RX_FILL(gemm_bf16)(KernelTable* table) { table->gemm_bf16 = gemm_bf16; }
