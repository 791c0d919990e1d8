// The real cublasLt, which needs no card for this: all functions that are asked for are there, and it takes every attribute in the size in
// which it is given them.
//   library libcublasLt.so.13
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>

#include "../host/blas_types.h"

int main(int count, char** words) {
  using namespace cuda;
  void* const opened = count == 2 ? dlopen(words[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (opened == nullptr) {
    std::printf("cublasLt was not opened: %s\n", count == 2 ? dlerror() : "name it");
    return 1;
  }
  int wrong = 0;
  const auto expect = [&](bool holds, const char* what) {
    if (!holds) wrong++, std::printf("cublasLt: %s\n", what);
  };
#define X(name, parameters)                                                       \
  const auto name = reinterpret_cast<int(*) parameters>(dlsym(opened, #name));    \
  expect(name != nullptr, #name " is not there");
  RX_BLAS_FUNCTIONS(X)
#undef X
  if (wrong > 0) return 1;
  void *desc = nullptr, *layout = nullptr, *preference = nullptr;
  expect(cublasLtMatmulDescCreate(&desc, compute_32f, type_f32) == 0, "a description");
  expect(cublasLtMatrixLayoutCreate(&layout, type_bf16, 64, 32, 72) == 0, "a layout");
  expect(cublasLtMatmulPreferenceCreate(&preference) == 0, "a preference");
  const int yes = 1, epilogue = epilogue_bias;
  const void* const bias = &yes;
  const size_t workspace = 1 << 20;
  const uint32_t alignment = 16;
  expect(cublasLtMatmulDescSetAttribute(desc, desc_trans_a, &yes, sizeof yes) == 0, "the transposition of a");
  expect(cublasLtMatmulDescSetAttribute(desc, desc_trans_b, &yes, sizeof yes) == 0, "the transposition of b");
  expect(cublasLtMatmulDescSetAttribute(desc, desc_epilogue, &epilogue, sizeof epilogue) == 0, "an epilogue");
  expect(cublasLtMatmulDescSetAttribute(desc, desc_bias_pointer, &bias, sizeof bias) == 0, "a bias");
  expect(cublasLtMatmulDescSetAttribute(desc, desc_epilogue, &epilogue, 2) == invalid_value, "a wrong size is not refused");
  expect(cublasLtMatmulPreferenceSetAttribute(preference, pref_workspace_bytes, &workspace, sizeof workspace) == 0, "a work space");
  for (int i = 0; i < 4; i++)
    expect(cublasLtMatmulPreferenceSetAttribute(preference, pref_alignment_a + i, &alignment, sizeof alignment) == 0, "an alignment");
  expect(cublasLtMatmulPreferenceDestroy(preference) == 0 && cublasLtMatrixLayoutDestroy(layout) == 0 && cublasLtMatmulDescDestroy(desc) == 0,
         "giving back");
  return wrong == 0 ? 0 : 1;
}
