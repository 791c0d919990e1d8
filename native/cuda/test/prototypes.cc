// Compiled, never run: the declarations of host/ have the shape of those in NVIDIA's headers.
#include <cuda.h>

#include <cstddef>
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

// What a parameter points to: as wide, and as constant, where a header says what it is. Handles are pointers to what it does not say, here void.
template <class T, class = void>
constexpr size_t width = 0;
template <class T>
constexpr size_t width<T, std::enable_if_t<!std::is_void_v<T> && !std::is_function_v<T>, decltype(void(sizeof(T)))>> = sizeof(T);
template <class A, class B>
constexpr bool one_alike() {
  if constexpr (std::is_pointer_v<A> && std::is_pointer_v<B>) {
    using To = std::remove_pointer_t<A>;
    using Other = std::remove_pointer_t<B>;
    constexpr bool told = width<To> > 0 && width<Other> > 0;
    return !told || (width<To> == width<Other> && std::is_const_v<To> == std::is_const_v<Other> && std::is_floating_point_v<To> == std::is_floating_point_v<Other>);
  } else {
    return std::is_pointer_v<A> == std::is_pointer_v<B> && sizeof(A) == sizeof(B) && std::is_floating_point_v<A> == std::is_floating_point_v<B>;
  }
}
// As many parameters, each alike.
template <class R, class... A, class S, class... B>
constexpr bool alike(R (*)(A...), S (*)(B...)) {
  if constexpr (sizeof...(A) != sizeof...(B))
    return false;
  else
    return sizeof(R) == sizeof(S) && (one_alike<A, B>() && ...);
}

#define X(name, parameters) static_assert(alike(static_cast<decltype(&::name)>(nullptr), static_cast<int(*) parameters>(nullptr)), #name);
namespace driver_functions {
using namespace cuda;
RX_DRIVER_FUNCTIONS(X)
}  // namespace driver_functions
#undef X

// The headers' macros give functions the numbers of their versions: those that are asked for at run time are the ones that programs are compiled with.
constexpr bool same_text(const char* a, const char* b) { return *a == *b && (*a == 0 || same_text(a + 1, b + 1)); }
#define RX_TEXT(...) #__VA_ARGS__
#define RX_EXPANDED(name) RX_TEXT(name)
#define X(name, parameters) static_assert(same_text(RX_EXPANDED(name), #name), #name);
RX_DRIVER_FUNCTIONS(X)
#undef X
#define RX_VERSION(name, number) static_assert(same_text(RX_EXPANDED(name), #name #number), #name)
RX_VERSION(cuDeviceTotalMem, _v2);
RX_VERSION(cuDevicePrimaryCtxRelease, _v2);
RX_VERSION(cuMemGetInfo, _v2);
RX_VERSION(cuMemAlloc, _v2);
RX_VERSION(cuMemFree, _v2);
RX_VERSION(cuMemcpyHtoDAsync, _v2);
RX_VERSION(cuMemcpyDtoHAsync, _v2);
RX_VERSION(cuStreamDestroy, _v2);
RX_VERSION(cuEventDestroy, _v2);

static_assert(same(cuda::successful, CUDA_SUCCESS));
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
#define X(name, parameters) static_assert(alike(static_cast<decltype(&::name)>(nullptr), static_cast<int(*) parameters>(nullptr)), #name);
RX_BLAS_FUNCTIONS(X)
#undef X
#define X(name, parameters) static_assert(same_text(RX_EXPANDED(name), #name), #name);
RX_BLAS_FUNCTIONS(X)
#undef X
}  // namespace blas_functions
static_assert(offsetof(cuda::Heuristic, workspace_bytes) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
              offsetof(cuda::Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state) &&
              offsetof(cuda::Heuristic, waves) == offsetof(cublasLtMatmulHeuristicResult_t, wavesCount) &&
              offsetof(cuda::Heuristic, reserved) == offsetof(cublasLtMatmulHeuristicResult_t, reserved));
static_assert(same(cuda::invalid_value, CUBLAS_STATUS_INVALID_VALUE) && same(cuda::arch_mismatch, CUBLAS_STATUS_ARCH_MISMATCH) &&
              same(cuda::not_supported, CUBLAS_STATUS_NOT_SUPPORTED));
static_assert(sizeof(cuda::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t) && sizeof(cuda::Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(same(cuda::compute_32f, CUBLAS_COMPUTE_32F) && same(cuda::type_f32, CUDA_R_32F) && same(cuda::type_bf16, CUDA_R_16BF));
static_assert(same(cuda::desc_trans_a, CUBLASLT_MATMUL_DESC_TRANSA) && same(cuda::desc_trans_b, CUBLASLT_MATMUL_DESC_TRANSB));
static_assert(same(cuda::desc_epilogue, CUBLASLT_MATMUL_DESC_EPILOGUE) && same(cuda::desc_bias_pointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER));
static_assert(same(cuda::pref_workspace_bytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES));
static_assert(same(cuda::pref_alignment_a, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) &&
              same(cuda::pref_alignment_a + 1, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES) &&
              same(cuda::pref_alignment_a + 2, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES) &&
              same(cuda::pref_alignment_a + 3, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES));
static_assert(same(cuda::epilogue_default, CUBLASLT_EPILOGUE_DEFAULT) && same(cuda::epilogue_bias, CUBLASLT_EPILOGUE_BIAS));
#endif

}  // namespace
