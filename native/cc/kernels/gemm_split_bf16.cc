// The float32 product where products of bfloat16 are more than six times as fast: each number is taken apart into three of them.
#if defined(RX_AMX)
#define PARTS 3
#include "gemm_amx.h"
#include "gemm_loop.h"

// Smaller ones, and those that fill few tiles, are faster as they are.
constexpr long least_lines = 64;
constexpr long least_depth = 24;
constexpr double least_work = 4e6;

static void (*plain)(const Context*, const Gemm*);

static void gemm_split(const Context* context, const Gemm* g) {
  const int large = g->m >= least_lines && g->n >= least_lines && g->k >= least_depth && (double)g->m * (double)g->n * (double)g->k >= least_work;
  if (large)
    run_planned(context, g);
  else
    plain(context, g);
}

extern "C" void RX_FILL(gemm_split_bf16)(KernelTable* table) {
  plain = table->gemm;
  table->gemm = gemm_split;
}
#else
#include "../kernel_table.h"
#include "../simd.h"
extern "C" void RX_FILL(gemm_split_bf16)(KernelTable*) {}
#endif
