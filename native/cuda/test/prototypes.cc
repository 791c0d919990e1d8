// Compiled, never run: the declarations of host/ have the shape of those in NVIDIA's headers.
#include <cuda.h>

#include <type_traits>

#include "../host/blas_types.h"
#include "../host/driver.h"
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define RX_HAS_BLAS
#endif

namespace {

// Enumerations of two headers.
template <class A, class B>
constexpr bool same(A a, B b) {
  return static_cast<long>(a) == static_cast<long>(b);
}

// As many parameters, each as wide, pointers where there are pointers.
template <class R, class... A, class S, class... B>
constexpr bool alike(R (*)(A...), S (*)(B...)) {
  if constexpr (sizeof...(A) != sizeof...(B))
    return false;
  else
    return sizeof(R) == sizeof(S) && ((sizeof(A) == sizeof(B) && (std::is_pointer_v<A> == std::is_pointer_v<B>)) && ...);
}

#define X(name, parameters) static_assert(alike(static_cast<decltype(&::name)>(nullptr), static_cast<int(*) parameters>(nullptr)), #name);
namespace driver_functions {
using namespace cuda;
RX_DRIVER_FUNCTIONS(X)
}  // namespace driver_functions

static_assert(same(cuda::out_of_memory, CUDA_ERROR_OUT_OF_MEMORY) && same(cuda::no_device, CUDA_ERROR_NO_DEVICE));
static_assert(same(cuda::launch_errors, CUDA_ERROR_ILLEGAL_ADDRESS));
static_assert(same(cuda::attribute_major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
static_assert(same(cuda::attribute_minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
static_assert(same(cuda::attribute_multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
static_assert(same(cuda::attribute_shared_memory, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
static_assert(same(cuda::function_shared_memory, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES));
static_assert(same(cuda::stream_non_blocking, CU_STREAM_NON_BLOCKING) && same(cuda::event_disable_timing, CU_EVENT_DISABLE_TIMING));

#ifdef RX_HAS_BLAS
namespace blas_functions {
using namespace cuda;
RX_BLAS_FUNCTIONS(X)
}  // namespace blas_functions
static_assert(sizeof(cuda::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t) && sizeof(cuda::Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(same(cuda::compute_32f, CUBLAS_COMPUTE_32F) && same(cuda::type_f32, CUDA_R_32F) && same(cuda::type_bf16, CUDA_R_16BF));
static_assert(same(cuda::desc_trans_a, CUBLASLT_MATMUL_DESC_TRANSA) && same(cuda::desc_trans_b, CUBLASLT_MATMUL_DESC_TRANSB));
static_assert(same(cuda::desc_epilogue, CUBLASLT_MATMUL_DESC_EPILOGUE) && same(cuda::desc_bias_pointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER));
static_assert(same(cuda::pref_workspace_bytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES));
static_assert(same(cuda::pref_alignment_a, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES));
static_assert(same(cuda::epilogue_default, CUBLASLT_EPILOGUE_DEFAULT) && same(cuda::epilogue_bias, CUBLASLT_EPILOGUE_BIAS));
#endif

}  // namespace
