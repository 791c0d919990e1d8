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
static int (*plain_joined)(const Context*, const Gemm*, const Gemm*);

static int is_large(const Gemm* g) {
  return g->m >= least_lines && g->n >= least_lines && g->k >= least_depth && (double)g->m * (double)g->n * (double)g->k >= least_work;
}

static void gemm_split(const Context* context, const Gemm* g) {
  if (is_large(g))
    run_planned(context, g);
  else
    plain(context, g);
}

static int joined_split(const Context* context, const Gemm* g, const Gemm* more) {
  return (is_large(g) ? gemm_joined : plain_joined)(context, g, more);
}

extern "C" void RX_FILL(gemm_split_bf16)(KernelTable* table) {
  plain = table->gemm;
  plain_joined = table->gemm_joined;
  table->gemm = gemm_split;
  table->gemm_joined = joined_split;
}
#else
#include "../kernel_table.h"
#include "../simd.h"
extern "C" void RX_FILL(gemm_split_bf16)(KernelTable*) {}
#endif
