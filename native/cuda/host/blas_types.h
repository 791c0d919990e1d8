// The part of cublasLt.h that is used; native/cuda/test/prototypes.cc compares it with the real one where that is found.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cuda {

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

#define RX_BLAS_FUNCTIONS(X)                                                                                              \
  X(cublasLtCreate, (void**))                                                                                             \
  X(cublasLtDestroy, (void*))                                                                                             \
  X(cublasLtMatmulDescCreate, (void**, int, int))                                                                         \
  X(cublasLtMatmulDescDestroy, (void*))                                                                                   \
  X(cublasLtMatmulDescSetAttribute, (void*, int, const void*, size_t))                                                    \
  X(cublasLtMatrixLayoutCreate, (void**, int, uint64_t, uint64_t, int64_t))                                               \
  X(cublasLtMatrixLayoutDestroy, (void*))                                                                                 \
  X(cublasLtMatmulPreferenceCreate, (void**))                                                                             \
  X(cublasLtMatmulPreferenceDestroy, (void*))                                                                             \
  X(cublasLtMatmulPreferenceSetAttribute, (void*, int, const void*, size_t))                                              \
  X(cublasLtMatmulAlgoGetHeuristic, (void*, void*, void*, void*, void*, void*, void*, int, Heuristic*, int*))             \
  X(cublasLtMatmul, (void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*,  \
                     void*, void*, const Algorithm*, void*, size_t, void*))

enum {
  invalid_value = 7,
  arch_mismatch = 8,
  not_supported = 15,
  compute_32f = 68,
  type_f32 = 0,
  type_bf16 = 14,
  desc_trans_a = 3,
  desc_trans_b = 4,
  desc_epilogue = 7,
  desc_bias_pointer = 8,
  pref_workspace_bytes = 1,
  pref_alignment_a = 5,  // and b, c, d
  epilogue_default = 1,
  epilogue_bias = 4,
};

}  // namespace cuda
