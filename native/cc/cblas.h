// Large float32 products by another library: macOS' Accelerate reaches matrix units that no compiler gives access to.
#pragma once

#include <string>

#include "kernel_table.h"

// The C interface of BLAS, with 32-bit integers: order, op(A), op(B), m, n, k, alpha, A, lda, B, ldb, beta, C, ldc.
typedef void (*CblasSgemm)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);

// `cblas_sgemm` of a library; throws std::runtime_error where it is not there. The library stays open.
CblasSgemm open_blas(const std::string& library);

// Below so many multiply-adds a call costs more than it saves.
constexpr double blasFrom = 4e6;
// Floats of a piece: small enough that it is still in the cache when it is read.
constexpr long blasPiece = 1L << 20;

// A table whose products of at least `least` multiply-adds are computed by `sgemm`; an operand that is stored otherwise is unpacked first,
// `piece` floats at a time. Products of bfloat16, of a few rows, and those within other kernels stay as they are.
struct BlasTable : KernelTable {
  CblasSgemm sgemm;
  double least;
  long piece;
  void (*own)(const Context*, const Gemm*);
};
BlasTable with_blas(const KernelTable& table, CblasSgemm sgemm, double least = blasFrom, long piece = blasPiece);
