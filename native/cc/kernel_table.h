// The kernels of one instruction set. kernels/<name>.cc is compiled once an instruction set and puts its entries in with
// RX_FILL(<name>)(KernelTable*); dispatch.cc picks one table at run time. Plain C types only.
//
// Matrices are row-major float32. A pointer documented with `?` may be null.
#pragma once

#include <stdint.h>

#include "context.h"

// Where an operand of a matrix product comes from; everything but FLOAT32 is unpacked while packing.
enum { GEMM_FLOAT32 = 0, GEMM_BFLOAT16 = 1, GEMM_INT8_ROWS = 2, GEMM_FOUR_BIT = 3 };

// op(X) of a matrix product. Stored row-major with `ld` elements a row; transposed means op(X) = Xᵀ.
typedef struct GemmOperand {
  const void* data;
  long ld;
  int transposed;
  int kind;
  // INT8_ROWS: value = q * scale[row] of the stored matrix. FOUR_BIT: value = code[q] * scale[flat / block].
  const float* scale;  // ?
  const float* code;   // ? 16 values
  long block;
} GemmOperand;

// C [m, n] = alpha * op(A) op(B) + start, where start is `start` [m, n] with ld_start floats a row (0: one row, added to every
// row of C, as a bias is), or nothing when null. start == c adds to C.
typedef struct Gemm {
  long m, n, k;
  GemmOperand a, b;
  float* c;
  long ldc;
  const float* start;  // ?
  long ld_start;
  float alpha;
} Gemm;

typedef struct KernelTable {
  const char* isa;

  // ---- matrix product (gemm.cc, gemm_bf16.cc) ----
  void (*gemm)(const Context*, const Gemm*);
  void (*gemm_bf16)(const Context*, const Gemm*);  // ? null where the processor has no bfloat16 dot product
  // On the calling thread alone, float32 operands, inside pool_run: `scratch` is this thread's own, at least
  // gemm_serial_bytes(n, k) long and 64-byte aligned. Meant for small products (attention).
  void (*gemm_serial)(const Gemm*, void* scratch);
  size_t (*gemm_serial_bytes)(long n, long k);

  // ---- memory-bound pieces of the linear family (columns.cc, elementwise.cc, reduce.cc) ----
  void (*column_sum)(const Context*, const float* dy, float* out, long rows, long columns);
  void (*add)(const Context*, const float* a, const float* b, float* out, long n);
  void (*axpy)(const Context*, float* y, const float* x, float alpha, long n);  // y += alpha x
  void (*squared_norm)(const Context*, const float* const* tensors, const long* sizes, long count, float* out);
  void (*gather_rows)(const Context*, const float* x, const int32_t* rows, float* out, long count, long columns);
  // out [size, columns] = 0, then out[rows[i]] += dy[i]
  void (*scatter_rows)(const Context*, const float* dy, const int32_t* rows, float* out, long count, long size, long columns);
  // One part of a column split or concatenation: `rows` rows of `width` floats between two row strides.
  void (*copy_columns)(const Context*, const float* from, long ld_from, float* to, long ld_to, long rows, long width);

  // ---- fused kernels (one file each) ----
} KernelTable;

// The product at the precision in force.
static inline void run_gemm(const Context* context, const Gemm* gemm) {
  (context->bf16 && context->table->gemm_bf16 ? context->table->gemm_bf16 : context->table->gemm)(context, gemm);
}
